"""The compact rule file: it loses nothing, files of before it are read, and a damaged one is refused."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from builders import finished_run, knob_rule

from lrtune.errors import InputError
from lrtune.law.fit import fit_law
from lrtune.rule import Rule, load_rule, parse_rule, recommend, rule_to_json
from lrtune.rule.packed import pack

WIDTHS, STEPS, BATCHES = (32, 64, 128), (100, 200), (256, 512)


@cache
def joint() -> Rule:
    """Five rates at each of twelve cells: three widths, two lengths, two batches."""
    runs = [
        replace(
            finished_run(w, 0.3 / w * 2.0**k, 3 * (1 + 0.02 * k**2) + b / 1e6 + steps / 1e6, {}),
            steps=steps,
            scales={"batch_tokens": float(b)},
        )
        for w in WIDTHS
        for steps in STEPS
        for b in BATCHES
        for k in (-2, -1, 0, 1, 2)
    ]
    return fit_law(runs, scales=("hidden_size", "steps", "batch_tokens")).rule


def as_lists(rule: Rule) -> dict[str, Any]:
    """The content of a rule file of schema 2 or 3, whose cells had a sensitivity."""
    assert rule.draws is not None
    data = rule._asdict()
    del data["source"], data["knobs"]
    data["scales"] = {name: scale._asdict() for name, scale in rule.scales.items()}
    cells = [{**cell._asdict(), "sensitivity": 0.5} for cell in rule.cells]
    data["cells"] = [{name: value for name, value in cell.items() if value is not None} for cell in cells]
    data["draws"] = {**rule.draws._asdict(), "cells": [cell._asdict() for cell in rule.draws.cells]}
    if rule.boundary:
        data["boundary"] = {"line": rule.boundary.line._asdict(), "width": rule.boundary.width}
    return data


@pytest.mark.parametrize("make", [joint, knob_rule, lambda: load_rule("packaged")], ids=["joint", "knobs", "packaged"])
def test_the_compact_file_loses_nothing(make: Any) -> None:
    rule = make()._replace(source="")
    assert parse_rule(rule_to_json(rule)) == rule


def test_files_of_lists_are_still_read() -> None:
    assert parse_rule(json.dumps({"schema": 2, **as_lists(joint())})) == joint()
    rule = knob_rule()
    knobs = {
        name: {"coordinate": law.coordinate._asdict(), "rule": as_lists(law.rule), "zero": None}
        for name, law in rule.knobs.items()
    }
    assert parse_rule(json.dumps({"schema": 3, **as_lists(rule), "knobs": knobs})) == rule


@pytest.mark.parametrize("power", [1e5, 3e9])
def test_a_power_that_no_number_holds_is_refused(power: float) -> None:
    rule = joint()
    assert rule.draws is not None
    upper, low, high, _, *rest = rule.draws.shapes[0]
    broken = rule._replace(draws=rule.draws._replace(shapes=((upper, low, high, power, *rest), *rule.draws.shapes[1:])))
    with pytest.raises(InputError, match="expected powers up to 100"):
        parse_rule(rule_to_json(broken))


def test_a_cell_and_a_run_take_little_room() -> None:
    """A joint rule of 60 cells and 1,250 runs shall have 30 kB: twelve cells, with all that is not of cells, nine."""
    assert len(rule_to_json(joint())) < 9_000
    one = load_rule("packaged")
    run = (len(rule_to_json(one)) - len(rule_to_json(one._replace(runs="")))) / (len(one.runs) / 6)
    assert run < 4.5


def test_the_cells_can_be_read_by_eye() -> None:
    data = json.loads(rule_to_json(joint()))["cells"]
    assert data["scales"]["hidden_size"] == [32] * 4 + [64] * 4 + [128] * 4
    assert data["learning_rate"] == [cell.learning_rate for cell in joint().cells]
    assert all(len(f"{rate:g}".strip("0.")) <= 5 for rate in data["learning_rate"])


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        (("draws", "numbers"), "", "draws.numbers: expected"),
        (("draws", "numbers"), "ä", "draws.numbers: expected"),
        (("draws", "numbers"), pack(bytes(20_000_000), 2), "draws.numbers: expected"),
        (("draws", "count"), 62, "draws.numbers: expected"),
        (("draws", "count"), 1 << 20, "draws.count: expected"),
        (("draws", "cells"), 20_000, "draws: expected at most"),
        (("draws", "steps"), False, "draws.numbers: expected"),
        (("draws", "values"), [[1.0]], "draws"),
        (("draws", "shapes"), 1, "draws"),
        (("runs", "count"), 2, "runs.marks: expected"),
        (("runs", "marks"), "AAAA", "runs.marks: expected"),
        (("cells", "trials"), [1], "cells: expected columns of one length"),
        (("cells", "trials"), 1, "cells.trials: expected a list"),
        (("cells", "tries"), [1] * 12, "unknown key 'tries'"),
        (("cells", "scales"), {}, "expected the scales"),
        (("cells", "scales"), None, "cells.scales: expected a table"),
        (("cells", "low"), [1.0] * 12, "expected low ≤ learning_rate"),
    ],
)
def test_a_damaged_part_is_named(part: tuple[str, str], value: object, said: str) -> None:
    data = json.loads(rule_to_json(joint()))
    data[part[0]][part[1]] = value
    with pytest.raises(InputError, match=said):
        parse_rule(json.dumps(data))


def test_numbers_that_do_not_belong_together_are_refused() -> None:
    """Packed or not, draws obey one set of checks."""
    rule = joint()
    draws = rule.draws
    assert draws is not None
    for changed, said in (
        (draws._replace(shape=(200,) * 64), "indices"),
        (draws._replace(shape=(-1,) * 64), "indices"),
        (draws._replace(own_sd=(-1,) * 64), "no negative"),
        (draws._replace(height=(30_000,) * 64), "heights"),
        (draws._replace(shapes=((0.0,) * 8,) * len(draws.shapes)), "positive"),
        (draws._replace(level=(40_000,) * 64), "16 bits"),
    ):
        with pytest.raises(InputError, match=said):
            parse_rule(rule_to_json(rule._replace(draws=changed)))


def test_marks_that_are_no_marks_stay_text() -> None:
    for marks in ("not hexadecimal", "ab", "ABCDEF", ""):
        assert parse_rule(rule_to_json(joint()._replace(runs=marks))).runs == marks


def test_answers_of_the_file_are_those_of_the_fit() -> None:
    read = parse_rule(rule_to_json(joint()))
    for width in (32, 45, 64, 256):
        assert recommend(width, steps=150, batch_tokens=300, rule=read) == recommend(
            width, steps=150, batch_tokens=300, rule=joint()
        )


def test_a_list_in_a_text_stays_as_it_is() -> None:
    rule = joint()._replace(study="[scales]\nhidden_size = [1.0, 2.0]\n", provenance={"note": "[1.0, 2.0]"})
    read = parse_rule(rule_to_json(rule))
    assert (read.study, read.provenance) == (rule.study, rule.provenance)
