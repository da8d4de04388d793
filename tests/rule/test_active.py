"""Whose rule answers: the packaged one says that it is not yours, and no rule takes another one's place in silence."""

import json
import warnings
from pathlib import Path

import pytest
from builders import power_rule

from lrtune.cli import run as run_cli
from lrtune.errors import NoActiveRuleError
from lrtune.rule import PackagedRuleWarning, get_learning_rate, load_rule, recommend, save_rule
from lrtune.rule.active import activate, note_no_rule
from lrtune.rule.ask import NOT_YOURS

TABLE = "hidden,lr,loss\n" + "".join(
    f"{width},{rate},{3 + abs(rate * width - 0.6)}\n" for width in (64, 128, 256) for rate in (1e-3, 3e-3, 1e-2, 3e-2)
)
FLAT = "hidden,lr,loss\n" + "".join(f"{width},0.01,{3 + width / 100}\n" for width in (64, 128))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the working folder."""
    monkeypatch.delenv("LRTUNE_RULE", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def lrtune(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capfd.readouterr()
    code = run_cli(words)
    return code, *capfd.readouterr()


def test_without_a_rule_of_the_project_the_packaged_one_warns_that_it_is_not_yours(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = lrtune(capfd, "lr", "256")
    assert code == 0 and out.startswith(f"{NOT_YOURS}: ") and " at hidden 256 " in out.splitlines()[1]
    for words in (["lr", "256", "--plain"], ["lr", "256", "--plain", "--tokens", "3e6"]):
        code, out, err = lrtune(capfd, *words)
        assert code == 0 and float(out) > 0 and err == f"lrtune: warning: {NOT_YOURS}\n"
    assert lrtune(capfd, "lr", "256", "--plain", "--strict") == (1, "", f"lrtune: {NOT_YOURS}\n")
    assert json.loads(lrtune(capfd, "lr", "256", "--json")[1])["warnings"][0] == NOT_YOURS
    with pytest.warns(PackagedRuleWarning, match=NOT_YOURS):
        get_learning_rate(256)
    assert recommend(256).warnings[0] == NOT_YOURS


def test_the_packaged_rule_is_silent_where_it_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = lrtune(capfd, "lr", "256", "--rule", "packaged", "--plain", "--strict")
    assert code == 0 and err == ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_learning_rate(256, rule="packaged") == pytest.approx(float(out), rel=5e-3)


def test_an_unsupported_plain_answer_warns_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    save_rule(load_rule("packaged"), "lrtune-rule.json")
    code, out, err = lrtune(capfd, "lr", "100000", "--plain")
    assert code == 0 and float(out) > 0 and err.startswith("lrtune: warning: not supported by the data")


def test_a_fit_without_a_rule_makes_asking_fail_with_its_reason(capfd: pytest.CaptureFixture[str]) -> None:
    Path("flat.csv").write_text(FLAT)
    code, _, err = lrtune(capfd, "fit", "flat.csv")
    reason = err.strip().splitlines()[-1].removeprefix("lrtune: ")
    assert code == 1 and "active rule: none, lrtune-rule.json says why" in err
    assert json.loads(Path("lrtune-rule.json").read_text())["rule"] is None
    for words in (["lr", "256"], ["lr", "256", "--plain"]):
        code, out, err = lrtune(capfd, *words)
        assert (code, out) == (1, "") and f"no rule: {reason}" in err
    with pytest.raises(NoActiveRuleError, match="no rule"):
        get_learning_rate(256)
    assert lrtune(capfd, "lr", "256", "--rule", "packaged")[0] == 0
    Path("sweep.csv").write_text(TABLE)
    assert lrtune(capfd, "fit", "sweep.csv")[0] == 0  # a rule takes the place of none
    assert lrtune(capfd, "lr", "256")[0] == 0 and not Path("lrtune-rule.json.bak").exists()


def test_a_rule_does_not_take_the_place_of_another_models(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a.csv", "b.csv", "flat.csv"):
        Path(name).write_text(FLAT if name == "flat.csv" else TABLE)
    assert "active rule: lrtune-rule.json\n" in lrtune(capfd, "fit", "a.csv")[2]
    first = Path("lrtune-rule.json").read_bytes()
    code, _, err = lrtune(capfd, "fit", "b.csv")
    assert code == 0 and "active rule: unchanged, lrtune-rule.json, fitted to a.csv" in err and "next:" not in err
    assert lrtune(capfd, "fit", "flat.csv")[0] == 1
    assert lrtune(capfd, "fit", "b.csv", "-o", "b.json")[0] == 0
    assert Path("lrtune-rule.json").read_bytes() == first
    # The same table may; another one may if it is asked for, and the former rule is kept.
    assert "active rule: lrtune-rule.json\n" in lrtune(capfd, "fit", "./a.csv")[2]
    assert "fitted to a.csv, is in lrtune-rule.json.bak" in lrtune(capfd, "fit", "b.csv", "--activate")[2]
    assert load_rule("lrtune-rule.json").provenance["fitted to"] == "b.csv"
    assert load_rule("lrtune-rule.json.bak").provenance["fitted to"] == "a.csv"


def test_use_copies_a_rule_in_and_keeps_the_former(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "runs" / "x").mkdir(parents=True)
    (project / "runs" / "x" / "study.toml").touch()
    save_rule(power_rule(), project / "runs" / "x" / "rule.json")
    save_rule(power_rule(reason="former", provenance={"fitted to": "y"}), "lrtune-rule.json")
    code, out, _ = lrtune(capfd, "use", "runs/x")
    assert code == 0 and out.startswith("active rule: lrtune-rule.json; the former one, fitted to y, is in")
    assert load_rule().provenance["fitted to"] == "runs/x" and load_rule("lrtune-rule.json.bak").reason == "former"
    assert load_rule("runs/x").reason == "a power law"


def test_the_variable_stays_in_charge(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_rule(power_rule(), project / "mine.json")
    monkeypatch.setenv("LRTUNE_RULE", str(project / "mine.json"))
    assert activate(power_rule(), ["runs/x"]) == (
        False,
        f"active rule: unchanged, $LRTUNE_RULE names {project / 'mine.json'}",
    )
    assert note_no_rule("nothing", ["runs/x"]) is None
    assert not (project / "lrtune-rule.json").exists()


def test_a_rule_in_a_parent_counts_within_a_project_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    save_rule(power_rule(), project / "lrtune-rule.json")
    (project / "deep").mkdir()
    monkeypatch.chdir(project / "deep")
    assert load_rule().source == str(project / "lrtune-rule.json")
    (project / "pyproject.toml").unlink()
    mark = tmp_path_factory.getbasetemp() / ".git"  # of the tests' own project
    mark.rmdir()
    try:
        assert "packaged" in load_rule().source
    finally:
        mark.mkdir()
