"""Records → law: every run of every size in one joint fit, the form chosen by what it predicts of sizes left out.

The steps, each in its own module: `lrtune.cells` groups the runs, `lrtune.curve` says where each cell's optimum may
lie, `lrtune.lawforms` fits a law through all cells, `lrtune.boundary` finds where runs collapse. Here a form is
chosen and the rule is written.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lrtune import __version__
from lrtune.boundary import fit_boundary
from lrtune.cells import Cell, gather
from lrtune.circumstances import advice, conditions, horizon
from lrtune.curve import Array, CellEvidence, blurred, cell_evidence
from lrtune.lawforms import Fit, design, fit_form, prior_variances, terms
from lrtune.records import TrialRecord
from lrtune.rule import Polynomial, Rule, RuleCell, Scale

_LN2 = math.log(2.0)
# A more complex form must win by this share of the regret, and by this share of the tolerance.
_MARGINS = {"table": (0.25, 0.05)}
_MARGIN = (0.1, 0.02)
_CURVATURES = (0.03, 0.1, 0.25)
_TABLE_SPREAD = 3.0
_DEGREES = 2  # what the priors count for in Student's t, beside the cells


@dataclass(frozen=True, kw_only=True)
class LawCell:
    """What is known of one combination of scales, all runs of all others taken into account.

    Attributes:
        learning_rate, low, high: the optimum with its interval.
        bound: ``lower`` or ``upper`` where only that side of the optimum was sampled.
        safe_low, safe_high: rates that cost at most the tolerance.
        trials, loss: runs, and the least loss that the curve reaches.
        sensitivity: mean rise of the loss over the sampled rates (arXiv 2309.14322, §2.2).
        loss_at: expected loss at a learning rate.
    """

    scales: dict[str, float]
    learning_rate: float
    low: float
    high: float
    bound: str | None
    safe_low: float | None
    safe_high: float | None
    trials: int
    loss: float | None
    sensitivity: float | None
    loss_at: Callable[[float], float] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class LawFit:
    """A fitted law: the rule, the cells behind it, and each form's mean regret at sizes left out."""

    rule: Rule
    cells: tuple[LawCell, ...]
    reason: str
    regrets: dict[str, float]
    left_out: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A form, fitted; `predicted` is each cell's optimum as predicted from all others, in octaves."""

    form: str
    fit: Fit
    exponents: tuple[tuple[int, ...], ...]
    predicted: Array


def fit_law(
    records: Iterable[TrialRecord],
    *,
    scales: Sequence[str] = ("hidden_size",),
    tolerance: float = 0.01,
    level: float = 0.9,
    seed: int = 0,
    provenance: dict[str, str] | None = None,
) -> LawFit:
    """Fit the law of the best learning rate over `scales` to all records, those that ended early included.

    Args:
        records: training runs; losses may be of any sign (a maximised measure enters negated).
        scales: names of the scales (see `TrialRecord.scale`).
        tolerance: relative loss that the safe range may cost, and by which forms are judged.
        level: of the intervals.
        seed: taken so that callers may pass their study's; the fit draws no random numbers.
        provenance: kept in the rule.

    Raises:
        InputError: the scales are not in the records.
        RunFailedError: there is nothing to fit (no run finished, one learning rate only, losses all the same).
    """
    runs = list(records)
    gathered = gather(runs, scales, tolerance)
    cells = gathered.cells
    evidence = cell_evidence([cell.data for cell in cells])
    values = np.array([[cell.scales[name] for name in scales] for cell in cells])
    centres = np.exp(np.log(values).mean(axis=0))
    z = np.log(values / centres)
    table = _table(evidence)
    candidates = _candidates(evidence, z)
    regrets = {c.form: _regret(c.predicted, evidence, table, cells) for c in candidates}
    regrets["table"] = _regret(_neighbours(z, table.mean), evidence, table, cells)
    chosen, reason = _choose(candidates, regrets, tolerance, len(cells))
    fit = _widened(chosen, candidates[-1], evidence) if chosen else table
    law_cells = tuple(
        _law_cell(c, e, _blur(e, p), tolerance, level) for c, e, p in zip(cells, evidence, fit.posterior, strict=True)
    )
    used = [record for cell in cells for record in cell.records]
    slopes = fit.coefficients[1 : 1 + len(scales)] if chosen and chosen.form != "constant" else np.zeros(len(scales))
    rule = _rule(chosen, fit, law_cells, scales, values, centres, tolerance, level, reason)._replace(
        boundary=fit_boundary(cells, z, fit.mean * _LN2, slopes * _LN2),
        conditions=conditions(used, scales),
        advice=advice(used),
        horizon=horizon(used),
        provenance={"lrtune": __version__, "runs": str(len(used)), **_fingerprints(used), **(provenance or {})},
    )
    return LawFit(rule=rule, cells=law_cells, reason=reason, regrets=regrets, left_out=gathered.left_out)


def _candidates(evidence: Sequence[CellEvidence], z: Array) -> list[_Candidate]:
    """The forms that so many cells allow, simplest first."""
    n, count = z.shape
    if n < 3:
        return []
    centre = _typical(evidence)
    found = []
    for form, degree, needed in (("constant", 0, 3), ("power", 1, 3), ("curved", 2, 3)):
        if n < needed:
            continue
        exponents = terms(count, degree)
        priors = [prior_variances(exponents, c) for c in (_CURVATURES if degree == 2 else _CURVATURES[:1])]
        prior_mean = np.zeros(len(exponents))
        prior_mean[0] = centre
        fit = fit_form(evidence, design(z, exponents), prior_mean, priors)
        found.append(_Candidate(form=form, fit=fit, exponents=exponents, predicted=fit.left_mean))
    return found


def _typical(evidence: Sequence[CellEvidence]) -> float:
    """The mean over cells of where each one's own likelihood has its middle, in octaves."""
    middles = []
    for cell in evidence:
        weight = np.exp(cell.log_likelihood)
        middles.append(float((weight * cell.grid).sum() / weight.sum()))
    return float(np.mean(middles))


def _table(evidence: Sequence[CellEvidence]) -> Fit:
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


def _regret(predicted: Array, evidence: Sequence[CellEvidence], table: Fit, cells: Sequence[Cell]) -> float:
    """Mean relative regret of using each cell's prediction from all others, by that cell's own curve."""
    total = []
    for i, cell in enumerate(evidence):
        post = table.posterior[i]
        curve = post @ cell.rise
        least = abs(float(np.nan_to_num(post @ cell.least))) or 1.0
        total.append(float(np.interp(predicted[i], cell.grid, curve) - curve.min()) / least)
    return float(np.mean(np.minimum(total, 1.0)))


def _choose(
    candidates: Sequence[_Candidate], regrets: dict[str, float], tolerance: float, count: int
) -> tuple[_Candidate | None, str]:
    """The simplest form that no more complex one beats by the margin."""
    if not candidates:
        return (
            None,
            f"a table: {count} measured {'size is' if count == 1 else 'sizes are'} too few for a law (three needed)",
        )
    chosen = candidates[0]
    for candidate in candidates[1:]:
        if _wins(candidate.form, chosen.form, regrets, tolerance):
            chosen = candidate
    if _wins("table", chosen.form, regrets, tolerance):
        return None, (
            f"a table: sizes left out are predicted better by their neighbours ({regrets['table']:.2%} of loss lost) "
            f"than by the best law ({chosen.form}, {regrets[chosen.form]:.2%})"
        )
    names = {"constant": "one rate for all sizes", "power": "a power law", "curved": "a power law with curvature"}
    return chosen, (
        f"{names[chosen.form]}: sizes left out in turn are predicted at {regrets[chosen.form]:.2%} of loss lost "
        f"({count} measured)"
    )


def _wins(form: str, over: str, regrets: dict[str, float], tolerance: float) -> bool:
    share, least = _MARGINS.get(form, _MARGIN)
    return regrets[form] < regrets[over] - max(share * regrets[over], least * tolerance)


def _widened(chosen: _Candidate, widest: _Candidate, evidence: Sequence[CellEvidence]) -> Fit:
    """The chosen law with the uncertainty of the widest: that its simpler form is right was not known beforehand.

    The covariance is the second moment of the widest posterior about the chosen coefficients; a single optimum
    carries what the spacing of the rates leaves open.
    """
    coefficients = np.zeros(len(widest.exponents))
    coefficients[: len(chosen.exponents)] = chosen.fit.coefficients
    off = widest.fit.coefficients - coefficients
    covariance = widest.fit.covariance + np.outer(off, off)
    unseen = float(np.median([cell.unseen for cell in evidence])) ** 2
    return replace(widest.fit, coefficients=coefficients, covariance=covariance, tau2=widest.fit.tau2 + unseen)


def _blur(evidence: CellEvidence, post: Array) -> Array:
    step = float(evidence.grid[1] - evidence.grid[0])
    density = np.exp(blurred(np.log(np.maximum(post, 1e-300)), step, evidence.unseen))
    return np.asarray(density / density.sum())


def _law_cell(cell: Cell, evidence: CellEvidence, post: Array, tolerance: float, level: float) -> LawCell:
    grid = evidence.grid
    low, middle, high = _quantiles(grid, post, level)
    curve = post @ evidence.rise
    least = float(post @ evidence.least)
    known = math.isfinite(least)
    safe = _safe(grid, curve, middle, tolerance * abs(least)) if known else (None, None)

    def loss_at(learning_rate: float) -> float:
        return least + float(np.interp(math.log2(learning_rate), grid, curve - curve.min()))

    return LawCell(
        scales=cell.scales,
        learning_rate=2.0**middle,
        low=2.0**low,
        high=2.0**high,
        bound=_bound(grid, post, evidence.sampled),
        safe_low=safe[0],
        safe_high=safe[1],
        trials=len(cell.records),
        loss=least if known else None,
        sensitivity=_sensitivity(cell),
        loss_at=loss_at,
    )


def _quantiles(grid: Array, post: Array, level: float) -> tuple[float, float, float]:
    """Both ends of the central interval and the median, a uniform density within each step of the grid."""
    step = grid[1] - grid[0]
    edges = np.concatenate([[grid[0] - step / 2], grid + step / 2])
    total = np.concatenate([[0.0], np.cumsum(post)]) / post.sum()
    low, middle, high = np.interp([(1 - level) / 2, 0.5, (1 + level) / 2], total, edges)
    return float(low), float(middle), float(high)


def _bound(grid: Array, post: Array, sampled: tuple[float, float]) -> str | None:
    """Whether the optimum likely lies outside of the rates that were run."""
    if post[grid > sampled[1]].sum() > 0.5:
        return "lower"
    return "upper" if post[grid < sampled[0]].sum() > 0.5 else None


def _safe(grid: Array, curve: Array, middle: float, allowed: float) -> tuple[float, float]:
    """Ends of the interval around the optimum in which the expected rise stays within what is allowed."""
    rise = curve - curve.min()
    best = int(np.argmin(curve))
    over = np.flatnonzero(rise > allowed)
    left = over[over < best].max() if (over < best).any() else 0
    right = over[over > best].min() if (over > best).any() else len(grid) - 1
    low = _crossing(grid, rise, left, left + 1, allowed)
    high = _crossing(grid, rise, right, right - 1, allowed)
    return 2.0 ** min(low, middle), 2.0 ** max(high, middle)


def _crossing(grid: Array, rise: Array, outside: int, inside: int, allowed: float) -> float:
    a, b = rise[outside], rise[inside]
    share = 0.0 if a == b else float(np.clip((a - allowed) / (a - b), 0, 1))
    return float(grid[outside] + share * (grid[inside] - grid[outside]))


def _sensitivity(cell: Cell) -> float | None:
    """Mean over the sampled log rates of min(loss, loss at init) less the best loss (arXiv 2309.14322)."""
    start = [r.curve["loss"][0] for r in cell.records if r.curve.get("loss") and r.curve["step"][0] == 0]
    at_init = [value for value in start if value is not None]
    if len(np.unique(cell.data.x)) < 2:
        return None
    ceiling = max(at_init) if at_init else float(cell.data.loss.max())
    x = np.concatenate([cell.data.x, cell.data.censored_x[cell.data.failed]])
    loss = np.concatenate([np.minimum(cell.data.loss, ceiling), np.full(int(cell.data.failed.sum()), ceiling)])
    places, inverse = np.unique(np.round(x, 6), return_inverse=True)
    mean = np.bincount(inverse, loss) / np.bincount(inverse)
    return float(np.trapezoid(mean - mean.min(), places) / (places[-1] - places[0]))


def _rule(
    chosen: _Candidate | None,
    fit: Fit,
    cells: tuple[LawCell, ...],
    scales: Sequence[str],
    values: Array,
    centres: Array,
    tolerance: float,
    level: float,
    reason: str,
) -> Rule:
    from scipy.special import stdtrit

    law = None
    if chosen:
        law = Polynomial(
            terms(len(scales), 2),
            tuple(float(c) * _LN2 for c in fit.coefficients),
            tuple(tuple(float(v) * _LN2**2 for v in row) for row in fit.covariance),
        )
    below = [math.log(c.learning_rate / c.safe_low) for c in cells if c.safe_low and not c.bound]
    above = [math.log(c.safe_high / c.learning_rate) for c in cells if c.safe_high and not c.bound]
    return Rule(
        form=chosen.form if chosen else "table",
        reason=reason,
        scales={
            name: Scale(float(values[:, i].min()), float(values[:, i].max()), float(centres[i]))
            for i, name in enumerate(scales)
        },
        cells=tuple(
            RuleCell(
                c.scales,
                c.learning_rate,
                c.low,
                c.high,
                c.bound,
                c.safe_low,
                c.safe_high,
                c.loss,
                c.sensitivity,
                c.trials,
            )
            for c in cells
        ),
        law=law,
        discrepancy=fit.tau2 * _LN2**2,
        level=level,
        quantile=float(stdtrit(len(cells) + _DEGREES, (1 + level) / 2)),
        tolerance=tolerance,
        safe_below=float(np.median(below)) if below else None,
        safe_above=float(np.median(above)) if above else None,
    )


def _fingerprints(records: Sequence[TrialRecord]) -> dict[str, str]:
    found = sorted({record.fingerprint for record in records if record.fingerprint})
    return {"fingerprint": ", ".join(found[:8])} if found else {}
