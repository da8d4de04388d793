"""Couplings of knobs, and the rise of runs at zero: a ridge regression of what the knobs' own rises leave.

    left = c(cell) + Σ_k δ_k [value_k = 0] + Σ_k τ_k(cell) s(d_k) + Σ_{j<k} κ_jk s(d_j) s(d_k),     s(d) = R tanh(d / R)

τ stands for an error of the optimum, which looks like a coupling where a knob was varied at one value of another. What
is not known of a coupling is also not known of the optima: `Couplings.errors`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from lrtune.law.atoms import Array
from lrtune.law.observations import Measure
from lrtune.law.priors import COUPLING
from lrtune.records.record import TrialRecord

_REACH = 3.0  # R, octaves from which a coupling saturates
_SHARE = 0.2  # of a rise: its error where no other is known
_OFF = 0.5  # octaves: sd of an optimum's error
_ROUNDS = 3

Key = tuple[float | None, ...]


class Along(NamedTuple):
    """A run along one knob: expected rise of its relative loss, octaves from the optimum, the rise's variance."""

    rise: float
    distance: float
    variance: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Couplings:
    """What depends on several knobs.

    Attributes:
        kept: κ of each pair for which the data ask.
        variances: of each pair's κ.
        zeros: by knob, mean relative loss of runs at zero above the best of its axis, and its standard error.
        errors: by knob and cell, sd of the optimum in octaves for what is not known of the couplings.
        names: of the knobs.
    """

    kept: dict[tuple[str, str], float]
    variances: dict[tuple[str, str], float]
    zeros: dict[str, tuple[float, float]]
    errors: dict[str, dict[Key, float]]
    names: tuple[str, ...]

    def beside(self, name: str, stand: Mapping[str, Along]) -> tuple[float, float]:
        """The rise of a run that is not along this knob, and its variance."""
        others = [stand[other] for other in stand if other != name]
        rise, variance = sum(one.rise for one in others), sum(one.variance for one in others)
        for other in self.names:
            above, error = self.zeros.get(other, (0.0, 0.0)) if other not in stand else (0.0, 0.0)
            rise, variance = rise + above, variance + error**2
        for pair, spread in self.variances.items():
            product = math.prod(bent(stand, one) for one in pair)
            rise, variance = rise + self.kept.get(pair, 0.0) * product, variance + spread * product**2
        return rise, variance


def bent(stand: Mapping[str, Along], name: str) -> float:
    """s(d) along a knob; 0 where the knob is zero."""
    return _REACH * math.tanh(stand[name].distance / _REACH) if name in stand else 0.0


def couplings(
    stands: Sequence[Mapping[str, Along]],
    records: Sequence[TrialRecord],
    names: tuple[str, ...],
    measure: Measure,
    scales: Sequence[str],
) -> Couplings:
    """Estimate them from the finished runs; a coupling is kept beyond two standard errors and by its evidence (BIC)."""
    used = [i for i, record in enumerate(records) if record.status == "finished" and record.loss is not None]
    stands = [stands[i] for i in used]
    keys = [tuple(records[i].scale(name) for name in scales) for i in used]
    pairs = list(combinations(names, 2))
    zero = [name for name in names if any(name not in stand for stand in stands)]
    y = measure.relative(np.array([records[i].loss for i in used], dtype=float))
    rise = np.array([sum(one.rise for one in stand.values()) for stand in stands])
    doubt = np.array([sum(one.variance for one in stand.values()) for stand in stands]) + np.square(_SHARE * rise)
    cells = np.array([[key == each for each in dict.fromkeys(keys)] for key in keys], dtype=float).reshape(
        len(used), -1
    )
    s = {name: np.array([bent(stand, name) for stand in stands]) for name in names}
    heights = {name: _height([stand[name] for stand in stands if name in stand]) for name in names}
    at_zero = np.array([[name not in stand for name in zero] for stand in stands], dtype=float).reshape(len(used), -1)
    off = [cells * s[name][:, None] for name in names]
    product = np.array([s[a] * s[b] for a, b in pairs]).T.reshape(len(used), -1)
    h = np.concatenate([cells, at_zero, *off, product], axis=1)
    usual = np.array([COUPLING * math.sqrt(heights[a] * heights[b]) for a, b in pairs])
    free = cells.shape[1] + at_zero.shape[1]
    sd = np.concatenate([*(np.full(cells.shape[1], 2 * _OFF * heights[name]) for name in names), usual])
    ridge = np.concatenate([np.zeros(free), 1 / np.square(sd)])
    mean, covariance, weight = _regression(h, y - rise, doubt, ridge)
    start = h.shape[1] - len(pairs)
    spread = np.diag(covariance)[start:]
    asked = np.square(mean[start:]) > spread * max(4.0, math.log(max(len(used), 1)))
    kept = np.concatenate([np.ones(start, dtype=bool), asked])
    if not asked.all():
        mean[~kept] = 0.0
        mean[kept], part, _ = _regression(h[:, kept], y - rise, doubt, ridge[kept])
        covariance[np.ix_(kept, kept)] = part
    most = 1.8 * usual / COUPLING  # beyond 2 the surface has no lowest point
    values = np.clip(mean[start:], -most, most)
    places = range(cells.shape[1], free)
    return Couplings(
        kept={pair: float(values[i]) for i, pair in enumerate(pairs) if asked[i]},
        variances=dict(zip(pairs, spread.tolist(), strict=True)),
        zeros={n: (float(mean[i]), math.sqrt(float(covariance[i, i]))) for n, i in zip(zero, places, strict=True)},
        errors={
            name: {
                key: _error(name, s, pairs, spread, weight * column) / (2 * heights[name])
                for key, column in zip(dict.fromkeys(keys), cells.T, strict=True)
            }
            for name in names
        },
        names=names,
    )


def _height(known: Sequence[Along]) -> float:
    """The rise an octave away from the best along a knob, by least squares over the runs."""
    square = sum(min(abs(one.distance), _REACH) ** 2 * one.rise for one in known)
    return max(square / max(sum(min(abs(one.distance), _REACH) ** 4 for one in known), 1e-12), 1e-6)


def _error(name: str, s: Mapping[str, Array], pairs: Sequence[tuple[str, str]], spread: Array, weight: Array) -> float:
    """The sd of the loss's slope along a knob in one cell, by the unknown part of its couplings."""
    along = s[name] - float(weight @ s[name]) / float(weight.sum())
    size = float(weight @ np.square(along)) + 1e-12
    variance = 0.0
    for (a, b), one in zip(pairs, spread, strict=True):
        if name in (a, b):
            variance += float(one) * (float(weight @ (along * s[a] * s[b])) / size) ** 2
    return math.sqrt(variance)


def _regression(h: Array, y: Array, doubt: Array, ridge: Array) -> tuple[Array, Array, Array]:
    """Coefficients, covariance, weights; the noise is estimated from what is left, runs of doubtful rise count less."""
    noise = float(np.var(y)) + 1e-12
    for _ in range(_ROUNDS):
        weight = 1 / (noise + doubt)
        weighted = h * weight[:, None]
        inverse = np.linalg.inv(weighted.T @ h + np.diag(ridge + 1e-9))
        mean = inverse @ (weighted.T @ y)
        free = max(len(y) - float(np.trace(inverse @ (weighted.T @ h))), 1.0)
        noise = max(float(np.median(np.square(y - h @ mean))) / 0.455 * len(y) / free, 1e-12)
    return np.asarray(mean), np.asarray(inverse), np.asarray(weight)
