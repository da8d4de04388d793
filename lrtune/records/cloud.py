"""Recorded runs of one width with several knobs, as a surface: near runs weigh most."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrtune.errors import InputError
from lrtune.records.record import TrialRecord

Array = NDArray[np.float64]

_BANDWIDTH = 0.35  # octaves: sd of the weights; wider ones fill the valley
_BELOW = 3.0  # octaves below the smallest value at which zero lies


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Runs of N places in the space of the rate and the knobs.

    Attributes:
        names: of the knobs.
        places: log2 of the rate and of each knob, (N, 1 + knobs).
        log_losses: of the runs, (N,); NaN where a run diverged.
        zeros: log2 value by knob that stands for zero.
        noise: sd of log loss between runs of one place; 0 if none is repeated.
        records: the runs, N.
    """

    names: tuple[str, ...]
    places: Array
    log_losses: Array
    zeros: Mapping[str, float]
    noise: float
    records: Sequence[TrialRecord]

    def log_loss(self, rate: float, knobs: Mapping[str, float]) -> float:
        """The mean of near runs; NaN if the nearest one diverged."""
        squares = self._squares(rate, knobs)
        if math.isnan(self.log_losses[int(np.argmin(squares))]):
            return math.nan
        alive = np.isfinite(self.log_losses)
        weight = np.exp(-0.5 * (squares[alive] - squares[alive].min()) / _BANDWIDTH**2)
        return float(weight @ self.log_losses[alive] / weight.sum())

    def nearest(self, rate: float, knobs: Mapping[str, float]) -> TrialRecord:
        """The nearest run in octaves of the rate and the knobs."""
        return self.records[int(np.argmin(self._squares(rate, knobs)))]

    def _squares(self, rate: float, knobs: Mapping[str, float]) -> Array:
        at = np.array(_place(rate, knobs, self.names, self.zeros))
        return np.asarray(np.square(self.places - at).sum(axis=1))


def cloud(records: Sequence[TrialRecord]) -> Cloud:
    """The surface of these runs, finished or diverged, of one width.

    Raises:
        InputError: they have different knobs, or none finished.
    """
    names = tuple(sorted(records[0].knobs))
    if any(tuple(sorted(record.knobs)) != names for record in records):
        raise InputError("records: expected the same knobs in all runs")
    losses = np.array([_log(record) for record in records])
    if not np.isfinite(losses).any():
        raise InputError("records: expected a finished run, but none has finished")
    least = {name: min((r.knobs[name] for r in records if r.knobs[name]), default=1.0) for name in names}
    zeros = {name: math.log2(value) - _BELOW for name, value in least.items()}
    places = np.array([_place(record.learning_rate, record.knobs, names, zeros) for record in records])
    same: dict[bytes, list[float]] = defaultdict(list)
    for place, loss in zip(places, losses, strict=True):
        if math.isfinite(loss):
            same[place.tobytes()].append(float(loss))
    repeats = [np.array(values) for values in same.values() if len(values) > 1]
    free = sum(len(values) - 1 for values in repeats)
    noise = math.sqrt(sum(float(np.square(v - v.mean()).sum()) for v in repeats) / free) if free else 0.0
    return Cloud(names=names, places=places, log_losses=losses, zeros=zeros, noise=noise, records=tuple(records))


def _log(record: TrialRecord) -> float:
    is_usable = record.status == "finished" and record.loss is not None and record.loss > 0
    return math.log(record.loss) if is_usable and record.loss is not None else math.nan


def _place(
    rate: float, knobs: Mapping[str, float], names: Sequence[str], zeros: Mapping[str, float]
) -> tuple[float, ...]:
    return math.log2(rate), *(math.log2(knobs[name]) if knobs[name] else zeros[name] for name in names)
