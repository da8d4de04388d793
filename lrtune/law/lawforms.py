"""Where the optima of all cells lie together: one law over the scales, from the cells' likelihoods.

    x_c ~ N(h(z_c)·θ + offset_c, τ²),   θ ~ N(0, S),   the cells' likelihood of x_c from `lrtune.law.curve`

z are centred logarithms of the scales, h the terms of the form (1, z, z², …). τ is how far a single optimum may
lie from the law, and the prior on curvature says how far the law may bend: both are averaged over a grid. The
likelihoods are no Gaussians (a cell sampled on one side has a flat flank), so each is replaced by the Gaussian that
acts alike in its place: expectation propagation (Minka 2001; Rasmussen & Williams 2006, §3.6). What EP calls the
cavity of a cell is its prediction from all others: leaving one out costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrtune.law.curve import CellEvidence

Array = NDArray[np.float64]

_TAU = np.array([0.02, 0.06, 0.13, 0.25, 0.45, 0.8])  # octaves
_TAU_WEIGHT = np.array([0.22, 0.25, 0.25, 0.17, 0.08, 0.03])
_CURVATURE = np.array([0.03, 0.1, 0.25])  # octaves per (e-fold of scale)²
_SLOPE = 1.0  # octaves per e-fold: published laws lie within −1.5 … +0.5
_LEVEL = 12.0
_ROUNDS = 24
_DAMPING = 0.5


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A law fitted in one form, averaged over τ and the curvature prior. All in octaves.

    Attributes:
        coefficients, covariance: of θ, shapes (p,) and (p, p).
        tau2: mean variance of a single optimum about the law.
        mean, variance: of each optimum given everything, shape (n,).
        left_mean, left_variance: of each optimum predicted from all others, shape (n,); τ² is in it.
        evidence: log marginal likelihood.
        posterior: each cell's posterior over its grid, shape (n, GRID).
    """

    coefficients: Array
    covariance: Array
    tau2: float
    mean: Array
    variance: Array
    left_mean: Array
    left_variance: Array
    evidence: float
    posterior: Array


def terms(scales: int, degree: int) -> tuple[tuple[int, ...], ...]:
    """Exponents of all monomials up to `degree` (0, 1 or 2) in so many scales, in that order."""
    found = [(0,) * scales]
    if degree >= 1:
        found += [tuple(int(i == j) for j in range(scales)) for i in range(scales)]
    if degree >= 2:
        for i in range(scales):
            for j in range(i, scales):
                found.append(tuple((k == i) + (k == j) for k in range(scales)))
    return tuple(found)


def design(z: Array, exponents: Sequence[Sequence[int]]) -> Array:
    """The terms at each row of `z`, shape (n, scales) → (n, p)."""
    return np.stack([np.prod(z ** np.asarray(e), axis=1) for e in exponents], axis=1)


def prior_variances(exponents: Sequence[Sequence[int]], curvature: float) -> Array:
    """Of each term's coefficient, by its degree."""
    widths = (_LEVEL, _SLOPE, curvature)
    return np.array([widths[min(sum(e), 2)] ** 2 for e in exponents])


def fit_form(
    evidence: Sequence[CellEvidence],
    h: Array,
    prior_mean: Array,
    priors: Sequence[Array],
    *,
    offset: Array | None = None,
    offset_variance: Array | None = None,
    weights: Sequence[float] | None = None,
) -> Fit:
    """Fit the law whose terms at the cells are `h` (n, p).

    Args:
        evidence: of each cell.
        h: terms at the cells, shape (n, p), or one such array for each of `priors`, shape (q, n, p).
        prior_mean: of the coefficients, shape (p,).
        priors: variances of the coefficients, one array (p,) for each setting that is averaged over.
        offset, offset_variance: a part of the law that is known beforehand, at the cells.
        weights: prior weights of the settings; equal by default.
    """
    grids = np.stack([cell.grid for cell in evidence])
    likelihood = np.stack([cell.log_likelihood for cell in evidence])
    n = len(evidence)
    known = np.zeros(n) if offset is None else offset
    extra = np.zeros(n) if offset_variance is None else offset_variance
    pairs = [(tau, q) for tau in range(len(_TAU)) for q in range(len(priors))]
    tau2 = np.array([_TAU[t] ** 2 for t, _ in pairs])[:, None] + extra  # (A, n)
    prior = np.stack([priors[q] for _, q in pairs])  # (A, p)
    hs = np.stack([h[q] if h.ndim == 3 else h for _, q in pairs])  # (A, n, p)
    state = _propagate(grids - known[:, None], likelihood, hs, prior_mean, prior, tau2)
    log_w = state.evidence + np.log([_TAU_WEIGHT[t] * (weights[q] if weights is not None else 1.0) for t, q in pairs])
    log_z = float(np.logaddexp.reduce(log_w))
    w = np.exp(log_w - log_z)
    theta = w @ state.theta
    spread = state.theta - theta
    covariance = np.einsum("a,aij->ij", w, state.covariance) + np.einsum("a,ai,aj->ij", w, spread, spread)
    mean, variance = _mix(w, state.mean, state.variance)
    left_mean, left_variance = _mix(w, state.left_mean, state.left_variance)
    return Fit(
        coefficients=theta,
        covariance=covariance,
        tau2=float(w @ np.array([_TAU[t] ** 2 for t, _ in pairs])),
        mean=mean + known,
        variance=variance,
        left_mean=left_mean + known,
        left_variance=left_variance,
        evidence=log_z - float(np.log(len(priors))) if weights is None else log_z,
        posterior=np.einsum("a,ang->ng", w, state.posterior),
    )


def _mix(w: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance of a mixture, the settings on the first axis."""
    centre = w @ mean
    return centre, w @ (variance + (mean - centre) ** 2)


@dataclass(frozen=True)
class _State:
    theta: Array
    covariance: Array
    mean: Array
    variance: Array
    left_mean: Array
    left_variance: Array
    evidence: Array
    posterior: Array


def _propagate(grid: Array, likelihood: Array, h: Array, prior_mean: Array, prior: Array, tau2: Array) -> _State:
    """EP for all settings at once: first axis A settings, then n cells, then the grid or the p terms."""
    step = grid[:, 1] - grid[:, 0]
    own = np.exp(likelihood)
    own /= own.sum(axis=1, keepdims=True)
    site_mean = np.tile((own * grid).sum(axis=1), (len(tau2), 1))
    own_variance = (own * grid**2).sum(axis=1) - site_mean[0] ** 2 + step**2 / 12
    precision = np.tile(1.0 / own_variance, (len(tau2), 1))
    shift = precision * site_mean
    span = grid[:, -1] - grid[:, 0]
    for _ in range(_ROUNDS):
        cavity_mean, cavity_variance, _, _, _ = _cavities(h, prior_mean, prior, tau2, precision, shift)
        tilted = _tilted(grid, likelihood, cavity_mean, cavity_variance)
        # A flat flank gives a site next to no precision; what it says is a push (`shift`), which is kept whole.
        new_precision = np.maximum(1.0 / tilted.variance - 1.0 / cavity_variance, 1.0 / span**2)
        new_shift = tilted.mean * (new_precision + 1.0 / cavity_variance) - cavity_mean / cavity_variance
        change = np.abs(new_precision - precision).max() / (1.0 + precision.max())
        precision = (1 - _DAMPING) * precision + _DAMPING * new_precision
        shift = (1 - _DAMPING) * shift + _DAMPING * new_shift
        if change < 1e-3:
            break
    cavity_mean, cavity_variance, theta, covariance, gaussian = _cavities(h, prior_mean, prior, tau2, precision, shift)
    tilted = _tilted(grid, likelihood, cavity_mean, cavity_variance)
    site = shift / precision
    total = cavity_variance + 1.0 / precision
    ratio = tilted.log_mass + 0.5 * (np.log(2 * np.pi * total) + (site - cavity_mean) ** 2 / total)
    return _State(
        theta=theta,
        covariance=covariance,
        mean=tilted.mean,
        variance=tilted.variance,
        left_mean=cavity_mean,
        left_variance=cavity_variance,
        evidence=gaussian + ratio.sum(axis=1),
        posterior=tilted.posterior,
    )


@dataclass(frozen=True)
class _Tilted:
    """Each cell's likelihood times its prediction from the others: moments, log of the mass, density on the grid."""

    mean: Array
    variance: Array
    log_mass: Array
    posterior: Array


def _tilted(grid: Array, likelihood: Array, cavity_mean: Array, cavity_variance: Array) -> _Tilted:
    step = grid[:, 1] - grid[:, 0]
    log_density = likelihood - 0.5 * (grid - cavity_mean[..., None]) ** 2 / cavity_variance[..., None]
    top = log_density.max(axis=-1, keepdims=True)
    weight = np.exp(log_density - top)
    mass = weight.sum(axis=-1)
    mean = (weight * grid).sum(axis=-1) / mass
    variance = (weight * (grid - mean[..., None]) ** 2).sum(axis=-1) / mass + step**2 / 12
    log_mass = np.log(mass * step) + top[..., 0] - 0.5 * np.log(2 * np.pi * cavity_variance)
    return _Tilted(mean, variance, log_mass, weight / mass[..., None])


def _cavities(
    h: Array, prior_mean: Array, prior: Array, tau2: Array, precision: Array, shift: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Each cell predicted from the others, and θ with its covariance and the Gaussian evidence."""
    site = shift / precision
    omega = 1.0 / (tau2 + 1.0 / precision)
    p_matrix = np.einsum("ani,an,anj->aij", h, omega, h)
    index = np.arange(h.shape[2])
    p_matrix[:, index, index] += 1.0 / prior
    b = np.einsum("ani,an->ai", h, omega * site) + prior_mean / prior
    covariance = np.linalg.inv(p_matrix)
    theta = np.einsum("aij,aj->ai", covariance, b)
    v = np.einsum("ani,aij,anj->an", h, covariance, h)
    m = np.einsum("ani,ai->an", h, theta)
    keep = np.maximum(1.0 - omega * v, 1e-9)
    quadratic = (omega * site**2).sum(axis=1) + (prior_mean**2 / prior).sum(axis=1) - np.einsum("ai,ai->a", b, theta)
    log_det = np.log(prior).sum(axis=1) + np.linalg.slogdet(p_matrix)[1]
    gaussian = 0.5 * np.log(omega / (2 * np.pi)).sum(axis=1) - 0.5 * (log_det + quadratic)
    return (m - omega * v * site) / keep, v / keep + tau2, theta, covariance, gaussian
