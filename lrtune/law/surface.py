"""A joint Bayesian model of loss over width and learning rate: every width's trials inform every other width.

Notation (beside that of `lrtune.law.shapes` and `lrtune.law.evidence`)
--------
l       log2 of a width w.

Model
-----
    s_w ~ P(s_w | s)                    a width's shape is close to the shape that all share
    o   ~ GP(m(l), k(l, l'))            m falls by 0.7 octave per octave of width;  k = offset + slope + a smooth
                                        deviation + one of the width's own; several such laws are weighed (h)
    σ   ~ P(σ_j)                        shared by all widths

Inference is exact up to grids, and needs neither starting points nor chains: for each width a table
``L_w[j, s, o]`` over J sizes of noise × S shapes × K positions (`lrtune.law.evidence`); then draws, width after width,
from (table × what the Gaussian process says given the widths already drawn), reweighted by each table's evidence: a
particle filter with the optimal proposal (Doucet et al. 2000, eq. 9), here over widths instead of time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrtune.law.evidence import COARSE, SIGMA, SIGMA_PRIOR, Positions, Table
from lrtune.law.shapes import COUNT, Array, Indices, kinship, misfit, shapes

_LAWS = ((0.12, 0.08), (0.35, 0.12), (0.8, 0.3))  # (sd of the smooth deviation, sd of a width's own), octaves
_SLOPE, _SLOPE_SD, _LENGTH = -0.7, 0.65, 2.0


@dataclass(frozen=True)
class Draws:
    """N joint draws from the posterior over all widths, in the order that the widths were given.

    Attributes:
        o: (N, W) positions of the optimum.
        s: (N, W) shape of each width.
        c: (N, W) floors.
        sigma: (N,) noise of one trial.
    """

    o: Array
    s: Indices
    c: Array
    sigma: Array

    def height(self, width: int, x: Array) -> Array:
        """Height above the floor at rates x (G,) of a width, by draw: (N, G)."""
        return shapes().height(x[None, :] - self.o[:, width, None], self.s[:, width, None])

    def noise(self, height: Array) -> Array:
        """Standard deviation of one trial's y around the draw's curve, where that is so high: (N, G)."""
        return np.asarray(np.sqrt(np.square(self.sigma[:, None]) + np.square(misfit(height))))


def draw(
    tables: Mapping[int, Table],
    log_widths: Sequence[float],
    positions: Positions,
    centre: float,
    spread: float,
    lowest: float,
    count: int,
    rng: np.random.Generator,
) -> Draws:
    """Joint draws of (o, s, c) over all widths.

    Args:
        tables: by index of width, of those that have trials.
        log_widths: l of every width.
        centre, spread: prior mean and sd of x at the best rate, in the middle of the widths.
        lowest: lowest y of all trials.
        count: number of draws N.
    """
    order = sorted(tables, key=lambda w: log_widths[w]) + [w for w in range(len(log_widths)) if w not in tables]
    laws = [_conditionals(np.array([log_widths[w] for w in order]), centre, spread, law) for law in _LAWS]
    law = rng.permutation(np.arange(count) % len(_LAWS))
    shape = rng.permutation(np.arange(count) % COUNT)
    noise = _spread(SIGMA_PRIOR, count, rng)
    o = np.zeros((count, len(order)))
    grid = positions.x
    for step, width in enumerate(order):
        means = np.stack([m + (o[:, :step] - previous[:step]) @ w for m, w, _, previous in (c[step] for c in laws)])
        mean = means[law, np.arange(count)]
        sd = np.array([c[step][2] for c in laws])[law]
        if width not in tables:
            o[:, step] = mean + sd * rng.standard_normal(count)
            continue
        if step == 0:  # all shapes and sizes of noise are weighed exactly, not only the drawn ones
            prior = np.exp(-0.5 * np.square((grid - mean[0]) / sd[0]))
            share = (tables[width].evidence @ prior) * SIGMA_PRIOR[:, None]
            noise, shape = np.divmod(_spread(share.ravel(), count, rng), COUNT)
        density = tables[width].evidence[noise, shape] * np.exp(-0.5 * np.square((grid - mean[:, None]) / sd[:, None]))
        density /= sd[:, None]
        total = density.sum(axis=1) + 1e-300
        keep = np.arange(count) if step == 0 else _resample(total, rng)
        noise, shape, law, o = noise[keep], shape[keep], law[keep], o[keep]
        o[:, step] = grid[_pick(density[keep] + 1e-300, rng)]
        o[:, step] += (rng.random(count) - 0.5) / COARSE
    back = np.argsort(order)
    return _complete(tables, positions, o[:, back], noise, shape, lowest, rng)


def _conditionals(
    log_w: Array, centre: float, spread: float, law: tuple[float, float]
) -> list[tuple[float, Array, float, Array]]:
    """For each width in turn: mean, weights on the widths before, sd given them, and all prior means."""
    smooth, own = law
    middle = 0.5 * (log_w.min() + log_w.max())
    d = log_w - middle
    mean = centre + _SLOPE * d
    k = spread**2 + _SLOPE_SD**2 * np.outer(d, d)
    k = k + smooth**2 * np.exp(-0.5 * np.square((d[:, None] - d[None, :]) / _LENGTH)) + own**2 * np.eye(len(log_w))
    steps = []
    for i in range(len(log_w)):
        weights = np.linalg.solve(k[:i, :i], k[:i, i]) if i else np.zeros(0)
        steps.append((float(mean[i]), weights, float(np.sqrt(max(k[i, i] - k[:i, i] @ weights, 1e-6))), mean))
    return steps


def _pick(weights: Array, rng: np.random.Generator) -> Indices:
    """One index a row, with probability proportional to the row's weights (N, M)."""
    total = np.cumsum(weights, axis=1)
    target = rng.random((len(weights), 1)) * total[:, -1:]
    return np.asarray(np.minimum((total < target).sum(axis=1), weights.shape[1] - 1))


def _spread(weights: Array, count: int, rng: np.random.Generator) -> Indices:
    """N indices in random order, each as often as its weight's share, to within one."""
    total = np.cumsum(weights / weights.sum())
    total[-1] = 1.0
    return np.searchsorted(total, rng.permutation((np.arange(count) + rng.random()) / count))


def _resample(weights: Array, rng: np.random.Generator) -> Indices:
    """Systematic resampling: N indices, each weight's share within one of its expectation."""
    total = np.cumsum(weights / weights.sum())
    total[-1] = 1.0
    return np.searchsorted(total, (np.arange(len(weights)) + rng.random()) / len(weights))


def _complete(
    tables: Mapping[int, Table],
    positions: Positions,
    o: Array,
    noise: Indices,
    shape: Indices,
    lowest: float,
    rng: np.random.Generator,
) -> Draws:
    """Each width's own shape and floor, given the optima and the shared shape."""
    count, widths = o.shape
    s = np.empty((count, widths), dtype=np.intp)
    c = np.empty((count, widths))
    kin = kinship()[shape]
    column = np.clip(np.rint(o * COARSE).astype(int) - positions.first, 0, positions.count - 1)
    for width in range(widths):
        if width in tables:
            table = tables[width]
            log_l = table.log_likelihood[noise, :, column[:, width]]
            s[:, width] = _pick(kin * np.exp(log_l - log_l.max(axis=1, keepdims=True)) + 1e-300, rng)
            at = noise, s[:, width], column[:, width]
            c[:, width] = table.floor[at] + rng.standard_normal(count) / np.sqrt(table.precision[at])
        else:
            s[:, width] = _pick(kin, rng)
            c[:, width] = lowest + 0.1 * rng.standard_normal(count)
    return Draws(o, s, c, SIGMA[noise])
