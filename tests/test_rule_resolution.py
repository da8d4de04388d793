"""Which rule answers when none is named: $LRTUNE_RULE, the project's file, the packaged one, in that order."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import lrtune.rulefile
from lrtune.errors import InputError
from lrtune.rule import find_rule, get_learning_rate, load_rule

PACKAGED = str(Path(lrtune.rulefile.__file__).parent / "packaged-rule.json")
WIDTH = json.loads(Path(PACKAGED).read_text())["cells"][0]["scales"]["hidden_size"]


def place(file: Path, factor: float) -> Path:
    """The packaged rule with all its measured rates and its law moved by a factor."""
    data: dict[str, Any] = json.loads(Path(PACKAGED).read_text())
    data["law"] = None
    data["form"] = "table"
    for cell in data["cells"]:
        for name in ("learning_rate", "low", "high", "safe_low", "safe_high"):
            cell[name] = cell[name] and cell[name] * factor
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))
    return file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a folder in it to work in, and rules above, in and beside it; every one answers differently."""
    place(tmp_path / "lrtune-rule.json", 2)  # above the project: none of its business
    root = tmp_path / "project"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    monkeypatch.delenv("LRTUNE_RULE", raising=False)
    monkeypatch.chdir(root / "src" / "deep")
    return root


def answer(**given: Any) -> float:
    return get_learning_rate(WIDTH, **given)


@pytest.fixture
def base(project: Path) -> float:
    """The rate that the packaged rule's table gives."""
    return answer(rule=place(project / "elsewhere.json", 1))


@pytest.mark.filterwarnings("ignore::lrtune.rule.ExtrapolationWarning")
def test_each_place_gives_way_to_the_one_before_it(project: Path, base: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_rule() == (PACKAGED, "packaged")
    at_root = place(project / "lrtune-rule.json", 3)
    assert find_rule() == (str(at_root), "project")
    assert answer() == pytest.approx(3 * base)
    nearer = place(project / "src" / "lrtune-rule.json", 5)
    assert find_rule() == (str(nearer), "project")
    assert answer() == pytest.approx(5 * base)
    here = place(project / "src" / "deep" / "lrtune-rule.json", 7)
    assert find_rule() == (str(here), "project")
    named = place(project / "named.json", 11)
    monkeypatch.setenv("LRTUNE_RULE", str(named))
    assert find_rule() == (str(named), "$LRTUNE_RULE")
    assert answer() == pytest.approx(11 * base)
    passed = place(project / "passed.json", 13)
    assert answer(rule=passed) == pytest.approx(13 * base)
    assert answer(rule=load_rule(passed)) == pytest.approx(13 * base)


@pytest.mark.parametrize("mark", [".git", "pyproject.toml"])
def test_the_search_ends_at_the_projects_root(mark: str, project: Path) -> None:
    (project / "src" / mark).mkdir()
    place(project / "lrtune-rule.json", 3)
    assert find_rule() == (PACKAGED, "packaged")
    place(project / "src" / "lrtune-rule.json", 5)
    assert find_rule()[1] == "project"


def test_without_a_root_all_parents_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRTUNE_RULE", raising=False)
    (tmp_path / "a" / "b").mkdir(parents=True)
    above = place(tmp_path / "lrtune-rule.json", 2)
    assert find_rule(start=str(tmp_path / "a" / "b")) == (os.fspath(above), "project")


def test_a_variable_that_leads_nowhere_is_an_error_and_not_passed_over(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(project / "lrtune-rule.json", 3)
    monkeypatch.setenv("LRTUNE_RULE", "gone.json")
    with pytest.raises(InputError, match=r"^\$LRTUNE_RULE: expected a rule file, but there is none at gone.json"):
        answer()
