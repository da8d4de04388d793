"""Effective rates: what a learning rate moves the weights by, relative to their size, at each size of the model.

Within a cell the log of the relative update is a straight line in the log rate, with one slope for all cells:

    log2 update = a_c + b · log2 LR    ⇒    an optimum at update u lies at   log2 LR = (log2 u − a_c) / b

so a law that is simple in u is, in learning rates, that law plus the known offset −a_c / b (arXiv 2606.29158).
"""

import math
from collections.abc import Sequence

import numpy as np

from lrtune.law.cells import Cell
from lrtune.law.curve import Array
from lrtune.records.record import TrialRecord

COLUMN = "update_ratio"
_FEWEST = 2


def update_offsets(cells: Sequence[Cell]) -> Array | None:
    """−a_c / b of each cell, less their mean, in octaves; None where a cell has too few runs that report updates."""
    x, y, cell_of = [], [], []
    for i, cell in enumerate(cells):
        found = [(math.log2(r.learning_rate), u) for r in cell.records if (u := relative_update(r)) is not None]
        if len({rate for rate, _ in found}) < _FEWEST:
            return None
        x += [rate for rate, _ in found]
        y += [math.log2(update) for _, update in found]
        cell_of += [i] * len(found)
    index, log_rate, log_update = np.array(cell_of), np.array(x), np.array(y)
    counts = np.bincount(index)
    mean_x, mean_y = np.bincount(index, log_rate) / counts, np.bincount(index, log_update) / counts
    dx, dy = log_rate - mean_x[index], log_update - mean_y[index]
    slope = float((dx * dy).sum() / (dx**2).sum())
    if not 0.2 < slope < 3.0:
        return None  # updates that do not follow the rate carry no law
    offsets = -(mean_y - slope * mean_x) / slope
    return np.asarray(offsets - offsets.mean())


def relative_update(record: TrialRecord) -> float | None:
    """The median relative update over the second half of a finished run; None where it reports none."""
    if record.status != "finished":
        return None
    column = [value for value in record.curve.get(COLUMN, ()) if value is not None and 0 < value < math.inf]
    return float(np.median(column[len(column) // 2 :])) if column else None
