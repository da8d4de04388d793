"""What varies with the scales without being one: depth beside width, say, where every width was run at one depth.

A companion that goes along with the scales (deeper as it gets wider) is part of the path that the law describes. One
that goes its own way is a scale that nobody declared: its slope is as unknown as a scale's is beforehand, and what it
will be at another size is known only by its scatter about the scales.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

from lrtune.law.atoms import Array
from lrtune.law.observations import Cell
from lrtune.records.record import TrialRecord
from lrtune.rule.data import ADVICE

_APART = 0.4  # e-folds of scatter (a factor of 1.5) up to which a companion goes along with the scales
_SLOPE = 1.0  # octaves per e-fold: the prior of a declared scale's slope


def apart(cells: Sequence[Cell], z: Array) -> dict[str, float]:
    """Companions that go their own way, and the scatter in e-folds of each about a straight line in the scales.

    Args:
        cells: with their runs; a companion has one positive value in each cell and several over all.
        z: centred log scales, shape (cells, scales).
    """
    h = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    free = len(cells) - h.shape[1]
    if free < 1:
        return {}
    found = {}
    for name in sorted(set.intersection(*({*_values(cell.records[0], cell)} for cell in cells))):
        values = [{_values(record, cell).get(name) for record in cell.records} for cell in cells]
        if any(len(value) > 1 for value in values):
            continue
        y = np.log([float(value.pop() or 1.0) for value in values])
        residual = y - h @ np.linalg.lstsq(h, y, rcond=None)[0]
        scatter = float(np.sqrt((residual**2).sum() / free))
        if scatter > _APART:
            found[name] = scatter
    return found


def variance(scatters: Mapping[str, float], free: int) -> float:
    """What companions add to the variance of an optimum, in octaves².

    So few cells tell little of the scatter itself: a normal as wide as Student's t of `free` degrees at 90%.
    """
    wider = float(stdtrit(free, 0.95) / ndtri(0.95)) if scatters else 1.0
    return sum((_SLOPE * wider * scatter) ** 2 for scatter in scatters.values())


def _values(record: TrialRecord, cell: Cell) -> dict[str, float]:
    """Positive numbers that describe the run and are no scale of the law nor part of its advice."""
    every = {**record.facts.conditions, **record.scales}
    return {
        name: float(value)
        for name, value in every.items()
        if name not in cell.scales and name not in ADVICE and _is_positive(value)
    }


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e30
