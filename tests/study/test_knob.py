"""The knobs of a study: their grammar, coordinates and place in the fingerprint."""

import pytest

from lrtune.errors import InputError
from lrtune.rule.knob import Coordinate
from lrtune.study.knob import Knob, middle
from lrtune.study.study import Study, fingerprint
from lrtune.study.toml import parse_study, to_toml

_TOML = """
[knobs]
adam_lr = "0.02..2*learning_rate"
weight_decay = "0,1e-5..1e-2/learning_rate"
beta = "1e-3 .. 0.1"
"""


def test_each_form_is_read_and_written_back() -> None:
    study = parse_study(_TOML)
    assert study.knobs == {
        "adam_lr": Knob(low=0.02, high=2, coordinate=Coordinate(times="learning_rate")),
        "weight_decay": Knob(low=1e-5, high=1e-2, zero=True, coordinate=Coordinate(over="learning_rate")),
        "beta": Knob(low=1e-3, high=0.1),
    }
    assert parse_study(to_toml(study)) == study


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"a": "2..1"}, "LO below HI"),
        ({"a": "1..1"}, "LO below HI"),
        ({"a": "0..1"}, "0,LO..1"),
        ({"a": "one"}, "expected a range"),
        ({"a": 3}, "expected a range"),
        ({"a": "1..2*b"}, "another knob"),
        ({"a": "1..2*a"}, "another knob"),
        ({"a": "1..2*b", "b": "0,1..2"}, "may be zero"),
        ({"steps": "1..2"}, "a name of its own"),
        ({"output": "1..2"}, "a name of its own"),
        ({"a": "1e-20..1"}, "a range within 1e-15 … 1e"),
        ({"a b": "1..2"}, "letters"),
        ({f"a{i}": "1..2" for i in range(5)}, "at most 4"),
    ],
)
def test_a_wrong_knob_is_refused_in_one_line(knobs: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        Study(knobs=knobs)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_grid_has_no_knobs() -> None:
    with pytest.raises(InputError, match=r"knobs\.a: a grid searches the learning rate alone"):
        Study(knobs={"a": "1..2"}, design="grid")  # type: ignore[dict-item]


def test_the_middle_is_that_of_the_coordinate() -> None:
    knobs = parse_study("[knobs]\na = '0.25..4*learning_rate'\nb = '0,1..100/c'\nc = '1..4'").knobs
    assert middle(knobs, 0.02) == pytest.approx({"a": 0.02, "b": 10 / 2, "c": 2.0})


def test_a_coordinate_and_its_value_are_inverse() -> None:
    values = {"learning_rate": 0.02}
    for coordinate in (Coordinate(), Coordinate(times="learning_rate"), Coordinate(over="learning_rate")):
        assert coordinate.at(coordinate.value(0.3, values), values) == pytest.approx(0.3)
    assert Coordinate(over="learning_rate").value(1e-3, values) == pytest.approx(0.05)


def test_the_fingerprint_covers_names_and_coordinates_but_not_ranges() -> None:
    one = parse_study("[knobs]\na = '1..2*learning_rate'")
    wider = parse_study("[knobs]\na = '1..9*learning_rate'")
    other = parse_study("[knobs]\na = '1..2'")
    assert fingerprint(one) == fingerprint(wider)
    assert len({fingerprint(one), fingerprint(other), fingerprint(Study())}) == 3
