"""The language of --failed-when and --drop-when: what holds for a row, and what is refused in one line."""

import pytest

from lrtune.errors import InputError
from lrtune.records.condition import parse_condition

ROW = {"loss": "5.5", "lr": 0.1, "state": "crashed", "empty": "", "odd name": 2, "nan": float("nan")}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("loss>5", True),
        ("loss > 5.5", False),
        ("loss >= 5.5", True),
        ("5 < loss", True),
        ("loss != 5.5", False),
        ("lr == 1e-1", True),
        ("state == 'crashed'", True),
        ('state != "crashed"', False),
        ("state > 3", False),
        ("empty < 1", False),
        ("nan < 1 or nan >= 1", False),
        ("`odd name` == 2", True),
        ("loss > 5 and lr > 1", False),
        ("loss > 5 or lr > 1", True),
        ("lr > 1 and loss > 5 or loss > 5", True),
        ("lr > 1 and (loss > 5 or loss > 5)", False),
        ("not loss > 5", False),
        ("not (loss > 5 and lr > 1)", True),
        ("not not loss > 5", True),
        ("loss > -1.5e0", True),
        ("state in ('killed', 'crashed')", True),
        ("state in ('killed', \"failed\")", False),
        ("state not in ('killed') and lr in (0.1, 0.2)", True),
        ("lr in (1)", False),
        ("not state in ('crashed') or empty == ''", True),
        ("empty != '' or state == ''", False),
        ("state != ''", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert parse_condition(text, list(ROW))(ROW) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loss",
        "loss >",
        "> 5",
        "loss > 5 lr",
        "loss > 5 and",
        "(loss > 5",
        "loss > 5)",
        "loss = 5",
        "loss > 'x",
        "and > 1",
        "__import__('os')",
        "loss.__class__ > 1",
        "lambda: 1",
        "loss > 5; lr > 1",
        "(" * 60 + "loss > 1",
        "los > 5",
        "x" * 2000,
        "not " * 5000 + "loss > 1",
        "1 < 2 < 3",
        "loss in 5",
        "loss in ()",
        "loss in (5",
        "loss not 5",
    ],
)
def test_what_is_not_of_the_grammar_is_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_condition(text, ["loss", "lr"])
    assert str(caught.value).startswith("--failed-when: ") and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_text_without_quotes_is_distinguished() -> None:
    with pytest.raises(InputError, match=r"--drop-when: unknown column 'finished'.*write text in quotes: 'finished'"):
        parse_condition("state != finished", ["state", "lr"], flag="--drop-when")
