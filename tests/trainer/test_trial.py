"""The trainer contract: what report accepts, what describe hands over, how a trainer is found."""

import math
import sys

import pytest

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
    assert run.report(50, loss=Scalar(), diversity=0.25, gradient_norm=1) is True
    assert run.report(100, loss=math.nan) is False
    assert seen[0] == Report(50, 2.5, 0.25, {"gradient_norm": 1.0})
    assert math.isnan(seen[1].loss) and seen[1].diversity is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": 101, "loss": 1.0}, r"expected a step within 0 … 100, but got 101"),
        ({"step": -1, "loss": 1.0}, "expected a step within"),
        ({"step": 1, "loss": "4.2"}, "expected a number for loss, but got '4.2'"),
        ({"step": 1, "loss": None}, "expected a number for loss, but got None"),
        ({"step": 1, "loss": True}, "expected a number for loss"),
        ({"step": 1, "loss": [1.0]}, "expected a number for loss, but got list"),
        ({"step": 1, "loss": 1.0, "note": "x"}, "expected a number for note"),
    ],
)
def test_report_refuses_what_is_no_number(arguments: dict, message: str) -> None:
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
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "mine_for_test"
    sys.modules.pop("mine_for_test", None)


def test_a_function_is_found_with_what_its_module_offers(module: str) -> None:
    found = resolve_trainer(f"{module}:train")
    assert found.train.__name__ == "train" and found.train_population.__name__ == "train_population"
    assert found.check is not None and found.prepare is None
    alone = resolve_trainer(f"{module}:many")
    assert alone.train is None and alone.train_population.__name__ == "many"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine_for_test:trian", "expected a function 'trian' in module 'mine_for_test'"),
        ("mine_for_test:number", "expected a function 'number'"),
        ("broken_for_test:train", "cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("no_such_module_here:train", "cannot be imported"),
        ("defualt", r"expected module:function or one of the installed names \(.*default"),
    ],
)
def test_what_is_not_found_is_one_line(module: str, target: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_trainer(target)


def test_population_marks_and_returns_the_function() -> None:
    def many(trials): ...

    assert population(many) is many and many.__lrtune_population__
