"""Records → law: every run of every size in one joint fit, and the rule that is written from it.

The steps, each in its own module: `lrtune.law.cells` groups the runs, `lrtune.law.curve` says where each cell's
optimum may lie, `lrtune.law.lawforms` fits a law through all cells, `lrtune.law.forms` chooses its form,
`lrtune.law.boundary` finds where runs collapse, `lrtune.law.companions` what else varied.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from lrtune import __version__
from lrtune.errors import RunFailedError
from lrtune.law.boundary import fit_boundary
from lrtune.law.cells import gather
from lrtune.law.circumstances import advice, conditions, horizon
from lrtune.law.companions import apart, variance
from lrtune.law.curve import Array, cell_evidence
from lrtune.law.forms import Choice, choose_form
from lrtune.law.lawcell import LawCell, describe_cell
from lrtune.law.lawforms import terms
from lrtune.records.record import TrialRecord
from lrtune.rule.data import Polynomial, Rule, RuleCell, Scale, Step

__all__ = ["LawCell", "LawFit", "fit_law", "fit_run"]

_LN2 = math.log(2.0)
_DEGREES = 4  # what the priors count for in Student's t, beside the cells


@dataclass(frozen=True, kw_only=True)
class LawFit:
    """A fitted law: the rule, the cells behind it, and each form's mean regret at sizes left out."""

    rule: Rule
    cells: tuple[LawCell, ...]
    reason: str
    regrets: dict[str, float]
    left_out: dict[str, int]


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
    wanted = _varying(runs, tuple(scales))
    gathered = gather(runs, wanted, tolerance)
    cells = gathered.cells
    evidence = cell_evidence([cell.data for cell in cells])
    values = np.array([[cell.scales[name] for name in wanted] for cell in cells])
    centres = np.exp(np.log(values).mean(axis=0))
    z = np.log(values / centres)
    choice = choose_form(cells, evidence, z, tolerance)
    law_cells = tuple(
        describe_cell(c, e, p, tolerance, level) for c, e, p in zip(cells, evidence, choice.fit.posterior, strict=True)
    )
    used = [record for cell in cells for record in cell.records]
    below, above = _safe_offsets(law_cells)
    law, step = _law(choice, len(wanted)), _step(choice, wanted, centres)
    quantile = float(stdtrit(len(cells) + _DEGREES, (1 + level) / 2))
    scatters = apart(cells, z)
    unmodelled = variance(scatters, len(cells) - len(wanted) - 1, quantile, level)
    reason = choice.reason + "".join(
        f"; {name} goes its own way beside {', '.join(wanted)} and is no scale of this law" for name in scatters
    )
    rule = Rule(
        form=choice.chosen.form if choice.chosen else "table",
        reason=reason,
        scales={
            name: Scale(float(values[:, i].min()), float(values[:, i].max()), float(centres[i]))
            for i, name in enumerate(wanted)
        },
        cells=tuple(_rule_cell(cell) for cell in law_cells),
        law=law,
        step=step,
        discrepancy=(choice.fit.tau2 + unmodelled) * _LN2**2,
        level=level,
        quantile=quantile,
        tolerance=tolerance,
        safe_below=below,
        safe_above=above,
        boundary=fit_boundary(cells, z, choice.fit.mean * _LN2, _slopes(z, choice.fit.mean) * _LN2),
        conditions=conditions(used, wanted),
        advice=advice(used),
        horizon=horizon(used),
        provenance={"lrtune": __version__, "runs": str(len(used)), **_fingerprints(used), **(provenance or {})},
    )
    return LawFit(rule=rule, cells=law_cells, reason=reason, regrets=choice.regrets, left_out=gathered.left_out)


def fit_run(records: Iterable[TrialRecord]) -> LawFit:
    """The law through the records of one run folder, over the width and every other scale that varies in them.

    Runs of an arm are left out: they answer another question.

    Raises:
        RunFailedError: there is nothing to fit, which the message explains.
    """
    own = [record for record in records if record.arm is None]
    if not own:
        raise RunFailedError("no run has ended yet")
    names = sorted({name for record in own for name in record.scales})
    swept = [name for name in names if len({record.scales.get(name) for record in own}) > 1]
    return fit_law(own, scales=("hidden_size", *swept))


def _varying(records: Sequence[TrialRecord], scales: tuple[str, ...]) -> tuple[str, ...]:
    """The scales that vary; the others are conditions. One stays in any case: a table of one size needs it."""
    values = {name: {record.scale(name) for record in records} for name in scales}
    return tuple(name for name in scales if len(values[name]) > 1 or None in values[name]) or scales[:1]


def _law(choice: Choice, count: int) -> Polynomial | None:
    if choice.chosen is None or choice.chosen.threshold:
        return None
    return Polynomial(
        terms(count, 2),
        tuple(float(value) * _LN2 for value in choice.fit.coefficients),
        tuple(tuple(float(value) * _LN2**2 for value in row) for row in choice.fit.covariance),
    )


def _step(choice: Choice, scales: Sequence[str], centres: Array) -> Step | None:
    if choice.chosen is None or choice.chosen.threshold is None:
        return None
    threshold, fit = choice.chosen.threshold, choice.fit
    return Step(
        scale=scales[0],
        low=float(centres[0] * math.exp(threshold.low)),
        high=float(centres[0] * math.exp(threshold.high)),
        below=float(fit.coefficients[0]) * _LN2,
        above=float(fit.coefficients[1]) * _LN2,
        below_variance=float(fit.covariance[0, 0]) * _LN2**2,
        above_variance=float(fit.covariance[1, 1]) * _LN2**2,
    )


def _slopes(z: Array, optima: Array) -> Array:
    """Slopes of a straight law through the optima, in octaves per e-fold: what the boundary is thought to follow."""
    h = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    ridge = np.diag([0.0, *[1e-3] * z.shape[1]])
    return np.asarray(np.linalg.solve(h.T @ h + ridge, h.T @ optima)[1:])


def _rule_cell(cell: LawCell) -> RuleCell:
    return RuleCell(
        scales=cell.scales,
        learning_rate=cell.learning_rate,
        low=cell.low,
        high=cell.high,
        bound=cell.bound,
        safe_low=cell.safe_low,
        safe_high=cell.safe_high,
        loss=cell.loss,
        sensitivity=cell.sensitivity,
        trials=cell.trials,
    )


def _safe_offsets(cells: Sequence[LawCell]) -> tuple[float | None, float | None]:
    """How far the safe range reaches beside the optimum: the median over cells sampled on both sides."""
    below = [math.log(c.learning_rate / c.safe_low) for c in cells if c.safe_low and not c.bound]
    above = [math.log(c.safe_high / c.learning_rate) for c in cells if c.safe_high and not c.bound]
    return (float(np.median(below)) if below else None), (float(np.median(above)) if above else None)


def _fingerprints(records: Sequence[TrialRecord]) -> dict[str, str]:
    found = sorted({record.fingerprint for record in records if record.fingerprint})
    return {"fingerprint": ", ".join(found[:8])} if found else {}
