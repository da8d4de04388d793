"""Parse the text of a rule. It is untrusted: size, depth, lengths and numbers are bounded, and nothing is evaluated.

An error names the invalid field in one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from lrtune.errors import InputError, NoActiveRuleError
from lrtune.fields import Kind, choice, flag, mapping, number, optional, sequence, show, table, text, unexpected
from lrtune.rule.consistency import check_rule
from lrtune.rule.data import (
    ADVICE,
    BOUNDS,
    CUTS,
    FORMS,
    HORIZON,
    Boundary,
    CellDraws,
    Draws,
    KnobLaw,
    Polynomial,
    Rule,
    RuleCell,
    Scale,
    Step,
    Zero,
)
from lrtune.rule.knob import Coordinate
from lrtune.rule.packed import MOST, unpack_draws, unpack_runs

TYPE_CHECKING = False  # `typing` is not imported: see `lrtune.named`
if TYPE_CHECKING:
    from typing import Any

SCHEMA = 4
_SCHEMAS = range(1, SCHEMA + 1)  # in 1 a law of one form stands for the draws; 3 has knobs; 4 packs draws and runs
_MOST_KNOBS = 8


def parse_rule(content: str | bytes, *, source: str = "") -> Rule:
    """The rule in a JSON text.

    Raises:
        InputError: the text is not a rule; names the field.
        NoActiveRuleError: the text says that there is no rule, and why.
    """
    try:
        data = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected a rule file in JSON, but {_not_json(error)}") from error
    if not isinstance(data, dict):
        raise InputError(f"expected a JSON object with a rule, but got {type(data).__name__}")
    schema = data.pop("schema", None)
    if type(schema) is not int or schema not in _SCHEMAS:
        raise InputError(
            f"schema: expected a whole number up to {SCHEMA}, but got {show(schema)}; a newer lrtune may read it"
        )
    if data.get("rule", data) is None:
        raise NoActiveRuleError(f"no rule: {_TEXT('reason', data.get('reason'))}")
    rule = Rule(**_RULE("", data), source=source)
    check_rule(rule)
    return rule


def _not_json(error: Exception) -> str:
    """What is wrong with a text that is not JSON, in few words."""
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno} is not JSON"
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    return "it is nested too deep" if isinstance(error, RecursionError) else f"{error!s:.80}"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that a rule may hold")


def _record(make: Callable[..., object], kinds: Mapping[str, Kind], *, needed: tuple[str, ...] = ()) -> Kind:
    """A table with the fields of a named tuple; all are required unless `needed` names fewer."""
    read = table(kinds, needed or tuple(kinds))

    def record(where: str, value: object) -> object:
        made = make(**read(where, value))
        if not getattr(made, "low", 0.0) <= getattr(made, "high", 0.0):
            raise InputError(f"{where}: expected low at most high")
        return made

    return record


def _polynomial(where: str, value: object) -> Polynomial:
    line: Polynomial = _LINE(where, value)
    size = len(line.coefficients)
    if len(line.exponents) != size or any(len(row) != size for row in (line.covariance, *line.covariance)):
        raise InputError(f"{where}: expected as many exponents and rows of covariance as coefficients ({size})")
    if any(line.covariance[i][i] < 0 for i in range(size)):
        raise InputError(f"{where}.covariance: expected no negative variance")
    return line


def _rule_cell(*, sensitivity: object = None, **fields: Any) -> RuleCell:
    """A cell; files of earlier versions have a `sensitivity` that nothing reads."""
    return RuleCell(**fields)


def _cell(where: str, value: object) -> RuleCell:
    cell: RuleCell = _CELL(where, value)
    _check_order(where, cell)
    return cell


def _check_order(where: str, cell: RuleCell) -> None:
    if not cell.low <= cell.learning_rate <= cell.high:
        raise InputError(f"{where}: expected low ≤ learning_rate ≤ high")


def _cells(where: str, value: object) -> tuple[RuleCell, ...]:
    if isinstance(value, Mapping):
        return _cells_by_columns(where, value)
    if not isinstance(value, list) or not 0 < len(value) <= 20_000:
        raise unexpected(where, "a list of 1 to 20,000 measured cells", value)
    return tuple(_cell(f"{where}[{i}]", item) for i, item in enumerate(value))


def _cells_by_columns(where: str, value: Mapping[str, object]) -> tuple[RuleCell, ...]:
    columns = _CELL_COLUMNS(where, value)
    scales = columns.pop("scales")
    counts = {len(column) for column in (*scales.values(), *columns.values())}
    if len(counts) != 1:
        raise InputError(f"{where}: expected columns of one length")
    rows = zip(*columns.values(), strict=True)
    places = zip(*scales.values(), strict=True) if scales else [()] * counts.pop()
    cells = tuple(
        _rule_cell(scales=dict(zip(scales, place, strict=True)), **dict(zip(columns, row, strict=True)))
        for place, row in zip(places, rows, strict=True)
    )
    for i, cell in enumerate(cells):
        _check_order(f"{where}[{i}]", cell)
    return cells


def _scales(where: str, value: object) -> dict[str, Scale]:
    found: dict[str, Scale] = mapping(_record(Scale, dict.fromkeys(Scale._fields, _SIZE)), 8, key=_TEXT)(where, value)
    if not found:
        raise InputError(f"{where}: expected at least one, but got none")
    return found


def _condition(where: str, value: object) -> Any:
    if isinstance(value, list):
        return sequence(number(), 2, least=2, what="a range")(where, value)
    kind = flag if isinstance(value, bool) else _TEXT if isinstance(value, str) else number()
    return kind(where, value)


_TEXT = text(2000, printable=True)
_VALUE = number(-1e9, 1e9)
_VARIANCE = number(0, 1e9)
_SIZE = number(1e-30, 1e30)
_RATE = number(1e-15, 1e9)
_WIDTH = optional(number(0, 1e3))
_ROW = sequence(_VALUE, 64)
_LINE = _record(
    Polynomial,
    {
        "exponents": sequence(sequence(number(0, 4, whole=True), 8), 64),
        "coefficients": sequence(_VALUE, 64, least=1),
        "covariance": sequence(_ROW, 64),
    },
)
_STEP = _record(
    Step,
    {
        "scale": _TEXT,
        **dict.fromkeys(("low", "high"), _SIZE),
        **dict.fromkeys(("below", "above"), _VALUE),
        **dict.fromkeys(("below_variance", "above_variance"), _VARIANCE),
    },
)
_OF_CELL = {
    **dict.fromkeys(("learning_rate", "low", "high"), _RATE),
    "bound": choice(*BOUNDS),
    "cut": choice(*CUTS),
    **dict.fromkeys(("safe_low", "safe_high", "tried_low", "tried_high"), optional(_RATE)),
    **dict.fromkeys(("loss", "sensitivity"), optional(number())),
    "trials": number(0, 1e9, whole=True),
}
_NEEDED_OF_CELL = ("scales", "learning_rate", "low", "high")
_CELL = _record(_rule_cell, {"scales": mapping(_SIZE, key=_TEXT), **_OF_CELL}, needed=_NEEDED_OF_CELL)
_CELL_COLUMNS = table(
    {
        "scales": mapping(sequence(_SIZE, 20_000, least=1), 8, key=_TEXT),
        **{name: sequence(kind, 20_000, least=1) for name, kind in _OF_CELL.items()},
    },
    _NEEDED_OF_CELL,
)
_COLUMN = sequence(number(-1e5, 1e5, whole=True), 1024, least=2)
_SIZES = sequence(number(0, 1e5, whole=True), 1024, least=2)
_ALONG = sequence(sequence(_COLUMN, 20_000, least=1), 8)
_VALUES = sequence(sequence(_SIZE, 20_000, least=1), 8)
_DRAWS = _record(
    Draws,
    {
        "shapes": sequence(sequence(number(-1e4, 1e4), 8, least=8), 1024),
        **dict.fromkeys(("level", "shape"), _COLUMN),
        "height": sequence(number(-1e3, 1e3, whole=True), 1024, least=2),
        **dict.fromkeys(("slopes", "bends"), sequence(_COLUMN, 64)),
        "reach": number(1e-3, 1e3),
        **dict.fromkeys(("wander", "steps"), _ALONG),
        **dict.fromkeys(("wander_sd", "steps_sd"), sequence(_SIZES, 8)),
        "own_sd": _SIZES,
        "inert": sequence(number(0, 1), 8),
        "cells": sequence(
            _record(
                CellDraws,
                {"off": _COLUMN, "shape": _COLUMN, "height": sequence(number(-1e3, 1e3, whole=True), 1024, least=2)},
            ),
            20_000,
        ),
        "ratio": flag,
        "values": _VALUES,
    },
)
_PACKED = table(
    {
        "count": number(2, 1024, whole=True),
        "cells": number(1, 20_000, whole=True),
        "shapes": number(1, 1024, whole=True),
        "values": _VALUES,
        "steps": flag,
        "reach": number(1e-3, 1e3),
        "inert": sequence(number(0, 1), 8),
        "ratio": flag,
        "numbers": text(4 * MOST),
    },
    ("count", "cells", "shapes", "values", "steps", "reach", "inert", "ratio", "numbers"),
)
_MARKS = table({"count": number(1, 1e6, whole=True), "marks": text(4_000_000)}, ("count", "marks"))


def _draws(where: str, value: object) -> Draws:
    if isinstance(value, Mapping) and "numbers" in value:
        return unpack_draws(where, _PACKED(where, value))
    draws: Draws = _DRAWS(where, value)
    return draws


def _runs(where: str, value: object) -> str:
    if isinstance(value, Mapping):
        given = _MARKS(where, value)
        return unpack_runs(where, given["count"], given["marks"])
    marks: str = text(1_000_000, printable=True)(where, value)
    return marks


_KINDS: dict[str, Kind] = {
    "form": choice(*FORMS),
    "reason": _TEXT,
    "scales": _scales,
    "cells": _cells,
    "law": optional(_polynomial),
    "step": optional(_STEP),
    "discrepancy": number(0, 1e3),
    "level": number(0.5, 0.999),
    "quantile": number(0.1, 20),
    "tolerance": number(1e-6, 1),
    "safe_below": _WIDTH,
    "safe_above": _WIDTH,
    "boundary": optional(_record(Boundary, {"line": _polynomial, "width": number(1e-9, 1e3)})),
    "conditions": mapping(_condition, key=_TEXT),
    "advice": table(dict.fromkeys(ADVICE, number(0, 1e12))),
    "horizon": table(dict.fromkeys(HORIZON, number(1e-9, 1e30))),
    "provenance": mapping(_TEXT, key=_TEXT),
    "provisional": flag,
    "draws": optional(_draws),
    "left_out": _WIDTH,
    "study": text(200_000),
    "runs": _runs,
}
_NEEDED = ("form", "reason", "scales", "cells")


def _law_of_knob(where: str, value: object) -> Rule:
    rule = Rule(**table(_KINDS, _NEEDED)(where, value))
    check_rule(rule)
    return rule


_KNOB = _record(
    KnobLaw,
    {
        "coordinate": _record(Coordinate, dict.fromkeys(Coordinate._fields, text(100, printable=True))),
        "rule": _law_of_knob,
        "zero": optional(_record(Zero, {"above": number(-1e3, 1e3), "error": number(0, 1e3)})),
    },
)
_RULE = table({**_KINDS, "knobs": mapping(_KNOB, _MOST_KNOBS, key=text(100, printable=True, least=1))}, _NEEDED)
