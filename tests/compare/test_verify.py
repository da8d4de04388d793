"""lrtune verify: two rates side by side, written beside the rule that was verified."""

import json

import pytest

from lrtune.compare import verify as module
from lrtune.compare.effects import ArmsComparison
from lrtune.compare.verify import run_verification, to_markdown, verification_study
from lrtune.errors import InputError
from lrtune.rule import load_rule, save_rule
from lrtune.study.study import Study

# At 64 the packaged rule says about 0.03; the analytic optimum is 0.3 / 64 = 0.005.
STUDY = Study(widths=(999,), steps=40, report_every=10, seeds=2, trainer="analytic:train", pruner="collapse")
STUCK = Study(widths=(64,), steps=40, report_every=2, trainer="collapsing:train", options={"optimizer": "l2"})


@pytest.fixture
def rule_file(tmp_path):
    save_rule(load_rule(), tmp_path / "rule.json")
    return tmp_path / "rule.json"


@pytest.mark.slow
def test_a_verification_is_written_beside_its_rule_and_keeps_what_is_there(tmp_path, rule_file):
    beside = tmp_path / "verification.json"
    beside.write_text('{"schema": 1, "check": {"regret": 0.01}, "verify": {"32": {"holds": true}}}')
    before = rule_file.read_bytes()
    done = run_verification(64, STUDY, tmp_path / "run", rule=rule_file, baseline=0.2, engine="inline")
    written = json.loads(beside.read_text())
    assert rule_file.read_bytes() == before
    assert done.path == beside
    assert written["check"] == {"regret": 0.01}
    assert set(written["verify"]) == {"32", "64"}
    mine = written["verify"]["64"]
    assert mine["gain"] == pytest.approx(done.gain) and mine["gain"] > 0 and mine["holds"]
    assert [run["seed"] for run in mine["arms"]["recommended"]["runs"]] == [1000, 1001]
    assert mine["arms"]["baseline"]["runs"][0]["curve"]["step"] == [0, 10, 20, 30, 40]
    # Another baseline in the same folder: the former one's runs do not mix in.
    other = run_verification(64, STUDY, tmp_path / "run", rule=rule_file, baseline=0.005, engine="inline")
    assert other.gain is not None and other.gain < 0 and not other.holds
    assert "loss above the baseline" in to_markdown(other)


@pytest.mark.slow
def test_a_collapsed_run_does_not_hold_and_its_text_is_shown(tmp_path, rule_file):
    done = run_verification(64, STUCK, tmp_path / "run", rule=rule_file, engine="inline")
    assert not done.holds
    text = to_markdown(done)
    assert "the the the the" in text
    assert "| ended | collapsed | collapsed | collapsed |" in text
    assert "but does not hold: its runs ended collapsed" in text


def test_what_was_interrupted_is_not_written(tmp_path, rule_file, monkeypatch):
    stopped = ArmsComparison(arms=[], effects=[], stop_reason="interrupted", interrupted=2)
    monkeypatch.setattr(module, "train_arms", lambda *arguments, **options: stopped)
    assert run_verification(64, STUDY, tmp_path / "run", rule=rule_file).interrupted == 2
    assert not (tmp_path / "verification.json").exists()


@pytest.mark.slow
def test_without_a_baseline_half_and_double_are_tried(tmp_path, rule_file):
    """The analytic optimum at 64 is near 0.005; the packaged rule says 0.03, whose half is nearer."""
    done = run_verification(64, STUDY, tmp_path / "run", rule=rule_file, engine="inline")
    rates = {arm.name: arm.learning_rate for arm in done.arms}
    assert rates["half"] == pytest.approx(rates["recommended"] / 2) == pytest.approx(rates["double"] / 4)
    assert done.best_other is not None and done.best_other.name == "half"
    assert not done.holds and "of loss above half of it" in to_markdown(done)


@pytest.mark.slow
def test_the_packaged_rule_is_not_written_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_verification(64, STUDY, tmp_path / "run", engine="inline")
    assert done.path == tmp_path / "run" / "verification.json"


def test_the_bundled_trainer_runs_both_stages_and_writes_a_sample():
    study = verification_study(64, Study(options={"schedule": "constant", "depth": 2}), load_rule())
    assert study.options == {"sample_tokens": 80, "schedule": "two-stage", "depth": 2}
    assert (study.widths, study.pruner, list(study.arms)) == ((64,), "none", ["recommended", "half", "double"])


def test_the_seeds_are_not_those_of_the_search_unless_asked_for():
    assert verification_study(64, STUDY, load_rule()).seed == 1000
    assert verification_study(64, STUDY, load_rule(), seed=0).seed == 0


@pytest.mark.parametrize(
    ("hidden_size", "arguments", "words"),
    [
        (64, {"rule": "no-such-rule.json"}, "no-such-rule.json: cannot read the rule"),
        (64, {"baseline": 0.0}, "baseline: expected a positive learning rate"),
        (64, {"baseline": float("nan")}, "baseline: expected a positive learning rate"),
        (0, {}, "hidden_size: expected a positive whole number"),
    ],
)
def test_bad_input_starts_nothing(tmp_path, hidden_size, arguments, words):
    with pytest.raises(InputError, match=words):
        run_verification(hidden_size, STUDY, tmp_path / "run", engine="inline", **arguments)
    assert not (tmp_path / "run").exists()
