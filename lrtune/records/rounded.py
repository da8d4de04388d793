"""Tokens, steps and batch that differ from run to run by rounding are one value of their scale.

Runs count these; a hidden size or a depth is chosen, and its differences are meant.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median_low, multimode

from lrtune.records.record import TrialRecord
from lrtune.rule.question import LENGTHS, ROUNDING


def rounded(records: Sequence[TrialRecord], scales: Iterable[str]) -> list[TrialRecord]:
    """The records with one value for those of a counted scale that lie within `ROUNDING` of each other."""
    counted = [name for name in scales if name in LENGTHS]
    own = [{name: value for name in counted if (value := record.scale(name)) is not None} for record in records]
    return [
        record if place == before else replace(record, scales={**record.scales, **place})
        for record, before, place in zip(records, own, rounded_places(own), strict=True)
    ]


def rounded_places(places: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The same for places, scales by name."""
    one = {name: _by_value(place[name] for place in places if name in place) for name in LENGTHS}
    return [{name: one[name][value] if name in LENGTHS else value for name, value in place.items()} for place in places]


def _by_value(values: Iterable[float]) -> dict[float, float]:
    """The most frequent value of each one's group; of several, the middle one."""
    groups: list[list[float]] = []
    for value in sorted(values):
        if groups and value <= groups[-1][0] * (1 + ROUNDING):
            groups[-1].append(value)
        else:
            groups.append([value])
    return {value: median_low(multimode(group)) for group in groups for value in group}
