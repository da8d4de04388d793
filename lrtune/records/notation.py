"""The number notation of each column: decimal signs, thousands separators, percent, units, logarithms.

A sign is *sure* if it can only be the decimal sign ("0,5", "1.024,5"), and *open* if it may separate thousands
("1,024"). The decimal sign comes from the column's sure cells, else from those of other columns, else from the kind
of value (a size is whole). A column that stays ambiguous is an error that names the cell: 1.024 and 1024 differ by a
factor of a thousand.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from numbers import Real
from typing import Any, Literal

from lrtune.errors import InputError
from lrtune.records.table import Table

Kind = Literal["rate", "size", "loss", "other"]
Cell = tuple[str, Any]  # place and content

_MINUS = str.maketrans(dict.fromkeys("−–﹣－‐‑", "-"))
_BLANKS = str.maketrans(dict.fromkeys("\u00a0\u202f\u2009\u2007\t", " "))
_NUMBER = re.compile(
    r"(?P<digits>[+-]?(?:\d[\d.,' ’_]*|[.,]\d+))(?P<exponent>\s?[eEdD][+-]?\d+)?\s?(?P<unit>%|[kKmMbBgGtT])?"
)
_POWER = re.compile(
    r"(?:(?P<factor>\d+(?:\.\d+)?)\s?[x×*·]\s?)?(?P<base>10|2)\s?(?:\^|\*\*)\s?\(?(?P<power>[+-]?\d+(?:\.\d+)?)\)?"
)
_GROUPS = {sign: re.compile(rf"[+-]?\d{{1,3}}(?:{re.escape(sign)}\d{{3}})+") for sign in ".,' ’_"}
_OPEN = re.compile(r"[+-]?[1-9]\d{0,2}(?P<sign>[.,])\d{3}")
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_NOT_FINITE = {
    **dict.fromkeys(("nan", "+nan", "-nan", "1.#qnan", "1.#ind", "-1.#ind", "#num!", "#div/0!"), math.nan),
    **dict.fromkeys(("inf", "+inf", "infinity", "+infinity", "1.#inf", "∞", "+∞"), math.inf),
    **dict.fromkeys(("-inf", "-infinity", "-1.#inf", "-∞"), -math.inf),
}
_LOGARITHM = re.compile(
    r"(?i)(?P<minus>-|neg(?:ative)?_?|minus_?)?\s?(?P<base>log_?2|log_?10|log_?e|ln|lg|lb)"
    r"(?=[ _(.-]|lr\b|learning|width|$)|.+[ _(](?P<after>log2|log10|ln)\)?$"
)
_BASES = {"log2": 2.0, "lb": 2.0, "log10": 10.0, "lg": 10.0, "loge": math.e, "ln": math.e}
_SOME_LOGARITHM = re.compile(r"(?i)(?:-|neg_?|minus_?)?log[ _(]?(?:lr|learning|rate|peak)")
_FASTEST = 100.0  # largest rate that a logarithm may stand for


def number(value: Any) -> float | None:
    """The number in a cell, or in text that follows program notation; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        text = _clean(value)
        if text.lower() in _NOT_FINITE:
            return _NOT_FINITE[text.lower()]
        value = text
    elif not isinstance(value, Real | Decimal):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError, TypeError):
        return None


def is_blank(value: Any) -> bool:
    """Whether a cell is empty."""
    return value is None or (
        isinstance(value, str) and value.strip().lower() in ("", "-", "--", "none", "null", "n/a", "na", "<na>")
    )


@dataclass(frozen=True)
class Reader:
    """Reads the cells of one column; `note` reports an unusual notation."""

    read: Callable[[Any], float | None]
    note: str = ""


def readers(table: Table, wanted: Sequence[tuple[str, Kind]]) -> dict[tuple[str, Kind], Reader]:
    """A reader for each requested column.

    Raises:
        InputError: a column is ambiguous; the message names row, column and cell.
    """
    cells = {
        name: [(row.place, value) for row in table.rows if isinstance(value := row.cells.get(name), str)]
        for name, _ in wanted
    }
    sure = {name: _sure(table.source, name, column) for name, column in cells.items()}
    everywhere = {sign for sign in sure.values() if sign}
    found = {}
    for name, kind in dict.fromkeys(wanted):
        sign = sure[name] or _by_context(table.source, name, kind, cells[name], everywhere)
        _refuse_some_percent(table.source, name, cells[name])
        found[name, kind] = _logarithm(table, name, kind, _reader(name, kind, cells[name], sign))
    return found


def _clean(text: str) -> str:
    return text.translate(_MINUS).translate(_BLANKS).strip()


@lru_cache(maxsize=10_000)
def _digits(text: str) -> tuple[str, bool]:
    """The digits with their signs, and whether an exponent follows; empty if the cell is not a number."""
    match = _NUMBER.fullmatch(_clean(text))
    return (match["digits"], match["exponent"] is not None) if match else ("", False)


@lru_cache(maxsize=10_000)
def _sign(text: str) -> tuple[str, str]:
    """(sure decimal sign, open sign) of one cell."""
    digits, exponent = _digits(text)
    for sign in "' ’_":
        digits = digits.replace(sign, "")
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        return max(".,", key=digits.rfind), ""
    if points + commas == 0:
        return "", ""
    sign = "." if points else ","
    if points + commas > 1:
        return ("," if sign == "." else "."), ""
    return ("", sign) if _OPEN.fullmatch(digits) and not exponent else (sign, "")


def _sure(source: str, name: str, cells: Iterable[Cell]) -> str:
    first: dict[str, Cell] = {}
    for place, value in cells:
        sign = _sign(value)[0]
        if sign:
            first.setdefault(sign, (place, value))
    if len(first) > 1:
        (one, a), (two, b) = first.values()
        raise InputError(
            f"{source}: column {name!r}: expected one decimal sign, but got {a.strip()!r:.40} in {one} "
            f"and {b.strip()!r:.40} in {two}"
        )
    return next(iter(first), "")


def _by_context(source: str, name: str, kind: Kind, cells: Iterable[Cell], everywhere: set[str]) -> str:
    """The decimal sign of a column without a sure one."""
    opened: dict[str, Cell] = {}
    for place, value in cells:
        opened.setdefault(_sign(value)[1], (place, value))
    opened.pop("", None)
    if not opened:
        return "."
    if len(opened) == 1:
        (sign,) = opened
        if sign == "." and everywhere != {","}:
            return "."
        if sign == ("." if kind == "size" else ",") and everywhere == {","}:
            return ","
        if sign == "," and kind == "size" and "," not in everywhere:
            return "."  # a size such as 1.024 makes no sense, and no other cell of the table uses this notation
    place, value = next(iter(opened.values()))
    raise InputError(
        f"{source}, {place}, column {name!r}: expected an unambiguous number, but {value.strip()!r:.40} "
        "may have a decimal sign or a thousands separator; remove thousands separators"
    )


def _refuse_some_percent(source: str, name: str, cells: Iterable[Cell]) -> None:
    first: dict[bool, Cell] = {}
    for place, value in cells:
        if _digits(value)[0]:
            first.setdefault(value.strip().endswith("%"), (place, value))
    if len(first) > 1:
        (one, a), (two, b) = first[True], first[False]
        raise InputError(
            f"{source}: column {name!r}: expected percent signs in all cells or in none, but got {a!r:.40} in {one} "
            f"and {b!r:.40} in {two}"
        )


def _reader(name: str, kind: Kind, cells: Iterable[Cell], sign: str) -> Reader:
    def read(value: Any) -> float | None:
        return _written(value, kind, sign) if isinstance(value, str) else number(value)

    for _, value in cells:
        meant = read(value)
        if meant is not None and math.isfinite(meant) and _plainly(value) != meant:
            return Reader(read, f"column {name!r}: read {value.strip()!r:.40} as {meant:g}")
    return Reader(read)


def _plainly(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


@lru_cache(maxsize=10_000)
def _written(text: str, kind: Kind, sign: str) -> float | None:
    """Parse a number as people and spreadsheets write it."""
    text = _clean(text)
    if text.lower() in _NOT_FINITE:
        return _NOT_FINITE[text.lower()]
    power = _POWER.fullmatch(text)
    if power:
        return float(power["factor"] or 1) * math.pow(float(power["base"]), float(power["power"]))
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    digits = match["digits"].strip()
    whole, point, fraction = digits.partition(sign)
    for other in _GROUPS:
        if other in whole and other != sign:
            if not _GROUPS[other].fullmatch(whole):
                return None
            whole = whole.replace(other, "")
    exponent = (match["exponent"] or "").strip().replace("d", "e").replace("D", "e")
    unit = (match["unit"] or "").lower()
    if unit and unit != "%" and kind not in ("size", "other"):
        return None
    try:
        value = float(f"{whole}{'.' if point else ''}{fraction}{exponent}")
    except ValueError:
        return None
    return value / 100 if unit == "%" else value * _UNITS.get(unit, 1.0)


def _logarithm(table: Table, name: str, kind: Kind, plain: Reader) -> Reader:
    """A reader for a column whose name says logarithm; raises if only the values look like logarithms."""
    if kind not in ("rate", "size"):
        return plain
    own = re.split(r"[./]", name)[-1]
    match = _LOGARITHM.match(own)
    values = [
        (row.place, v) for row in table.rows if (v := plain.read(row.cells.get(name))) is not None and math.isfinite(v)
    ]
    if match is None:
        if kind == "rate" and values and (all(v < 0 for _, v in values) or _SOME_LOGARITHM.match(own)):
            raise InputError(
                f"{table.source}, {values[0][0]}, column {name!r}: expected a learning rate, but {values[0][1]:g} "
                "looks like a logarithm; name the column log10_lr, log2_lr or ln_lr (-log10_lr if its sign was dropped)"
            )
        return plain
    base = _BASES[(match["after"] or match["base"]).lower().replace("_", "")]
    sign = -1.0 if match["minus"] else 1.0

    def read(value: Any) -> float | None:
        exponent = plain.read(value)
        if exponent is None or not abs(exponent) < 300 / math.log10(base):
            return None
        return float(base ** (sign * exponent))

    for place, value in values:
        if kind == "rate" and (read(value) or 0.0) > _FASTEST:
            raise InputError(
                f"{table.source}, {place}, column {name!r}: expected a logarithm of a learning rate, but {value:g} "
                f"stands for {base:g}^{sign * value:g}; name the column -{own} if its sign was dropped"
            )
    meant = f", {values[0][1]:g} as {read(values[0][1]):.3g}" if values else ""
    return Reader(read, f"column {name!r}: read as a logarithm of base {base:.3g}{meant}")
