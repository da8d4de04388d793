"""Trial records → cells: the runs of each combination of scales, with what the early ends are known for."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lrtune.errors import InputError, RunFailedError
from lrtune.law.curve import Array, CellData, as_array
from lrtune.law.forecast import forecast
from lrtune.records.record import TrialRecord

_FAR = 0.1  # a run that failed is at least this share of the loss above the best, if nothing better is known
_SURE = 0.5  # share of the rise that a beaten run was heading for which it very likely has
_ROUNDS = 20
_MEETINGS = 3  # runs of a seed below which its offset is not told from noise


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of scales with its runs; `data` is what the fit uses of them."""

    scales: dict[str, float]
    records: tuple[TrialRecord, ...]
    data: CellData


@dataclass(frozen=True, kw_only=True)
class Cells:
    """All cells, and how many records were left out of them, by reason."""

    cells: tuple[Cell, ...]
    left_out: dict[str, int]


def gather(records: Iterable[TrialRecord], scales: Sequence[str], tolerance: float) -> Cells:
    """Group records by their scales.

    Raises:
        InputError: the scales are not in the records.
        RunFailedError: nothing is left that a law could be fitted to.
    """
    groups: dict[tuple[float, ...], list[TrialRecord]] = {}
    left_out: Counter[str] = Counter()
    count = 0
    for record in records:
        count += 1
        key = tuple(record.scale(name) for name in scales)
        if any(value is None for value in key):
            left_out[f"no {', '.join(n for n, v in zip(scales, key, strict=True) if v is None)}"] += 1
        elif record.status == "failed":
            left_out["failed for reasons of their own"] += 1
        elif record.status == "finished" and (record.loss is None or not math.isfinite(record.loss)):
            left_out["no final loss"] += 1
        else:
            groups.setdefault(tuple(float(value) for value in key if value is not None), []).append(record)
    if not count:
        raise InputError("records: expected at least one training run, but there is none")
    missing = [name for name in scales if all(f"no {name}" in reason for reason in left_out)]
    if not groups and missing and left_out:
        raise InputError(f"scales: expected {missing[0]!r} in the records, but no record has it")
    cells = tuple(_cell(dict(zip(scales, key, strict=True)), group, tolerance) for key, group in sorted(groups.items()))
    _check(cells, left_out)
    return Cells(cells=cells, left_out=dict(left_out))


def _check(cells: Sequence[Cell], left_out: Counter[str]) -> None:
    finished = [loss for cell in cells for loss in cell.data.loss]
    if not finished:
        ended = Counter(record.status for cell in cells for record in cell.records) + left_out
        how = ", ".join(f"{number} {what}" for what, number in ended.items()) or "none"
        advice = "search lower rates or longer runs" if cells else "`why` in records.jsonl says what to mend"
        raise RunFailedError(f"no run finished ({how}): nothing to fit a learning rate to; {advice}")
    if all(len(np.unique(np.concatenate([cell.data.x, cell.data.censored_x]))) < 2 for cell in cells):
        raise RunFailedError("one learning rate at every size: expected at least two to compare, better five")
    if len(finished) > 1 and max(finished) == min(finished) and not any(len(c.data.censored_x) for c in cells):
        raise RunFailedError(
            f"all {len(finished)} losses are {finished[0]:g}: nothing tells one learning rate from another"
        )


def _cell(scales: dict[str, float], records: list[TrialRecord], tolerance: float) -> Cell:
    finished = [record for record in records if record.status == "finished"]
    early = [record for record in records if record.status != "finished"]
    x = as_array([math.log2(record.learning_rate) for record in finished])
    loss = as_array([record.loss for record in finished])
    if len(loss):
        loss = _without_seed_offsets(x, loss, [record.seed for record in finished])
    best = float(loss.min()) if len(loss) else 0.0
    return Cell(
        scales=scales,
        records=tuple(records),
        data=CellData(
            x=x,
            loss=loss,
            censored_x=as_array([math.log2(record.learning_rate) for record in early]),
            censored_above=as_array([_known_above(record, finished, best, tolerance) for record in early]),
            failed=np.array([record.status in ("collapsed", "diverged") for record in early], dtype=bool),
        ),
    )


def _known_above(record: TrialRecord, finished: Sequence[TrialRecord], best: float, tolerance: float) -> float:
    """How far above the cell's best a run that ended early is known to be."""
    least = tolerance * abs(best)
    if record.status == "beaten":
        heading = forecast(record, finished)
        return least if heading is None else max(least, _SURE * (heading - best))
    reference = record.facts.unigram_entropy
    if record.status == "collapsed" and reference is not None and reference > best:
        return max(least, reference - best)
    return max(least, _FAR * abs(best))


def _without_seed_offsets(x: Array, loss: Array, seeds: Sequence[int]) -> Array:
    """Losses less what their seed adds to all rates alike.

    Runs of one seed share data order and initial weights, hence noise. Offsets are found where seeds meet at the
    same rate (alternating means, shrunk), and weigh little far above the best.
    """
    _, seed = np.unique(seeds, return_inverse=True)
    _, rate = np.unique(np.round(x, 6), return_inverse=True)
    if seed.max() == 0 or len(np.unique(rate)) == len(x):
        return loss
    shared = np.bincount(seed) >= _MEETINGS
    spread = np.median(loss) - loss.min() or 1.0
    weight = 1.0 / (1.0 + ((loss - loss.min()) / spread) ** 2)
    offset = np.zeros(seed.max() + 1)
    for _ in range(_ROUNDS):
        level = np.bincount(rate, weight * (loss - offset[seed])) / np.bincount(rate, weight)
        residual = loss - level[rate]
        offset = shared * np.bincount(seed, weight * residual) / (np.bincount(seed, weight) + 0.5)
        offset[shared] -= offset[shared].mean() if shared.any() else 0.0
    return as_array(loss - offset[seed])
