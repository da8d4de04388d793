"""The rules that come with lrtune: asked for by name, small, of their studies, and saying what they are of."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lrtune import get_learning_rate, load_rule, recommend, register_resolver
from lrtune.cli import run as run_cli
from lrtune.compare.setting import study_of
from lrtune.errors import InputError
from lrtune.rule.file import PACKAGED_RULES, find_rule
from studies.packaged import STUDIES as OF

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.mark.parametrize("name", PACKAGED_RULES)
def test_a_packaged_rule_is_its_studys_and_small(name: str) -> None:
    file = STUDIES / OF[name] / "rule.json"
    assert load_rule(name)._replace(source="") == load_rule(file)._replace(source="")
    assert file.stat().st_size <= 30_000


def test_each_name_asks_for_its_rule_in_every_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "packaged:muon"
    rate = get_learning_rate(64, rule=name)
    assert load_rule("packaged").conditions["optimizer"] == "adamw"
    assert load_rule(name).conditions["optimizer"] == "muon" and rate != get_learning_rate(64, rule="packaged")
    assert run_cli(["lr", "64", "--rule", name, "--plain", "--strict"]) == 0
    assert float(capsys.readouterr().out) == pytest.approx(rate, rel=5e-3)
    assert run_cli(["export", "--format", "json", "--rule", name, "--sizes", "64"]) == 0
    assert "adam_lr" in capsys.readouterr().out
    register_resolver(name)
    assert OmegaConf.create({"lr": "${lrtune:64}"}).lr == rate
    monkeypatch.setenv("LRTUNE_RULE", name)
    assert find_rule()[1] == "$LRTUNE_RULE" and get_learning_rate(64) == rate
    assert run_cli(["lr", "64", "--plain"]) == 0
    assert float(capsys.readouterr().out) == pytest.approx(rate, rel=5e-3)


def test_the_answer_says_what_the_rule_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["lr", "64", "--rule", "packaged:muon"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "for 76,800 tokens in 300 steps" in said and "bitnet-b1.58, muon, wsd, stdlib" in said
    assert "adam_lr" in said


def test_an_unknown_name_is_one_line_with_the_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="expected packaged or packaged:muon, but got 'packaged:adam'"):
        load_rule("packaged:adam")
    monkeypatch.setenv("LRTUNE_RULE", "packaged:sgd")
    for words in (["lr", "64"], ["lr", "64", "--plain"], ["lr", "64", "--rule", "packaged:sgd"]):
        assert run_cli(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "packaged or packaged:muon" in said


def test_a_packaged_rule_becomes_active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.toml").touch()
    assert run_cli(["use", "packaged:muon"]) == 0
    assert load_rule().conditions["optimizer"] == "muon" and "fitted to" not in load_rule().provenance


def test_muons_rule_is_supported_where_it_was_measured_and_only_near_it() -> None:
    for width in (32, 64, 128):
        told = recommend(width, rule="packaged:muon")
        assert told.supported and told.regret is not None and told.regret < 0.002
    assert not recommend(256, rule="packaged:muon").supported
    assert not recommend(64, rule="packaged:muon", steps=3000).supported
    assert not recommend(64, rule="packaged:muon", batch_tokens=2048).supported


def test_muons_rule_knows_how_to_train() -> None:
    """`lrtune verify` trains with Muon at both rates."""
    study = study_of(load_rule("packaged:muon"))
    assert study is not None and study.options["optimizer"] == "muon" and set(study.knobs) == {"adam_lr"}


@pytest.mark.slow
def test_muons_rule_can_be_made_again() -> None:
    from studies.muon.check import fitted
    from studies.muon.optima import sweeps

    packaged = load_rule("packaged:muon")
    again = fitted([run for runs in sweeps().values() for run in runs])
    assert again.runs == packaged.runs and again.study == packaged.study
    for width in (32, 96, 256):
        then, now = recommend(width, rule=packaged), recommend(width, rule=again)
        assert now.learning_rate == pytest.approx(then.learning_rate, rel=0.05)
        assert now.knobs["adam_lr"].value == pytest.approx(then.knobs["adam_lr"].value, rel=0.05)
