"""What the runs of one cell say about where its best learning rate lies: a likelihood over log learning rate.

A *cell* is one combination of scales (one width, say). Its loss is taken as

    y_i = L + k · φ_s(log2 LR_i − x) + noise,     noise variance σ² + (ρ · y_i)²,
    y_i = c · ln(1 + (loss_i − best) / c)

==========  ==============================================================================================
x           log2 of the best learning rate; on a grid that reaches four octaves past the sampled rates
L           the least loss; integrated out
k           loss an octave away from the best, averaged over both sides; on a grid, log-normal over cells
φ_s         shape s, φ_s(0) = 0: from symmetric to four times steeper on one side, smooth or with a bend at
            the optimum, its bottom round, flat or pointed, its tails growing or slackening
σ           noise of a run; on a grid, log-normal over cells
ρ, c        what no shape carries: the further above the best, the less a loss weighs
==========  ==============================================================================================

The weights of s, k and σ are learned from all cells together (empirical Bayes), so that a cell sampled on one
side only borrows the others' shape and becomes a one-sided bound instead of an optimum. Runs that ended early are
censored: their loss is above what it was compared with, no more is claimed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, logsumexp

Array = NDArray[np.float64]

GRID = 181
REACH = 3.5  # octaves past the sampled rates
RHO = 0.2
_CAP = 6.0  # c, times the pilot k: a loss of 60 says no more than that it is far off
# (low-side tail, high-side tail) per octave, power, slackening, prior weight: smooth, one side growing faster
_TAILED = (
    (0.25, 0.25, 1.0, 0.0, 0.25),
    (0.15, 0.6, 1.0, 0.0, 0.2),
    (0.3, 1.2, 1.0, 0.0, 0.1),
    (0.6, 0.15, 1.0, 0.0, 0.06),
    (0.15, 0.6, 1.5, 0.0, 0.06),
    (0.25, 0.25, 1.0, 0.7, 0.12),
    (0.3, 0.9, 1.0, 0.7, 0.12),
)
# (high side over low side, power, slackening, prior weight): a bend at the optimum itself
_SPLIT = ((2.5, 2.0, 0.0, 0.07), (2.5, 2.0, 0.5, 0.05))
_SHAPE_PRIOR = np.array([row[-1] for row in (*_TAILED, *_SPLIT)])
_K = 1.9 ** np.arange(-5, 7)  # times the pilot
_SIGMA = 10.0 ** np.arange(-2.0, 0.7, 0.5)  # times the pilot k
_SHAPE_STRENGTH = 12.0  # cells that the prior of the shapes counts for
_UNSEEN = 0.1  # of the spacing of rates: what lies between two of them no shape can tell
_DOUBT = 0.03  # share of early ends that say nothing


@dataclass(frozen=True, kw_only=True)
class CellData:
    """The runs of one cell.

    Attributes:
        x: log2 learning rate of the finished runs, shape (n,).
        loss: their losses, seed offsets taken out, shape (n,).
        censored_x, censored_above: log2 rate of the runs that ended early and how far above the best loss they
            are known to be, shape (m,).
        failed: of those, which collapsed or diverged, shape (m,).
    """

    x: Array
    loss: Array
    censored_x: Array
    censored_above: Array
    failed: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CellEvidence:
    """A cell's likelihood over its grid, and the curve that goes with each point of it.

    Attributes:
        grid: log2 learning rates, shape (GRID,).
        log_likelihood: of the optimum being there, up to a constant, shape (GRID,).
        rise: expected loss above the least at distance d octaves, for an optimum at each grid point;
            `rise[i, j]` is that at grid point j for an optimum at grid point i, shape (GRID, GRID).
        least: expected least loss for an optimum at each grid point, shape (GRID,).
        sampled: lowest and highest log2 rate that was run.
        unseen: standard deviation, in octaves, of what the spacing of the rates leaves open.
    """

    grid: Array
    log_likelihood: Array
    rise: Array
    least: Array
    sampled: tuple[float, float]
    unseen: float


@dataclass(frozen=True)
class Hyper:
    """Log weights of the nuisance grids, shared by all cells, and the unit of k and σ."""

    unit: float
    shape: Array
    k_mean: float
    k_spread: float
    sigma_mean: float
    sigma_spread: float

    def log_prior(self) -> Array:
        """Over (σ, s, k), normalised, shape (Σ, S, K)."""
        k = -0.5 * ((np.log(_K) - self.k_mean) / self.k_spread) ** 2
        sigma = -0.5 * ((np.log(_SIGMA) - self.sigma_mean) / self.sigma_spread) ** 2
        total = sigma[:, None, None] + self.shape[:, None] + k
        return np.asarray(total - logsumexp(total))


def shapes(u: Array) -> Array:
    """φ_s at distances `u` in octaves, each shape averaging 1 over ±1 octave; shape (S, *u.shape)."""
    tailed = [_tailed(u, *row[:4]) / _tailed(np.array([-1.0, 1.0]), *row[:4]).mean() for row in _TAILED]
    split = [_split(u, *row[:3]) / _split(np.array([-1.0, 1.0]), *row[:3]).mean() for row in _SPLIT]
    return np.stack([*tailed, *split])


def _tailed(u: Array, low: float, high: float, power: float, slack: float) -> Array:
    """Two exponentials that cancel to second order at 0; with slack, tails that rise ever more slowly."""
    v = np.clip(u, -14, 14)
    base = np.maximum((np.expm1(high * v) / high + np.expm1(-low * v) / low) / (low + high), 0.0) ** power
    return np.asarray(np.log1p(slack * base) / slack if slack else base)


def _split(u: Array, ratio: float, power: float, slack: float) -> Array:
    """A power of the distance, steeper on the high side."""
    base = np.abs(u) ** power * np.where(u > 0, ratio, 1.0)
    return np.asarray(np.log1p(slack * base) / slack if slack else base)


def cell_evidence(cells: Sequence[CellData]) -> list[CellEvidence]:
    """The evidence of every cell, their shapes and noise learned together."""
    with_curve = [cell for cell in cells if len(cell.x)]
    unit = _pilot(with_curve)
    hyper = Hyper(unit, np.log(_SHAPE_PRIOR / _SHAPE_PRIOR.sum()), 0.0, 1.5, np.log(0.1), 1.0)
    learners = with_curve[:: max(1, len(with_curve) // 60)]
    tables = [logsumexp(_log_likelihood(cell, _grid(cell), unit)[0], axis=3) for cell in learners]
    for _ in range(8):
        hyper = _relearn(hyper, tables)
    return [_evidence(cell, hyper) for cell in cells]


def _grid(cell: CellData) -> Array:
    every = np.concatenate([cell.x, cell.censored_x])
    return np.linspace(every.min() - REACH, every.max() + REACH, GRID)


def _pilot(cells: Sequence[CellData]) -> float:
    """A typical k: the median over cells of the rise from the best loss to its neighbours an octave off."""
    rises = []
    for cell in cells:
        best = int(np.argmin(cell.loss))
        distance = np.abs(cell.x - cell.x[best])
        near = (distance > 0) & (distance <= 3.0)
        if near.any():
            rises.append(np.median((cell.loss[near] - cell.loss[best]) / distance[near] ** 1.5))
    positive = [rise for rise in rises if rise > 0]
    return float(np.median(positive)) if positive else 1e-3


def _log_likelihood(cell: CellData, grid: Array, unit: float) -> tuple[Array, Array]:
    """Log likelihood over (σ, s, k, x) and the least loss L that goes with each, of the same shape."""
    k = as_array(_K * unit)[:, None]
    sigma = as_array(_SIGMA * unit)
    excess = _compress(cell.loss - cell.loss.min(), unit)
    misfit = RHO * excess**2 / (excess + unit)
    variance = sigma[:, None] ** 2 + misfit**2  # (Σ, n)
    weight = 1.0 / variance
    total = weight.sum(axis=1)
    phi = shapes(cell.x - grid[:, None])  # (S, G, n)
    y = excess
    mean_y = weight @ y / total  # (Σ,)
    phi_w = np.einsum("sgn,qn->qsg", phi, weight)
    phi_y = np.einsum("sgn,qn->qsg", phi, weight * y)
    phi_2 = np.einsum("sgn,qn->qsg", phi**2, weight)
    mean_phi = phi_w / total[:, None, None]
    a = phi_2 - phi_w * mean_phi
    b = phi_y - phi_w * mean_y[:, None, None]
    c = (weight * y**2).sum(axis=1) - total * mean_y**2
    constant = 0.5 * np.log(weight).sum(axis=1) - 0.5 * np.log(total) - 0.5 * c
    log_l = constant[:, None, None, None] + k * b[:, :, None] - 0.5 * k**2 * a[:, :, None]
    least = mean_y[:, None, None, None] - k * mean_phi[:, :, None]
    if len(cell.censored_x):
        log_l = log_l + _censored(cell, grid, k, sigma, least, unit)
    return log_l, least + cell.loss.min()


def _compress(excess: Array, unit: float) -> Array:
    return np.asarray(_CAP * unit * np.log1p(excess / (_CAP * unit)))


def _expand(compressed: Array, unit: float) -> Array:
    return np.asarray(_CAP * unit * np.expm1(np.minimum(compressed / (_CAP * unit), 20.0)))


def _censored(cell: CellData, grid: Array, k: Array, sigma: Array, least: Array, unit: float) -> Array:
    """Log probability that the runs which ended early are as bad as they were found to be, shape (S, K, G).

    At the middle noise level only: the rise that these runs are known for is far above any.
    """
    middle = len(sigma) // 2
    total = np.zeros(least.shape[1:])
    places, inverse = np.unique(np.round(cell.censored_x * 10) / 10, return_inverse=True)
    for i, place in enumerate(places):
        here = inverse == i
        above = float(_compress(np.median(cell.censored_above[here]), unit))
        phi = shapes(place - grid)[:, None, :]
        spread = float(np.hypot(sigma[middle], 0.3 * above))
        chance = expit(1.702 * (least[middle] + k * phi - above) / spread)
        total += np.log(_DOUBT + (1 - _DOUBT) * chance) * min(int(here.sum()), 3)
    return total


def _high_side(cell: CellData, grid: Array) -> Array:
    """A run that failed lies above the optimum, not below it."""
    total = np.zeros_like(grid)
    for place in np.unique(cell.censored_x[cell.failed]):
        total += np.log(_DOUBT + (1 - _DOUBT) * np.exp(log_ndtr((place - grid) / 0.5)))
    return total


def _relearn(hyper: Hyper, tables: Sequence[Array]) -> Hyper:
    """One step of expectation and maximisation over the cells' evidence tables (Σ, S, K)."""
    prior = hyper.log_prior()
    posts = []
    for table in tables:
        joint = table + prior
        posts.append(np.exp(joint - logsumexp(joint)))
    post = np.stack(posts)  # (cells, Σ, S, K)
    count = len(posts)
    shape = post.sum(axis=(0, 1, 3)) + _SHAPE_STRENGTH * _SHAPE_PRIOR
    k = post.sum(axis=(1, 2))
    sigma = post.sum(axis=(2, 3))
    k_mean, k_spread = _moments(k, np.log(_K), 0.0, 1.0, count)
    s_mean, s_spread = _moments(sigma, np.log(_SIGMA), hyper.sigma_mean, 0.7, count)
    return Hyper(hyper.unit, np.log(shape / shape.sum()), k_mean, k_spread, s_mean, s_spread)


def _moments(post: Array, values: Array, mean: float, spread: float, count: int) -> tuple[float, float]:
    """Mean and spread of a log-normal over cells, with one pseudo-cell at the prior."""
    centre = (float((post @ values).sum()) + mean) / (count + 1)
    variance = (float((post @ (values - centre) ** 2).sum()) + 2 * spread**2) / (count + 2)
    return centre, float(np.sqrt(variance))


def _evidence(cell: CellData, hyper: Hyper) -> CellEvidence:
    grid = _grid(cell)
    every = np.concatenate([cell.x, cell.censored_x])
    sampled = (float(every.min()), float(every.max()))
    step = grid[1] - grid[0]
    distance = np.arange(-(GRID - 1), GRID) * step
    phi = shapes(distance)  # (S, 2G−1)
    prior = hyper.log_prior()
    if len(cell.x):
        log_l, least = _log_likelihood(cell, grid, hyper.unit)
        joint = log_l + prior[..., None]
        log_likelihood = logsumexp(joint, axis=(0, 1, 2))
        post = np.exp(joint - log_likelihood)
        mean_least = (post * least).sum(axis=(0, 1, 2))
        k_shape = np.einsum("qskg,k->gs", post, _K * hyper.unit)  # (G, S): E[k · 1(shape)]
    else:
        log_likelihood = np.zeros(GRID)
        mean_least = np.full(GRID, np.nan)
        k_shape = np.tile(np.einsum("qsk,k->s", np.exp(prior), _K * hyper.unit), (GRID, 1))
    unseen = _UNSEEN * _spacing(cell)
    log_likelihood = blurred(np.asarray(log_likelihood), step, unseen) + _high_side(cell, grid)
    index = np.arange(GRID)
    toeplitz = phi[:, index[None, :] - index[:, None] + GRID - 1]  # (S, G, G)
    rise = np.einsum("gs,sgj->gj", k_shape, toeplitz)
    return CellEvidence(
        grid=grid,
        log_likelihood=np.asarray(log_likelihood - log_likelihood.max()),
        rise=_expand(rise, hyper.unit),
        least=np.asarray(mean_least),
        sampled=sampled,
        unseen=unseen,
    )


def blurred(log_density: Array, step: float, spread: float) -> Array:
    """The log of a density on a grid after convolution with a normal of that spread."""
    reach = np.arange(-int(4 * spread / step) - 1, int(4 * spread / step) + 2) * step
    kernel = np.exp(-0.5 * (reach / max(spread, 1e-3 * step)) ** 2)
    top = log_density.max()
    density = np.convolve(np.pad(np.exp(log_density - top), len(reach) // 2, mode="edge"), kernel, mode="valid")
    return np.asarray(np.log(np.maximum(density / kernel.sum(), 1e-300)))


def _spacing(cell: CellData) -> float:
    """Octaves between neighbouring rates around the best one."""
    x = np.unique(np.round(np.concatenate([cell.x, cell.censored_x]), 3))
    if len(x) < 2 or not len(cell.x):
        return 2.0
    best = int(np.argmin(np.abs(x - cell.x[int(np.argmin(cell.loss))])))
    return float(min(np.diff(x[max(0, best - 1) : best + 2]).mean(), 3.0))


def as_array(values: Any) -> Array:
    """A float64 array."""
    return np.asarray(values, dtype=np.float64)
