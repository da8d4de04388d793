"""The knobs of several sources, and what a table's runs tried of one."""

from collections.abc import Mapping, Sequence

from lrtune.errors import InputError, counted
from lrtune.records.history import Reading
from lrtune.rule.knob import Coordinate
from lrtune.study.knob import AS_IT_IS


def agreed(parts: Sequence[Mapping[str, Coordinate]]) -> dict[str, Coordinate]:
    """The knobs of all sources.

    Raises:
        InputError: two sources search a knob in different ways.
    """
    every = [(name, coordinate) for part in parts for name, coordinate in part.items()]
    for name, coordinate in every:
        if any(coordinate != other for known, other in every if known == name):
            raise InputError(f"knobs.{name}: the sources search it in different ways; fit them apart")
    return dict(every)


def range_of(name: str, coordinate: Coordinate, readings: Sequence[Reading]) -> str:
    """A line on the values of a knob and its coordinate, which shows a wrong column."""
    values = [reading.knobs[name] for reading in readings]
    tried = sorted(value for value in values if value)
    if not tried:
        return f"--knob {name}: zero alone"
    text = f"--knob {name}: {tried[0]:.3g} … {tried[-1]:.3g}"
    if coordinate != AS_IT_IS:
        every = [{"learning_rate": reading.learning_rate, **reading.knobs} for reading in readings]
        other = coordinate.relative
        at = sorted(coordinate.at(each[name], each) for each in every if each[name] and each[other])
        what = f"ratio to {other}" if coordinate.times else f"product with {other}"
        text += f", its {what} {at[0]:.3g} … {at[-1]:.3g}" if at else ""
    zeros = len(values) - len(tried)
    return text + (f", zero in {counted(zeros, 'run')}" if zeros else "")
