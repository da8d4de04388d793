"""The trainer contract: what report accepts, what describe hands over, how a trainer is found."""

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import lrtune
from lrtune.errors import InputError
from lrtune.trainer.find import resolve_trainer
from lrtune.trainer.trial import Facts, Report, Trial, population


def trial(**changes) -> Trial:
    return Trial(**{"hidden_size": 64, "learning_rate": 0.01, "steps": 100, **changes})


def test_report_hands_over_plain_numbers_and_returns_the_answer() -> None:
    class Scalar:  # as torch and numpy scalars behave
        def __float__(self) -> float:
            return 2.5

    seen: list[Report] = []
    answers = iter([True, False])

    def on_report(report: Report) -> bool:
        seen.append(report)
        return next(answers)

    run = trial(on_report=on_report)
    assert run.report(50, loss=Scalar(), diversity=0.25, gradient_norm=1) is True  # type: ignore[arg-type]
    assert run.report(100, loss=math.nan) is False
    assert seen[0] == Report(50, 2.5, 0.25, {"gradient_norm": 1.0})
    assert math.isnan(seen[1].loss) and seen[1].diversity is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": 101, "loss": 1.0}, "steps: expected a run of 100 steps, but got a report of step 101; train trial"),
        ({"step": -1, "loss": 1.0}, "expected a step within"),
        ({"step": 1, "loss": "4.2"}, "expected a number for loss, but got '4.2'"),
        ({"step": 1, "loss": None}, "expected a number for loss, but got None"),
        ({"step": 1, "loss": True}, "expected a number for loss"),
        ({"step": 1, "loss": [1.0]}, "expected a number for loss, but got list"),
        ({"step": 1, "loss": 1.0, "note": "x"}, "expected a number for note"),
        ({"step": 1, "loss": 1.0, " loss\n": 2.0}, "expected another name for a number than 'loss'"),
        ({"step": 1, "loss": 1.0, **{f"n{i}": i for i in range(1001)}}, "at most 1,000 names, but got 1,001"),
        ({"step": math.nan, "loss": 1.0}, "expected a step within 0 … 100, but got nan"),
    ],
)
def test_report_refuses_what_is_not_a_number(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trial().report(**arguments)


def test_describe_and_attach() -> None:
    facts: list[Facts] = []
    texts: dict[str, str] = {}
    run = trial(on_describe=facts.append, on_attach=texts.__setitem__)
    run.describe(parameters=10, regime_changes=[50], conditions={"depth": 4})
    run.attach("sample", "x" * 5000)
    assert facts == [Facts(parameters=10, regime_changes=(50,), conditions={"depth": 4})]
    assert texts == {"sample": "x" * 4000}


def test_numbers_of_numpy_are_plain_ones_in_what_is_described() -> None:
    facts: list[Facts] = []
    run = trial(on_describe=facts.append)
    depth, decay = np.int64(4), np.float32(0.5)
    run.describe(
        parameters=np.int64(10),  # type: ignore[arg-type]
        tokens_per_step=8.0,  # type: ignore[arg-type]
        unigram_entropy=np.float32(2.5),  # type: ignore[arg-type]
        regime_changes=np.array([50]),  # type: ignore[arg-type]
        conditions={"depth": depth, "decay": decay, "on": np.bool_(True), "note": "two\nlines \x1b[31m" + "x" * 9000},  # type: ignore[dict-item]
    )
    (found,) = facts
    assert json.loads(json.dumps(asdict(found))) == {
        **asdict(Facts(parameters=10, tokens_per_step=8, unigram_entropy=2.5)),
        "regime_changes": [50],
        "conditions": {"depth": 4, "decay": 0.5, "on": True, "note": ("two lines [31m" + "x" * 9000)[:500]},
        "plan": {},
    }


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"parameters": "12M"}, "describe: expected a number for parameters, but got '12M'"),
        ({"parameters": 1.5}, r"describe: expected a whole number for parameters, but got 1\.5"),
        ({"tokens_per_step": True}, "expected a number for tokens_per_step, but got True"),
        ({"unigram_entropy": math.nan}, "expected a finite number for unigram_entropy, but got nan"),
        ({"vocabulary_size": 10**400}, "expected a finite number for vocabulary_size"),
        ({"regime_changes": "50"}, "expected a list of steps for regime_changes, but got '50'"),
        ({"conditions": [1]}, r"expected a mapping for conditions, but got \[1\]"),
        ({"conditions": {"depth": None}}, r"expected a number for conditions\['depth'\], but got None"),
        ({"plan": {"dtype": object}}, r"expected a number for plan\['dtype'\], but got type"),
    ],
)
def test_describe_refuses_what_its_fields_do_not_hold(facts: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trial().describe(**facts)


@pytest.mark.parametrize(
    ("loss", "kept"), [(1e299, 1e299), (1e301, math.inf), (-1e301, -math.inf), (10**400, math.inf)]
)
def test_numbers_that_no_record_holds_are_infinite(loss: float, kept: float) -> None:
    seen: list[Report] = []
    trial(on_report=lambda report: seen.append(report) or True).report(1, loss=loss, norm=loss)
    assert (seen[0].loss, seen[0].numbers) == (kept, {"norm": kept})


def test_a_checkpoint_is_due_only_where_there_is_a_place_for_it(tmp_path) -> None:
    assert not trial(is_checkpoint_due=lambda: True).checkpoint_due
    assert trial(is_checkpoint_due=lambda: True, checkpoint_dir=tmp_path).checkpoint_due


SOURCE = """
from lrtune.errors import InputError
from lrtune.trainer.trial import population

def train(trial): ...

@population
def train_population(trials): ...

@population
def many(trials): ...

def check(study): ...

number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine_for_test.py").write_text(SOURCE)
    (tmp_path / "broken_for_test.py").write_text("import nothing_of_this_name")
    (tmp_path / "exits_for_test.py").write_text("raise SystemExit('usage')")
    (tmp_path / "src" / "in_src_for_test").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "mine_for_test"
    sys.modules.pop("mine_for_test", None)


def test_a_function_is_found_with_what_its_module_offers(module: str) -> None:
    found = resolve_trainer(f"{module}:train")
    assert getattr(found.train, "__name__", None) == "train"
    assert getattr(found.train_population, "__name__", None) == "train_population"
    assert found.check is not None and found.prepare is None
    alone = resolve_trainer(f"{module}:many")
    assert alone.train is None and getattr(alone.train_population, "__name__", None) == "many"


def test_a_file_of_the_working_folder_takes_no_packages_place_but_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(Path(lrtune.__file__).parents[1]), *sys.path])
    Path("graphlib.py").write_text("raise AssertionError('a file of a stranger')")
    Path("beside_for_test.py").write_text("")
    Path("colorsys.py").write_text("import graphlib, beside_for_test\ndef train(trial): ...")
    for name in ("graphlib", "colorsys"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = resolve_trainer("colorsys:train")
    assert found.train is not None and found.train.__code__.co_filename == str(tmp_path / "colorsys.py")
    assert "graphlib" in sys.modules
    for name in ("colorsys", "beside_for_test"):
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine_for_test:trian", "module 'mine_for_test' has no function 'trian'"),
        ("mine_for_test:number", "has no function 'number'"),
        (
            "broken_for_test:train",
            "cannot import 'broken_for_test:train': ModuleNotFoundError: No module named 'nothing_of_this_name'",
        ),
        ("no_such_module_here:train", "cannot import"),
        ("mine_for_test.py:train", r"got 'mine_for_test.py:train'; did you mean mine_for_test:train\?"),
        ("./lib/mine.py:train", r"did you mean lib.mine:train\?"),
        ("/tmp/mine.py:train", "change to the file's folder and give its name without .py"),
        (":train", "expected module:function, but got ':train'"),
        ("exits_for_test:train", "cannot import 'exits_for_test:train': SystemExit: usage"),
        ("in_src_for_test:train", r"it is in src: install it \(pip install -e .\) or set PYTHONPATH=src"),
        ("defualt", r"expected module:function or one of the installed names \(.*default"),
    ],
)
def test_what_is_not_found_is_one_line(module: str, target: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_trainer(target)


def test_population_marks_and_returns_the_function() -> None:
    def many(trials): ...

    assert population(many) is many and hasattr(many, "__lrtune_population__")
