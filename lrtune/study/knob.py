"""Knobs: quantities beside the learning rate that the search chooses, such as a second rate or the weight decay.

Written ``LO..HI``, ``LO..HI*learning_rate`` (a ratio) or ``LO..HI/learning_rate`` (a product); ``0,`` before it makes
zero a further value.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lrtune.errors import InputError
from lrtune.fields import Kind, mapping, show, text
from lrtune.rule.knob import Coordinate

MOST = 4  # knobs of a study
AS_IT_IS = Coordinate()
_LOWEST, _HIGHEST = 1e-15, 1e15  # of a coordinate, so that values, coordinates of coordinates, are 1e-30 … 1e30
_NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_FORM = re.compile(rf"(0\s*,)?\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(?:([*/])\s*(\w+))?")
_WORDS = "a range such as 1e-4..1e-2, 0,0.01..1, 0.02..2*learning_rate or 1e-5..1e-2/learning_rate"


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One knob.

    Attributes:
        low, high: range of its coordinate, searched in log.
        zero: whether its value may also be zero.
        coordinate: how its value follows from the coordinate.
    """

    low: float
    high: float
    zero: bool = False
    coordinate: Coordinate = AS_IT_IS

    def __str__(self) -> str:
        return f"{'0,' if self.zero else ''}{self.low:g}..{self.high:g}{self.coordinate}"


def _knob(where: str, value: object) -> Knob:
    if isinstance(value, Knob):
        return value
    form = _FORM.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 200 else None
    if form is None:
        raise InputError(f"{where}: expected {_WORDS}, but got {show(value)}")
    zero, low, high, sign, other = form.groups()
    if float(low) == 0:
        raise InputError(f"{where}: a range in log cannot start at 0; write 0,LO..{high} for zero and a range")
    if not float(low) < float(high):
        raise InputError(f"{where}: expected LO below HI, but got {low}..{high}")
    if not _LOWEST <= float(low) < float(high) <= _HIGHEST:
        raise InputError(f"{where}: expected a range within {_LOWEST:g} … {_HIGHEST:g}, but got {low}..{high}")
    coordinate = Coordinate(times=other) if sign == "*" else Coordinate(over=other or "")
    return Knob(low=float(low), high=float(high), zero=zero is not None, coordinate=coordinate)


KNOBS: Kind = mapping(_knob, MOST, key=text(100, printable=True, least=1))


def beside(rate: str, knobs: Mapping[str, float]) -> str:
    """A rate as shown, with the knobs' values beside it: ``0.02, adam_lr 0.003``."""
    return ", ".join([rate, *(f"{name} {value:.3g}" for name, value in knobs.items())])


def coordinates(knobs: Mapping[str, Knob]) -> dict[str, Coordinate]:
    """How each knob is searched."""
    return {name: knob.coordinate for name, knob in knobs.items()}


def middle(knobs: Mapping[str, Knob], learning_rate: float) -> dict[str, float]:
    """The knobs' values in the middle of their ranges, at this learning rate."""
    middles = {name: math.sqrt(knob.low * knob.high) for name, knob in knobs.items()}
    values = {"learning_rate": learning_rate, **middles}
    return {name: knob.coordinate.value(middles[name], values) for name, knob in knobs.items()}


def check_knobs(coordinates: Mapping[str, Coordinate], taken: Collection[str], zeros: Collection[str] = ()) -> None:
    """Check the names: none of those taken, and each reference one of a knob that is not relative and never zero."""
    for name, coordinate in coordinates.items():
        if name in taken:
            raise InputError(f"knobs.{name}: expected a name of its own, but a scale or setting has it")
        if not name.isidentifier():
            raise InputError(f"knobs.{name:.100}: expected a name of letters, digits and underscores")
        other = coordinate.relative
        if other and other != "learning_rate":
            if other not in coordinates or other == name:
                raise InputError(
                    f"knobs.{name}: expected learning_rate or another knob after the sign, but got {other!r}"
                )
            if coordinates[other] != AS_IT_IS or other in zeros:
                raise InputError(f"knobs.{name}: {other} is relative itself or may be zero; use learning_rate")
