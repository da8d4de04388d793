"""Several knobs: the same runs seen along each of them.

    y = c(cell) + Σ_k g_k(d_k) + Σ_{j<k} κ_jk s(d_j) s(d_k) + Σ_k δ_k [value_k = 0]

=====  ===================================================================================================
y      relative loss; c its least, of one combination of scales
d_k    octaves between the run's coordinate of knob k and the knob's optimum; the learning rate is a knob
g_k    rise of the loss along knob k: what the law of one knob describes
κ      coupling of two knobs, in relative loss per octave²; s(d) = R tanh(d / R), since losses saturate far off
δ_k    the rise of runs in which knob k is zero: they have no place on its axis
=====  ===================================================================================================

Given the expected g and d of all other knobs, what is left is a sweep along one knob.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from lrtune.law.atoms import Array
from lrtune.law.observations import Measure, Projected
from lrtune.law.priors import COUPLING
from lrtune.records.record import TrialRecord
from lrtune.rule.knob import FIRST, Coordinate

_REACH = 3.0  # octaves from which a coupling saturates
_SHARE = 0.2  # of a rise: its error where no other is known
_ROUNDS = 3


class Along(NamedTuple):
    """A run along one knob: expected rise of its relative loss, octaves from the optimum, the rise's variance."""

    rise: float
    distance: float
    variance: float = 0.0


AlongOf = Callable[[TrialRecord, str], Along]


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Runs taken apart.

    Attributes:
        records: by knob, the runs along it: finished ones, and those that ended early because of it.
        couplings: κ by pair of knobs, where the data ask for one.
        zeros: by knob, mean relative loss of runs at zero above the best of its axis, and its standard error.
    """

    records: dict[str, list[Projected]]
    couplings: dict[tuple[str, str], float]
    zeros: dict[str, tuple[float, float]]


def coordinate(record: TrialRecord, name: str, coordinates: Mapping[str, Coordinate]) -> float:
    """The run's coordinate along a knob; 0 if the knob is zero, NaN if the run has no such knob."""
    if name == FIRST:
        return record.learning_rate
    values = {FIRST: record.learning_rate, **record.knobs}
    needed = (name, coordinates[name].relative or name)
    if not all(each in values for each in needed) or (values[needed[1]] == 0 and needed[1] != name):
        return math.nan
    return coordinates[name].at(values[name], values)


def apart(
    records: Sequence[TrialRecord],
    coordinates: Mapping[str, Coordinate],
    along: AlongOf,
    measure: Measure,
    scales: Sequence[str],
) -> Apart:
    """Take runs apart by knob.

    Args:
        records: runs with every knob, of any number of cells; failed ones left out.
        coordinates: of the knobs beside the learning rate.
        along: how a run stands along a knob; not asked where the knob is zero.
        measure: of relative loss.
        scales: a cell is a combination of these.
    """
    names = (FIRST, *coordinates)
    places = [{name: coordinate(record, name, coordinates) for name in names} for record in records]
    stands = [
        {name: along(record, name) for name in names if place[name] > 0}
        for record, place in zip(records, places, strict=True)
    ]
    joint = _joint(stands, records, names, measure, scales)
    found: dict[str, list[Projected]] = {name: [] for name in names}
    for record, place, stand in zip(records, places, stands, strict=True):
        for name in names if record.status == "finished" else (_cause(record, stand),):
            if name in stand:
                taken, variance = joint.beside(name, stand)
                found[name].append(_projected(record, place[name], taken, variance, measure))
    return Apart(records=found, couplings=joint.couplings, zeros=joint.zeros)


def _cause(record: TrialRecord, stand: Mapping[str, Along]) -> str:
    """The knob that ended a run early: for a beaten one that of the largest rise, else the one furthest too high."""
    return max(stand, key=lambda name: stand[name].rise if record.status == "beaten" else stand[name].distance)


def _projected(record: TrialRecord, at: float, taken: float, variance: float, measure: Measure) -> Projected:
    losses = record.curve.get("loss")
    curve = {} if losses is None else {"loss": [None if v is None else _lowered(v, taken, measure) for v in losses]}
    return Projected(
        **{
            **vars(record),
            "learning_rate": at,
            "loss": None if record.loss is None else _lowered(record.loss, taken, measure),
            "curve": {**record.curve, **curve},
        },
        origin=record,
        variance=variance,
    )


def _lowered(loss: float, by: float, measure: Measure) -> float:
    return loss * math.exp(max(-by, -600.0)) if measure.unit is None else loss - by * measure.unit


@dataclass(frozen=True, kw_only=True)
class _Joint:
    """What depends on several knobs: kept couplings, the variance of each pair's, and the rise at zero."""

    couplings: dict[tuple[str, str], float]
    variances: dict[tuple[str, str], float]
    zeros: dict[str, tuple[float, float]]
    names: tuple[str, ...]

    def beside(self, name: str, stand: Mapping[str, Along]) -> tuple[float, float]:
        """The rise of a run that is not along this knob, and its variance."""
        others = [stand[other] for other in stand if other != name]
        rise, variance = sum(one.rise for one in others), sum(one.variance for one in others)
        for other in self.names:
            if other not in stand:
                rise, variance = rise + self.zeros[other][0], variance + self.zeros[other][1] ** 2
        for pair, spread in self.variances.items():
            if pair[0] in stand and pair[1] in stand:
                product = _product(stand, pair)
                rise, variance = rise + self.couplings.get(pair, 0.0) * product, variance + spread * product**2
        return rise, variance


def _product(stand: Mapping[str, Along], pair: tuple[str, str]) -> float:
    return math.prod(_REACH * math.tanh(stand[name].distance / _REACH) for name in pair)


def _joint(
    stands: Sequence[Mapping[str, Along]],
    records: Sequence[TrialRecord],
    names: tuple[str, ...],
    measure: Measure,
    scales: Sequence[str],
) -> _Joint:
    """Couplings and rises at zero, by ridge regression of what the knobs leave; a coupling is kept beyond doubt."""
    used = [i for i, record in enumerate(records) if record.status == "finished" and record.loss is not None]
    pairs = list(combinations(names, 2))
    zero = [name for name in names if any(name not in stands[i] for i in used)]
    y = measure.relative(np.array([records[i].loss for i in used], dtype=float))
    rise = np.array([sum(one.rise for one in stands[i].values()) for i in used])
    doubt = np.array([sum(one.variance for one in stands[i].values()) for i in used]) + np.square(_SHARE * rise)
    cells = _indicators([tuple(records[i].scale(name) for name in scales) for i in used])
    extra = [[_product(stands[i], p) if p[0] in stands[i] and p[1] in stands[i] else 0.0 for p in pairs] for i in used]
    at_zero = [[float(name not in stands[i]) for name in zero] for i in used]
    h = np.concatenate([cells, np.reshape(at_zero, (len(used), -1)), np.reshape(extra, (len(used), -1))], axis=1)
    heights = {name: _height(name, [stands[i] for i in used]) for name in names}
    prior = np.array([COUPLING * math.sqrt(heights[a] * heights[b]) for a, b in pairs])
    ridge = np.concatenate([np.zeros(h.shape[1] - len(pairs)), 1 / np.square(prior)])
    kept = np.ones(h.shape[1], dtype=bool)
    mean, covariance = _regression(h, y - rise, doubt, ridge)
    start = h.shape[1] - len(pairs)
    strength = np.square(mean[start:]) / np.diag(covariance)[start:]
    kept[start:] = strength > max(4.0, math.log(max(len(used), 1)))
    variances = dict(zip(pairs, np.diag(covariance)[start:].tolist(), strict=True))
    if not kept.all():
        some, part = _regression(h[:, kept], y - rise, doubt, ridge[kept])
        mean = np.zeros(len(kept))
        mean[kept] = some
        covariance = np.zeros((len(kept), len(kept)))
        covariance[np.ix_(kept, kept)] = part
    width = cells.shape[1]
    limit = 1.8 * prior / COUPLING  # beyond 2 the surface has no lowest point
    return _Joint(
        couplings={
            pair: float(np.clip(mean[start + i], -limit[i], limit[i]))
            for i, pair in enumerate(pairs)
            if kept[start + i]
        },
        variances=variances,
        zeros={
            name: (float(mean[width + i]), math.sqrt(float(covariance[width + i, width + i])))
            for i, name in enumerate(zero)
        },
        names=names,
    )


def _indicators(keys: Sequence[object]) -> Array:
    """One column a cell."""
    known = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.eye(len(known))[[known[key] for key in keys]].reshape(len(keys), len(known))


def _height(name: str, stands: Sequence[Mapping[str, Along]]) -> float:
    """The rise an octave away from the best along a knob, by least squares over the runs."""
    known = [stand[name] for stand in stands if name in stand]
    square = sum(min(abs(one.distance), _REACH) ** 2 * one.rise for one in known)
    return max(square / max(sum(min(abs(one.distance), _REACH) ** 4 for one in known), 1e-12), 1e-6)


def _regression(h: Array, y: Array, doubt: Array, ridge: Array) -> tuple[Array, Array]:
    """Coefficients and covariance; the noise is estimated from what is left, runs of doubtful rise count less."""
    noise = float(np.var(y)) + 1e-12
    for _ in range(_ROUNDS):
        weight = 1 / (noise + doubt)
        inverse = np.linalg.inv((h * weight[:, None]).T @ h + np.diag(ridge + 1e-9))
        mean = inverse @ (h.T @ (weight * y))
        left = np.square(y - h @ mean)
        free = max(len(y) - h.shape[1], 1.0)
        noise = max(float(np.median(left)) / 0.455 * len(y) / free, 1e-12)
    return np.asarray(mean), np.asarray(inverse)
