"""Covariates: quantities with one value per cell that are not scales (depth, if every width was run at one depth).

A covariate that follows the scales (wider models are deeper) is part of the law's path. One that varies independently
is an undeclared scale: its slope has the prior of a declared scale, and its value at another size is known only up to
its scatter about the scales.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

from lrtune.law.atoms import Array
from lrtune.law.observations import Cell
from lrtune.records.record import TrialRecord
from lrtune.rule.data import ADVICE

_APART = 0.4  # e-folds of scatter (a factor of 1.5) up to which a covariate follows the scales
_SLOPE = 1.0  # octaves per e-fold: the prior of a declared scale's slope


def independent(cells: Sequence[Cell], z: Array) -> dict[str, float]:
    """Covariates that vary independently of the scales, with their scatter in e-folds about a line in the scales.

    Args:
        cells: with their runs; a covariate has one positive value in each cell and several over all cells.
        z: centred log scales, shape (cells, scales).
    """
    h = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    free = len(cells) - h.shape[1]
    if free < 1:
        return {}
    scatters = {}
    for name in sorted(set.intersection(*({*_values(cell.records[0], cell)} for cell in cells))):
        values = [{_values(record, cell).get(name) for record in cell.records} for cell in cells]
        if any(len(value) > 1 for value in values):
            continue
        y = np.log([float(value.pop() or 1.0) for value in values])
        residual = y - h @ np.linalg.lstsq(h, y, rcond=None)[0]
        scatter = float(np.sqrt((residual**2).sum() / free))
        if scatter > _APART:
            scatters[name] = scatter
    return scatters


def variance(scatters: Mapping[str, float], free: int) -> float:
    """The variance that covariates add to an optimum, in octaves².

    Few cells determine the scatter poorly: the normal is as wide as Student's t with `free` degrees of freedom at 90%.
    """
    wider = float(stdtrit(free, 0.95) / ndtri(0.95)) if scatters else 1.0
    return sum((_SLOPE * wider * scatter) ** 2 for scatter in scatters.values())


def _values(record: TrialRecord, cell: Cell) -> dict[str, float]:
    """Positive numbers that describe the run, except the law's scales and advice."""
    every = {**record.facts.conditions, **record.scales}
    return {
        name: float(value)
        for name, value in every.items()
        if name not in cell.scales and name not in ADVICE and _is_positive(value)
    }


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e30
