"""The choice of a law's form, by how well it predicts the sizes that are left out, not by how well it fits.

The candidates, simplest first: one rate for all; a power law; a power law with curvature; a power law in effective
rates, where the runs report relative update sizes; a threshold; a table. A more complex one must win by a margin.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrtune.law.cells import Cell
from lrtune.law.curve import Array, CellEvidence
from lrtune.law.effective import update_offsets
from lrtune.law.lawforms import Fit, design, fit_form, prior_variances, terms

# A more complex form must win by this share of the regret, and by this share of the tolerance.
_MARGIN = (0.1, 0.02)
_MARGINS = {"step": (0.25, 0.05), "table": (0.25, 0.05)}
_BY_STANDARD_ERROR = ("step", "table")
_CURVATURES = (0.03, 0.1, 0.25)  # octaves per (e-fold of scale)²
_CURVATURE_WEIGHTS = (0.65, 0.28, 0.07)
_EFFECTIVE_SLOPE = 0.5  # a law in effective rates is flatter: update sizes carry most of the scale
_TABLE_SPREAD = 3.0
_NAMES = {
    "constant": "one rate for all sizes",
    "power": "a power law",
    "curved": "a power law with curvature",
    "effective": "a power law in relative update sizes",
    "step": "a threshold between two rates",
}


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Where a step law jumps: between the centred log sizes `low` and `high`."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A form, fitted.

    Attributes:
        form: its name.
        fit: coefficients over all terms up to the second degree (two levels for a step).
        predicted: each cell's optimum as predicted from all others, in octaves.
        threshold: of a step.
    """

    form: str
    fit: Fit
    predicted: Array
    threshold: Threshold | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen form (None for a table), its fit, the sentence why, and each form's regret at cells left out."""

    chosen: Candidate | None
    fit: Fit
    reason: str
    regrets: dict[str, float]


def choose_form(cells: Sequence[Cell], evidence: Sequence[CellEvidence], z: Array, tolerance: float) -> Choice:
    """Fit every form that so many cells allow and choose one.

    Args:
        cells, evidence: of each combination of scales.
        z: centred log scales, shape (cells, scales).
        tolerance: relative loss that the margins are counted in.
    """
    table = table_fit(evidence)
    sizes, count = len(np.unique(z[:, 0])), z.shape[1]
    if sizes < 3 or len(cells) < count + 2:
        few = f"{sizes} measured {'size is' if sizes == 1 else 'sizes are'} too few for a law (three needed)"
        if sizes >= 3:
            few = f"{len(cells)} measured cells are too few for a law over {count} scales ({count + 2} needed)"
        return Choice(chosen=None, fit=table, reason=f"a table: {few}", regrets={})
    candidates = _candidates(cells, evidence, z)
    losses = {c.form: _losses(c.predicted, evidence, table) for c in candidates}
    losses["table"] = _losses(_neighbours(z, table.mean), evidence, table)
    regrets = {form: float(lost.mean()) for form, lost in losses.items()}
    chosen = candidates[0]
    for candidate in candidates[1:]:
        if wins(candidate.form, losses[candidate.form], losses[chosen.form], tolerance):
            chosen = candidate
    lost = f"{regrets[chosen.form]:.2%} of loss lost"
    if wins("table", losses["table"], losses[chosen.form], tolerance):
        reason = (
            f"a table: sizes left out are predicted better by their neighbours ({regrets['table']:.2%} of loss lost) "
            f"than by {_NAMES[chosen.form]} ({lost})"
        )
        return Choice(chosen=None, fit=table, reason=reason, regrets=regrets)
    reason = f"{_NAMES[chosen.form]}: sizes left out in turn are predicted with {lost} ({len(cells)} measured)"
    return Choice(chosen=chosen, fit=chosen.fit, reason=reason, regrets=regrets)


def wins(form: str, losses: Array, over: Array, tolerance: float) -> bool:
    """Whether a more complex form is to be preferred, by both forms' regrets at the cells left out, shape (cells,)."""
    share, least = _MARGINS.get(form, _MARGIN)
    advantage = over - losses
    needed = max(share * over.mean(), least * tolerance)
    if form in _BY_STANDARD_ERROR:
        needed = max(needed, advantage.std(ddof=1) / math.sqrt(len(advantage)))
    return bool(advantage.mean() > needed)


def _candidates(cells: Sequence[Cell], evidence: Sequence[CellEvidence], z: Array) -> list[Candidate]:
    """All forms, simplest first."""
    fits = [_polynomial(evidence, z, degree) for degree in (0, 1, 2)]
    widest = fits[2]
    found = [
        Candidate(form=form, fit=_widened(fit, widest, evidence), predicted=fit.left_mean)
        for form, fit in zip(("constant", "power", "curved"), fits, strict=True)
    ]
    effective = _effective(cells, evidence, z)
    if effective:
        found.append(effective)
    step = _step(evidence, z) if z.shape[1] == 1 else None
    if step:
        found.append(step)
    return found


def _polynomial(evidence: Sequence[CellEvidence], z: Array, degree: int) -> Fit:
    exponents = terms(z.shape[1], degree)
    curvatures, weights = (_CURVATURES, _CURVATURE_WEIGHTS) if degree == 2 else (_CURVATURES[:1], (1.0,))
    priors = [prior_variances(exponents, curvature) for curvature in curvatures]
    prior_mean = np.zeros(len(exponents))
    prior_mean[0] = _typical(evidence)
    return fit_form(evidence, design(z, exponents), prior_mean, priors, weights=weights)


def _widened(fit: Fit, widest: Fit, evidence: Sequence[CellEvidence]) -> Fit:
    """A law with the uncertainty of the widest: that its simpler form is right was not known beforehand.

    The covariance is the second moment of the widest posterior about the simpler coefficients; a single optimum
    carries what the spacing of the rates leaves open.
    """
    coefficients = np.zeros(len(widest.coefficients))
    coefficients[: len(fit.coefficients)] = fit.coefficients
    off = widest.coefficients - coefficients
    tau2 = widest.tau2 + _unseen(evidence)
    return replace(widest, coefficients=coefficients, covariance=widest.covariance + np.outer(off, off), tau2=tau2)


def _unseen(evidence: Sequence[CellEvidence]) -> float:
    return float(np.median([cell.unseen for cell in evidence])) ** 2


def _effective(cells: Sequence[Cell], evidence: Sequence[CellEvidence], z: Array) -> Candidate | None:
    """A power law in the relative update size, written back in learning rates (arXiv 2606.29158)."""
    offsets = update_offsets(cells)
    degree = 2 if z.shape[1] == 1 and len(cells) >= 5 else 1
    exponents = terms(z.shape[1], degree)
    if offsets is None or len(cells) < len(exponents) + 2:
        return None
    h = design(z, exponents)
    shape = np.linalg.lstsq(h, offsets, rcond=None)[0]
    residual = offsets - h @ shape
    noise = float((residual**2).sum() / (len(cells) - len(exponents)))
    inverse = np.linalg.pinv(h.T @ h)
    linear = terms(z.shape[1], 1)
    prior = prior_variances(linear, 0.0)
    prior[1:] = _EFFECTIVE_SLOPE**2
    prior_mean = np.zeros(len(linear))
    prior_mean[0] = _typical(evidence) - offsets.mean()
    fit = fit_form(
        evidence, design(z, linear), prior_mean, [prior], offset=offsets, offset_variance=np.full(len(cells), noise)
    )
    # A cell left out brings no update sizes of its own: its offset comes from the others' line.
    leverage = np.einsum("ni,ij,nj->n", h, inverse, h)
    left_offset = offsets - residual / np.maximum(1.0 - leverage, 1e-6)
    size = len(terms(z.shape[1], 2))
    coefficients, covariance = np.zeros(size), np.zeros((size, size))
    coefficients[: len(shape)] += shape
    coefficients[: len(linear)] += fit.coefficients
    covariance[: len(shape), : len(shape)] += noise * inverse
    covariance[: len(linear), : len(linear)] += fit.covariance
    covariance[np.diag_indices(size)] += np.where(np.arange(size) > z.shape[1], _CURVATURES[0] ** 2, 0.0)
    tau2 = fit.tau2 + noise + _unseen(evidence)
    return Candidate(
        form="effective",
        fit=replace(fit, coefficients=coefficients, covariance=covariance, tau2=tau2),
        predicted=fit.left_mean - offsets + left_offset,
    )


def _step(evidence: Sequence[CellEvidence], z: Array) -> Candidate | None:
    """One rate below a threshold and another above, at least two sizes on either side."""
    places = np.unique(z[:, 0])
    if len(places) < 4:
        return None
    level = _typical(evidence)
    prior = prior_variances(terms(1, 0), 0.0)
    fits, gaps = [], []
    for low, high in itertools.pairwise(places[1:-1]):
        above = (z[:, 0] > low).astype(float)
        h = np.stack([1.0 - above, above], axis=1)
        fits.append(fit_form(evidence, h, np.full(2, level), [np.tile(prior, 2)]))
        gaps.append(Threshold(low=float(low), high=float(high)))
    log_weight = np.array([fit.evidence for fit in fits])
    weight = np.exp(log_weight - np.logaddexp.reduce(log_weight))
    best = int(np.argmax(weight))
    likely = np.flatnonzero(weight > 0.1 * weight[best])
    fit = replace(fits[best], tau2=fits[best].tau2 + _unseen(evidence))
    return Candidate(
        form="step",
        fit=fit,
        predicted=weight @ np.stack([fit.left_mean for fit in fits]),
        threshold=Threshold(low=gaps[likely[0]].low, high=gaps[likely[-1]].high),
    )


def _typical(evidence: Sequence[CellEvidence]) -> float:
    """The mean over cells of where each one's own likelihood has its middle, in octaves."""
    middles = []
    for cell in evidence:
        weight = np.exp(cell.log_likelihood)
        middles.append(float((weight * cell.grid).sum() / weight.sum()))
    return float(np.mean(middles))


def table_fit(evidence: Sequence[CellEvidence]) -> Fit:
    """No law: each cell by itself, about a common level that holds those sampled on one side."""
    prior_mean = np.array([_typical(evidence)])
    n = len(evidence)
    own = np.stack([cell.log_likelihood for cell in evidence])
    grids = np.stack([cell.grid for cell in evidence])
    log_post = own - 0.5 * ((grids - prior_mean) / _TABLE_SPREAD) ** 2
    post = np.exp(log_post - log_post.max(axis=1, keepdims=True))
    post /= post.sum(axis=1, keepdims=True)
    mean = (post * grids).sum(axis=1)
    variance = (post * (grids - mean[:, None]) ** 2).sum(axis=1)
    return Fit(
        coefficients=prior_mean,
        covariance=np.array([[_TABLE_SPREAD**2]]),
        tau2=0.0,
        mean=mean,
        variance=variance,
        left_mean=np.full(n, prior_mean[0]),
        left_variance=variance,
        evidence=0.0,
        posterior=post,
    )


def _neighbours(z: Array, mean: Array) -> Array:
    """Each cell predicted by a table without it: interpolated along one scale, else the nearest cell."""
    predicted = np.empty(len(mean))
    for i in range(len(mean)):
        others = np.delete(np.arange(len(mean)), i)
        if not len(others):
            return mean.copy()
        if z.shape[1] == 1:
            order = others[np.argsort(z[others, 0])]
            predicted[i] = np.interp(z[i, 0], z[order, 0], mean[order])
        else:
            predicted[i] = mean[others[np.argmin(((z[others] - z[i]) ** 2).sum(axis=1))]]
    return predicted


def _losses(predicted: Array, evidence: Sequence[CellEvidence], table: Fit) -> Array:
    """Relative regret of using each cell's prediction from all others, by that cell's own curve; shape (cells,)."""
    total = []
    for i, cell in enumerate(evidence):
        post = table.posterior[i]
        curve = post @ cell.rise
        least = abs(float(np.nan_to_num(post @ cell.least))) or 1.0
        total.append(float(np.interp(predicted[i], cell.grid, curve) - curve.min()) / least)
    return np.minimum(total, 1.0)
