"""The text of a rule → a `Rule`: untrusted input, so that its size, depth, lengths and numbers are bounded.

Nothing in it is evaluated; a field that is not understood is named in one line.
"""

import json
from collections.abc import Callable
from typing import Any

from lrtune.errors import InputError
from lrtune.rule.data import (
    ADVICE,
    BOUNDS,
    FORMS,
    HORIZON,
    Boundary,
    Condition,
    Polynomial,
    Rule,
    RuleCell,
    Scale,
    Step,
)

SCHEMA = 1
_MAX_TEXT = 2000
_RATES = (1e-15, 1e9)
_SIZES = (1e-30, 1e30)


def parse_rule(text: str | bytes, *, source: str = "") -> Rule:
    """The rule that a JSON text holds.

    Raises:
        InputError: it holds none; names the field.
    """
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"expected a rule in JSON, but it is none ({what:.80})") from error
    if not isinstance(data, dict):
        raise InputError(f"expected a JSON object with a rule, but got {type(data).__name__}")
    if data.get("schema") != SCHEMA or isinstance(data.get("schema"), bool):
        got = _show(data["schema"]) if "schema" in data else "none"
        raise InputError(f"schema: expected {SCHEMA}, but got {got}; a newer lrtune may read it")
    fields = _fields("rule", data, ("form", "reason", "scales", "cells"), ("schema", *Rule._fields[4:-1]))
    del fields["schema"]
    rule = Rule(**{name: _READ[name](name, value) for name, value in fields.items()}, source=source)
    _check_whole(rule)
    return rule


def _check_whole(rule: Rule) -> None:
    """What no field shows by itself."""
    if not rule.scales:
        raise InputError("scales: expected at least one, but got none")
    if not rule.cells:
        raise InputError("cells: expected at least one measured cell, but got none")
    for cell in rule.cells:
        if set(cell.scales) != set(rule.scales):
            raise InputError(f"cells: expected the scales {sorted(rule.scales)} in each, but got {sorted(cell.scales)}")
    for line in (rule.law, rule.boundary.line if rule.boundary else None):
        if line and any(len(exponents) != len(rule.scales) for exponents in line.exponents):
            raise InputError(f"law: expected {len(rule.scales)} exponents a term, one for each scale")
    if rule.form == "step" and not (rule.step and rule.step.scale in rule.scales):
        raise InputError("step: expected a threshold on one of the rule's scales")
    if rule.form not in ("step", "table") and rule.law is None:
        raise InputError(f"law: expected a polynomial for the form {rule.form!r}, but got null")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that a rule may hold")


def _show(value: object) -> str:
    return f"{value!r:.40}" if isinstance(value, str | int | float | bool | None) else type(value).__name__


def _fields(where: str, data: object, needed: tuple[str, ...], known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected an object, but got {_show(data)}")
    for name in needed:
        if name not in data:
            raise InputError(f"{where}.{name}: expected in every rule, but it is missing")
    for name in data:
        if name not in needed and name not in known:
            raise InputError(f"{where}: unknown key {name!r:.40}; known keys: {', '.join((*needed, *known))}")
    return dict(data)


def _number(where: str, value: object, low: float = -1e9, high: float = 1e9) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{where}: expected a number within {low:g} … {high:g}, but got {_show(value)}")
    return float(value)


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise InputError(f"{where}: expected a printable string of at most {_MAX_TEXT} characters")
    return value


def _flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where}: expected true or false, but got {_show(value)}")
    return value


def _choice(choices: tuple[str | None, ...]) -> Callable[[str, object], Any]:
    def read(where: str, value: object) -> Any:
        if value not in choices or isinstance(value, list | dict):
            raise InputError(f"{where}: expected one of {', '.join(map(str, choices))}, but got {_show(value)}")
        return value

    return read


def _list(where: str, value: object, longest: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > longest:
        raise InputError(f"{where}: expected a list of at most {longest}, but got {_show(value)}")
    return value


def _table(where: str, value: object, read: Callable[[str, object], Any], keys: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > 64:
        raise InputError(f"{where}: expected an object of at most 64 keys, but got {_show(value)}")
    for key in value:
        if keys and key not in keys:
            raise InputError(f"{where}: unknown key {key!r:.40}; known keys: {', '.join(keys)}")
    return {_text(where, key): read(f"{where}.{key}", item) for key, item in value.items()}


def _condition(where: str, value: object) -> Condition:
    if isinstance(value, list) and len(value) == 2:
        return _number(where, value[0], -1e300, 1e300), _number(where, value[1], -1e300, 1e300)
    if isinstance(value, bool):
        return value
    return _text(where, value) if isinstance(value, str) else _number(where, value, -1e300, 1e300)


def _scales(where: str, value: object) -> dict[str, Scale]:
    def read(where: str, value: object) -> Scale:
        fields = _fields(where, value, Scale._fields, ())
        scale = Scale(**{name: _number(f"{where}.{name}", fields[name], *_SIZES) for name in fields})
        if not scale.low <= scale.high:
            raise InputError(f"{where}: expected low at most high, but got {scale.low:g} and {scale.high:g}")
        return scale

    if isinstance(value, dict) and len(value) > 8:
        raise InputError(f"{where}: expected at most 8 scales, but got {len(value)}")
    return _table(where, value, read)


def _polynomial(where: str, value: object) -> Polynomial | None:
    if value is None:
        return None
    fields = _fields(where, value, Polynomial._fields, ())
    rows = _list(f"{where}.exponents", fields["exponents"], 64)
    exponents = tuple(tuple(int(_number(f"{where}.exponents", p, 0, 4)) for p in _list(where, row, 8)) for row in rows)
    numbers = _list(f"{where}.coefficients", fields["coefficients"], 64)
    coefficients = tuple(_number(f"{where}.coefficients", number) for number in numbers)
    square = _list(f"{where}.covariance", fields["covariance"], 64)
    covariance = tuple(tuple(_number(f"{where}.covariance", v) for v in _list(where, row, 64)) for row in square)
    size = len(coefficients)
    if not size or len(exponents) != size or len(covariance) != size or any(len(row) != size for row in covariance):
        raise InputError(f"{where}: expected as many exponents and rows of covariance as coefficients ({size})")
    if any(covariance[i][i] < 0 for i in range(size)):
        raise InputError(f"{where}.covariance: expected no negative variance")
    return Polynomial(exponents, coefficients, covariance)


def _step(where: str, value: object) -> Step | None:
    if value is None:
        return None
    fields = _fields(where, value, Step._fields, ())
    scale = _text(f"{where}.scale", fields.pop("scale"))
    limits = {"low": _SIZES, "high": _SIZES, "below_variance": (0.0, 1e9), "above_variance": (0.0, 1e9)}
    numbers = {name: _number(f"{where}.{name}", fields[name], *limits.get(name, (-1e9, 1e9))) for name in fields}
    if not numbers["low"] <= numbers["high"]:
        raise InputError(f"{where}: expected low at most high")
    return Step(scale=scale, **numbers)


def _boundary(where: str, value: object) -> Boundary | None:
    if value is None:
        return None
    fields = _fields(where, value, Boundary._fields, ())
    line = _polynomial(f"{where}.line", fields["line"])
    if line is None:
        raise InputError(f"{where}.line: expected a polynomial, but got null")
    return Boundary(line, _number(f"{where}.width", fields["width"], 1e-9, 1e3))


def _cells(where: str, value: object) -> tuple[RuleCell, ...]:
    return tuple(_cell(f"{where}[{i}]", item) for i, item in enumerate(_list(where, value, 20_000)))


def _cell(where: str, value: object) -> RuleCell:
    needed = ("scales", "learning_rate", "low", "high")
    fields = _fields(where, value, needed, RuleCell._fields[4:])
    for name in ("learning_rate", "low", "high", "safe_low", "safe_high"):
        if fields.get(name) is not None or name in needed:
            fields[name] = _number(f"{where}.{name}", fields[name], *_RATES)
    for name in ("loss", "sensitivity"):
        if fields.get(name) is not None:
            fields[name] = _number(f"{where}.{name}", fields[name], -1e300, 1e300)
    if "trials" in fields:
        fields["trials"] = int(_number(f"{where}.trials", fields["trials"], 0, 1e9))
    _choice(BOUNDS)(f"{where}.bound", fields.get("bound"))
    fields["scales"] = _table(f"{where}.scales", fields["scales"], lambda at, v: _number(at, v, *_SIZES))
    if not fields["low"] <= fields["learning_rate"] <= fields["high"]:
        raise InputError(f"{where}: expected low ≤ learning_rate ≤ high")
    return RuleCell(**fields)


def _optional(where: str, value: object) -> float | None:
    return None if value is None else _number(where, value, 0, 1e3)


_READ: dict[str, Callable[[str, object], Any]] = {
    "form": _choice(FORMS),
    "reason": _text,
    "scales": _scales,
    "cells": _cells,
    "law": _polynomial,
    "step": _step,
    "discrepancy": lambda where, value: _number(where, value, 0, 1e3),
    "level": lambda where, value: _number(where, value, 0.5, 0.999),
    "quantile": lambda where, value: _number(where, value, 0.1, 20),
    "tolerance": lambda where, value: _number(where, value, 1e-6, 1),
    "safe_below": _optional,
    "safe_above": _optional,
    "boundary": _boundary,
    "conditions": lambda where, value: _table(where, value, _condition),
    "advice": lambda where, value: _table(where, value, lambda at, v: _number(at, v, 0, 1e12), ADVICE),
    "horizon": lambda where, value: _table(where, value, lambda at, v: _number(at, v, 1e-9, 1e30), HORIZON),
    "provenance": lambda where, value: _table(where, value, _text),
    "provisional": _flag,
}
