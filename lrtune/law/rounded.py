"""Tokens, steps and batch that differ from run to run by rounding are one value of their scale.

Runs count these; a hidden size or a depth is chosen, and its differences are meant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median_low, multimode

from lrtune.records.record import TrialRecord
from lrtune.rule.question import LENGTHS, ROUNDING


def rounded(records: Sequence[TrialRecord], scales: Sequence[str]) -> list[TrialRecord]:
    """The records with one value for those of a counted scale that lie within `ROUNDING` of each other."""
    kept = list(records)
    for name in (name for name in scales if name in LENGTHS):
        one = _by_value(value for record in kept if (value := record.scale(name)) is not None)
        for i, record in enumerate(kept):
            value = record.scale(name)
            if value is not None and one[value] != value:
                kept[i] = replace(record, scales={**record.scales, name: one[value]})
    return kept


def _by_value(values: Iterable[float]) -> dict[float, float]:
    """The most frequent value of each one's group; of several, the middle one."""
    groups: list[list[float]] = []
    for value in sorted(values):
        if groups and value <= groups[-1][0] * (1 + ROUNDING):
            groups[-1].append(value)
        else:
            groups.append([value])
    return {value: median_low(multimode(group)) for group in groups for value in group}
