"""The posterior over the optima of all cells, their law and their shapes: a weighted mixture of Gaussians.

    o(s) = β₀ + β·z + ½ zᵀΓz + Σ_scale [wander(z) + level] + own

Given a *component* (the cells' shared noise, shape and deviation from a power law), everything but the cells'
likelihoods is Gaussian. Expectation propagation (Minka 2001; Rasmussen & Williams 2006, §3.6) approximates each
likelihood by a Gaussian. Components are spread over the posterior of the shapes, exact for independent cells, and over
the priors of the law; their evidence is their weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from lrtune.law import priors
from lrtune.law.atoms import Array, Indices, kinship
from lrtune.law.geometry import Geometry, Strays, stray_set
from lrtune.law.tables import FINE, CellTable, Resolution

_DAMPING = 0.6
_UNSETTLED = 1e3


@dataclass(frozen=True, kw_only=True)
class Size:
    """The number of components, shapes times strays; rounds of expectation propagation; resolution of the tables."""

    shapes: int = 16
    strays: int = 24
    rounds: int = 14
    resolution: Resolution = FINE


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """The mixture.

    Attributes:
        weight: of each component, (M,).
        shared: index of (ρ, σ, s, k) of each component, (M, 4).
        strays: of each component.
        site_precision, site_shift: Gaussian approximation of each cell's likelihood, (M, n).
        mean, covariance: of the cells' optima, (M, n) and (M, n, n).
        left_mean, left_variance: each optimum predicted from the other cells, (M, n).
        tilted: each cell's marginal over its grid, per component; one (M, G) per cell.
    """

    weight: Array
    shared: Indices
    strays: Strays
    site_precision: Array
    site_shift: Array
    mean: Array
    covariance: Array
    left_mean: Array
    left_variance: Array
    tilted: tuple[Array, ...]

    def components(self, count: int) -> Indices:
        """The component of each of an even number of draws; the two of a pair have the same."""
        return np.repeat(systematic(self.weight, count // 2), 2)


def infer(tables: Sequence[CellTable], geometry: Geometry, size: Size) -> Posterior:
    """The posterior given all cells' tables."""
    place = [_broad(table, geometry, i) for i, table in enumerate(tables)]
    first = Size(shapes=4, strays=max(size.strays // 4, 6), rounds=size.rounds)
    found = _components(tables, place, first, geometry)
    place = [_predicted(table, found, i) for i, table in enumerate(tables)]
    return _components(tables, place, size, geometry)


def _broad(table: CellTable, geometry: Geometry, index: int) -> Array:
    """The prior of a cell's optimum: (G,)."""
    log_p = -0.5 * np.square((table.grid - geometry.prior_mean[index]) / 2.5)
    p = np.exp(log_p - log_p.max()) + 1e-6
    return np.asarray(p / p.sum())


def _predicted(table: CellTable, found: Posterior, index: int) -> Array:
    """The other cells' prediction of a cell's optimum: (G,)."""
    mean, variance = found.left_mean[:, index, None], found.left_variance[:, index, None] + 0.05**2
    p = found.weight @ (np.exp(-0.5 * np.square(table.grid - mean) / variance) / np.sqrt(variance))
    return np.asarray((p + 1e-4 * p.max()) / (p + 1e-4 * p.max()).sum())


def _components(tables: Sequence[CellTable], place: Sequence[Array], size: Size, geometry: Geometry) -> Posterior:
    log_shared = np.sum([_log_shared(t, p) for t, p in zip(tables, place, strict=True)], axis=0)
    log_shared = log_shared + prior_shared(log_shared.shape[2])
    probability = np.exp(log_shared - log_shared.max()).ravel()
    probability /= probability.sum()
    chosen, times = np.unique(systematic(probability, size.shapes), return_counts=True)
    shared = np.stack(np.unravel_index(chosen, log_shared.shape), axis=1)
    weights = _cell_weights(shared, log_shared.shape[2])
    likelihoods = [_given(table, shared, weights) for table in tables]  # (shapes, G) each
    # Correct a shape's weight by the joint evidence of its cells relative to the product of their separate evidence.
    alone = np.sum([np.log(lik @ p) for lik, p in zip(likelihoods, place, strict=True)], axis=0)
    sets = stray_set(size.strays, geometry)
    pairs = [(i, j) for i in range(len(chosen)) for j in range(size.strays)]
    shape_of, stray_of = (np.array(side) for side in zip(*pairs, strict=True))
    chosen_strays = sets.take(stray_of)
    state = _propagate(tables, [lik[shape_of] for lik in likelihoods], geometry, chosen_strays, size.rounds)
    log_w = np.log(times)[shape_of] + state["evidence"] - alone[shape_of]
    weight = np.exp(log_w - log_w.max())
    return Posterior(
        weight=weight / weight.sum(),
        shared=shared[shape_of],
        strays=chosen_strays,
        site_precision=state["precision"],
        site_shift=state["shift"],
        mean=state["mean"],
        covariance=state["covariance"],
        left_mean=state["left_mean"],
        left_variance=state["left_variance"],
        tilted=state["tilted"],
    )


def systematic(probability: Array, count: int) -> Indices:
    """Indices, each as often as its share, to within one."""
    total = np.cumsum(probability)
    at = np.searchsorted(total, (np.arange(count) + 0.5) / count * total[-1])
    return np.asarray(np.minimum(at, len(probability) - 1))


@cache
def kernels() -> tuple[Array, Array]:
    """P(σ | σ̄) and P(k | k̄), rows the shared value."""
    found = []
    for values, spread in (
        (np.log(priors.NOISE_GRID), priors.NOISE_SPREAD),
        (np.log(priors.K_GRID) * np.arange(priors.K_COUNT), priors.K_SPREAD),
    ):
        weight = np.exp(-0.5 * np.square((values[:, None] - values[None, :]) / spread))
        found.append(weight / weight.sum(axis=1, keepdims=True))
    return found[0], found[1]


def prior_shared(shapes: int) -> Array:
    """log P(ρ, σ̄, s̄, k̄): (R, Σ, S, K)."""
    rho = np.log([0.45, 0.35, 0.2])
    noise = -0.5 * np.square((np.arange(len(priors.NOISE_GRID)) - 2.0) / 1.5)
    k = -0.5 * np.square((np.arange(priors.K_COUNT) - priors.K_COUNT // 2) / 2.5)
    return np.asarray(rho[:, None, None, None] + noise[:, None, None] + np.zeros((shapes, 1)) + k)


def _log_shared(table: CellTable, place: Array) -> Array:
    """log P(runs of the cell | ρ, σ̄, s̄, k̄) for an optimum as in `place`: (R, Σ, S, K)."""
    noise, k = kernels()
    evidence = table.likelihood @ place.astype(np.float32)
    mixed = kinship(evidence.shape[2]) @ evidence @ k.T
    mixed = (noise @ mixed.reshape(*mixed.shape[:2], -1)).reshape(mixed.shape)
    return np.asarray(np.log(np.maximum(mixed, 1e-30)))


def _cell_weights(shared: Indices, shapes: int) -> Array:
    """P(σ, s, k of a cell | shared values), (M, Σ · S · K), single precision; a cell has the shared ρ."""
    noise, k = kernels()
    own = kinship(shapes)[shared[:, 2], :, None] * k[shared[:, 3], None, :]
    weight = noise[shared[:, 1], :, None, None] * own[:, None]
    return np.asarray(weight.reshape(len(shared), -1).astype(np.float32))


def _given(table: CellTable, shared: Indices, weight: Array) -> Array:
    """Likelihood of a cell's optimum for each setting of the shared values: (M, G); `weight` from `_cell_weights`."""
    mixed = np.empty((len(shared), len(table.grid)))
    for rho in np.unique(shared[:, 0]):
        mine = shared[:, 0] == rho
        mixed[mine] = weight[mine] @ table.likelihood[rho].reshape(-1, len(table.grid))
    found = table.blurred(mixed)
    return np.asarray(found + priors.STRANGE * found.max(axis=1, keepdims=True))


def _propagate(
    tables: Sequence[CellTable], likelihoods: Sequence[Array], geometry: Geometry, strays: Strays, rounds: int
) -> dict[str, Any]:
    """EP for all components at once; first axis M components, then n cells, then the grid."""
    n, m = len(tables), len(strays.own)
    longest = max(len(table.grid) for table in tables)
    grid = np.zeros((n, longest))
    log_l = np.full((m, n, longest), -np.inf)
    for i, (table, lik) in enumerate(zip(tables, likelihoods, strict=True)):
        grid[i, : len(table.grid)] = table.grid
        log_l[:, i, : len(table.grid)] = np.log(lik)
    step = tables[0].step
    prior = geometry.covariance(strays)  # (M, n, n)
    prior_mean = geometry.mean(strays)  # (M, n)
    own = np.exp(log_l - log_l.max(axis=2, keepdims=True))
    own /= own.sum(axis=2, keepdims=True)
    site_mean = (own * grid).sum(axis=2)
    variance = (own * np.square(grid - site_mean[..., None])).sum(axis=2) + step**2 / 12
    precision = 1 / variance
    shift = precision * site_mean
    low, high = (np.array([t.grid[at] for t in tables]) for at in (0, -1))
    span = high - low
    for _ in range(rounds):
        left_mean, left_variance, _, _, _ = _cavities(prior, prior_mean, precision, shift)
        moment, spread, _, _ = _tilt(grid, log_l, left_mean, left_variance, step)
        new_precision = np.maximum(1 / spread - 1 / left_variance, 1 / (4 * span**2))
        new_shift = moment * (new_precision + 1 / left_variance) - left_mean / left_variance
        new_shift = np.clip(new_shift, new_precision * (low - span), new_precision * (high + span))
        change = np.abs(new_precision - precision).max() / (1 + precision.max())
        precision = precision + _DAMPING * (new_precision - precision)
        shift = shift + _DAMPING * (new_shift - shift)
        if change < 1e-3:
            break
    left_mean, left_variance, inverse, residual, pull = _cavities(prior, prior_mean, precision, shift)
    moment, spread, log_mass, density = _tilt(grid, log_l, left_mean, left_variance, step)
    mean = prior_mean + np.einsum("mij,mj->mi", prior, pull)
    gaussian = 0.5 * (np.linalg.slogdet(inverse)[1] - n * np.log(2 * np.pi) - (residual * pull).sum(axis=1))
    # A component whose Gaussians do not converge gets no weight.
    unsettled = (np.abs(moment - mean) > 0.3 + np.sqrt(spread)).any(axis=1)
    total = left_variance + 1 / precision
    ratio = log_mass + 0.5 * (np.log(2 * np.pi * total) + np.square(shift / precision - left_mean) / total)
    return {
        "precision": precision,
        "shift": shift,
        "mean": mean,
        "covariance": prior - prior @ inverse @ prior,
        "left_mean": left_mean,
        "left_variance": left_variance,
        "tilted": tuple(density[:, i, : len(t.grid)] for i, t in enumerate(tables)),
        "evidence": gaussian + ratio.sum(axis=1) - np.where(unsettled, _UNSETTLED, 0.0),
    }


def _cavities(prior: Array, prior_mean: Array, precision: Array, shift: Array) -> tuple[Array, ...]:
    """The others' prediction of each cell, mean and variance; (prior + noise)⁻¹, the residuals, and their product."""
    n = prior.shape[1]
    noisy = prior.copy()
    noisy[:, np.arange(n), np.arange(n)] += 1 / precision
    inverse = np.linalg.inv(noisy)
    residual = shift / precision - prior_mean
    pull = np.einsum("mij,mj->mi", inverse, residual)
    diagonal = np.diagonal(inverse, axis1=1, axis2=2)
    # Leave-one-out of a Gaussian process (Rasmussen & Williams 2006, eq. 5.12) without the site's noise.
    left_mean = shift / precision - pull / diagonal
    left_variance = np.maximum(1 / diagonal - 1 / precision, 1e-6)
    return left_mean, left_variance, inverse, residual, pull


def _tilt(grid: Array, log_l: Array, mean: Array, variance: Array, step: float) -> tuple[Array, ...]:
    """Each likelihood times the others' prediction: mean, variance, log of the mass, density on the grid."""
    log_p = log_l - 0.5 * np.square(grid - mean[..., None]) / variance[..., None]
    top = log_p.max(axis=2, keepdims=True)
    weight = np.exp(log_p - top)
    mass = weight.sum(axis=2)
    weight /= mass[..., None]
    moment = (weight * grid).sum(axis=2)
    spread = (weight * np.square(grid - moment[..., None])).sum(axis=2) + step**2 / 12
    log_mass = np.log(mass * step) + top[..., 0] - 0.5 * np.log(2 * np.pi * variance)
    return moment, spread, log_mass, weight
