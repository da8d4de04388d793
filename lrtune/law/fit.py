"""Records → law: fit one model to all runs of all sizes and make its rule.

One module per step: `lrtune.law.observations` groups runs into cells, `lrtune.law.tables` computes the likelihood of
each cell's optimum, `lrtune.law.posterior` joins the cells over the scales, `lrtune.law.draws` samples the posterior
for the rule, `lrtune.law.boundary` fits the boundary of collapse, `lrtune.law.covariates` finds undeclared scales.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lrtune import __version__
from lrtune.law.atoms import Array
from lrtune.law.backfit import separated
from lrtune.law.boundary import fit_boundary
from lrtune.law.chosen import fixed, having, knob_law, widened
from lrtune.law.conditions import advice, conditions, horizon
from lrtune.law.couplings import Key
from lrtune.law.covariates import independent, variance
from lrtune.law.draws import draw
from lrtune.law.formula import formula
from lrtune.law.knobs import slopes
from lrtune.law.lawcell import LawCell, describe_cell, released, rule_cell
from lrtune.law.model import Model, build, without_own_level
from lrtune.law.no_rule import NoRule, NoRuleError
from lrtune.law.observations import Cell, Measure, Observations, gather
from lrtune.law.priors import SLOPES
from lrtune.records.identity import marks
from lrtune.records.magnitude import measured
from lrtune.records.record import TrialRecord
from lrtune.records.rounded import rounded
from lrtune.records.trust import vouches
from lrtune.rule.answer import answer, left_out_scale
from lrtune.rule.data import Rule, Scale
from lrtune.rule.display import rule_html, rule_sentence
from lrtune.rule.drawn import EVERY_RATE, advise, locate, place_of, regrets
from lrtune.rule.knob import FIRST, Coordinate

__all__ = ["LawCell", "LawFit", "fit_law", "fit_run"]

_LN2 = math.log(2.0)
DRAWS = 64
MOST_CELLS = 300  # take 11 s of one core and 2.7 GB; the time grows faster than their number


@dataclass(frozen=True, kw_only=True, repr=False)
class LawFit:
    """A fitted law: the rule, its cells, and the regret of predicting each value of a scale without its runs.

    Attributes:
        regrets: by the value left out (``hidden_size 64``), mean over its cells.
        unused: the number of records that the fit does not use, by reason.
        knobs: the fits of further knobs, whose rates are the coordinates.
    """

    rule: Rule
    cells: tuple[LawCell, ...]
    regrets: dict[str, float]
    unused: dict[str, int]
    knobs: Mapping[str, "LawFit"] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<LawFit: {rule_sentence(self.rule)}>"

    def _repr_html_(self) -> str:
        return rule_html(self.rule)


def fit_law(
    records: Iterable[TrialRecord],
    *,
    scales: Sequence[str] = ("hidden_size",),
    tolerance: float = 0.01,
    level: float = 0.9,
    provenance: dict[str, str] | None = None,
    every_scale: bool = False,
    knobs: Mapping[str, Coordinate] | None = None,
) -> LawFit:
    """Fit the law of the best learning rate over `scales` to all records, including those that ended early.

    Args:
        records: training runs; losses may have any sign (negate a measure to maximise).
        scales: names of the scales (see `TrialRecord.scale`).
        tolerance: relative loss that a supported answer and the safe range may cost.
        level: of the intervals.
        provenance: kept in the rule.
        every_scale: keep scales with one value; else they become conditions.
        knobs: further quantities that the runs choose; each gets a law of its coordinate (`lrtune.law.backfit`).

    Raises:
        InputError: the scales are not in the records.
        NoRuleError: there is nothing to fit, or there are more than `MOST_CELLS` cells.
    """
    asked = knobs or {}
    runs, without = having(rounded(measured(records), scales), asked)
    constant = fixed(runs, asked)
    given = {name: each for name, each in asked.items() if name not in constant}
    wanted = tuple(scales) if every_scale else _varying(runs, tuple(scales))
    gathered = gather(runs, wanted, tolerance)
    if len(gathered.cells) > MOST_CELLS:
        text = f"sizes: expected at most {MOST_CELLS} with their other scales, but got {len(gathered.cells)}"
        raise NoRuleError(NoRule.TOO_MANY_SIZES, text)
    used = [record for cell in gathered.cells for record in cell.records]
    if given:
        parts = separated(used, wanted, given, tolerance, gathered.measure)
        fits = {
            name: _fit_one(
                gather(along, wanted, tolerance, gathered.measure),
                wanted,
                tolerance,
                level,
                given[name].named(name) if name in given else "lr",
                parts.errors[name],
                slopes(name, given),
            )
            for name, along in parts.records.items()
        }
        first, zeros = fits.pop(FIRST), parts.zeros
    else:
        first, fits, zeros = _fit_one(gathered, wanted, tolerance, level), {}, {}
    rule = first.rule._replace(
        conditions={
            **conditions(used, (*wanted, *given)),
            **{asked[name].named(name): value for name, value in constant.items()},
        },
        advice={name: value for name, value in advice(used).items() if name not in given},
        horizon=horizon(used),
        provenance={"lrtune": __version__, "runs": str(len(used)), **_fingerprints(used), **(provenance or {})},
        runs=marks(used),
        knobs={name: knob_law(name, given[name], fit.rule, zeros.get(name)) for name, fit in fits.items()},
        left_out=_summed(fit.rule.left_out for fit in (first, *fits.values())),
    )
    return replace(first, rule=rule, unused=gathered.unused | without, knobs=fits)


def _summed(lost: Iterable[float | None]) -> float | None:
    known = [value for value in lost if value is not None]
    return sum(known) if known else None


def _fit_one(
    gathered: Observations,
    wanted: tuple[str, ...],
    tolerance: float,
    level: float,
    quantity: str = "lr",
    errors: Mapping[Key, float] | None = None,
    slopes: Mapping[str, tuple[float, float]] = SLOPES,
) -> LawFit:
    """The fit along one knob; `quantity` is its coordinate in the formula, `errors` are those of `Couplings`."""
    cells = gathered.cells
    values = np.array([[cell.scales[name] for name in wanted] for cell in cells])
    model = build([cell.data for cell in cells], wanted, values, slopes=slopes)
    z, optima = model.geometry.z, model.posterior.weight @ model.posterior.mean
    scatters = independent(cells, z)
    drawn = draw(
        model,
        DRAWS,
        ratio=gathered.measure.unit is None,
        values=[sorted(set(column.tolist())) for column in values.T],
        extra=variance(scatters, len(cells) - len(wanted) - 1),
    )
    if errors:
        drawn = widened(drawn, [errors[tuple(row)] for row in values.tolist()])
    checks = [cell.scales for cell in cells if vouches(cell.records)]
    rule = Rule(
        form="drawn",
        reason="",
        scales={
            name: Scale(float(values[:, i].min()), float(values[:, i].max()), float(model.centres[i]))
            for i, name in enumerate(wanted)
        },
        cells=released([rule_cell(cell, model, i, checks) for i, cell in enumerate(cells)], cells),
        level=level,
        tolerance=tolerance,
        boundary=fit_boundary(cells, z, optima * _LN2, _slopes(z, optima) * _LN2) if quantity == "lr" else None,
        draws=drawn,
    )
    lost = _regrets_without(rule, model, cells)
    reason = formula(rule, lost, quantity) + "".join(
        f"; {name} varies independently of {', '.join(wanted)} but is not a scale of this law" for name in scatters
    )
    rule = rule._replace(reason=reason, left_out=_digits(sum(lost.values()) / len(lost)) if lost else None)
    rule, law_cells = _described(rule, cells, gathered.measure)
    return LawFit(rule=rule, cells=law_cells, regrets=lost, unused=gathered.unused)


def fit_run(
    records: Iterable[TrialRecord], *, tolerance: float = 0.01, knobs: Mapping[str, Coordinate] | None = None
) -> LawFit:
    """Fit the law to the records of one run folder, over the width and every other scale that varies.

    A scale ``batch`` in the trainer's own unit becomes ``batch_tokens`` if the trainer gives the tokens of a step.
    Runs of an arm are omitted, since their settings differ. `knobs` are those of the study.

    Raises:
        NoRuleError: there is nothing to fit; it says why.
    """
    runs = [record for record in records if record.arm is None]
    if not runs:
        raise NoRuleError(NoRule.NO_RUN, "no run has ended yet")
    names = sorted({name for record in runs for name in record.scales})
    swept = [name for name in names if len({record.scales.get(name) for record in runs}) > 1]
    if "batch" in swept and "batch_tokens" not in names:
        sizes = {record.facts.tokens_per_step for record in runs if record.status != "failed"}
        if None not in sizes and len(sizes) > 1:
            swept[swept.index("batch")] = "batch_tokens"
    return fit_law(runs, scales=("hidden_size", *swept), tolerance=tolerance, knobs=knobs)


def _varying(records: Sequence[TrialRecord], scales: tuple[str, ...]) -> tuple[str, ...]:
    """The scales that vary, or else the first one, since a rule needs a scale."""
    values = {name: {record.scale(name) for record in records} for name in scales}
    return tuple(name for name in scales if len(values[name]) > 1 or None in values[name]) or scales[:1]


def _described(rule: Rule, cells: Sequence[Cell], measure: Measure) -> tuple[Rule, tuple[LawCell, ...]]:
    """The rule with its answer stored in each cell, and the cells with their curves."""
    answered, described = [], []
    for stored, cell in zip(rule.cells, cells, strict=True):
        one = describe_cell(rule, cell, answer(rule, None, cell.scales), stored, measure)
        described.append(one)
        answered.append(
            stored._replace(
                learning_rate=_digits(one.learning_rate),
                low=_digits(one.low),
                high=_digits(one.high),
                safe_low=one.safe_low and _digits(one.safe_low),
                safe_high=one.safe_high and _digits(one.safe_high),
                loss=one.loss and _digits(one.loss, 6),
            )
        )
    return rule._replace(cells=tuple(answered)), tuple(described)


def _digits(value: float, count: int = 4) -> float:
    return float(f"{value:.{count}g}")


def _regrets_without(rule: Rule, model: Model, cells: Sequence[Cell]) -> dict[str, float]:
    """What the rate costs that the other values of one scale advise at each of its values: mean regret."""
    name, draws = left_out_scale(rule), rule.draws
    if name is None or draws is None:
        return {}
    by_value: dict[str, list[float]] = {}
    predicted = without_own_level(model, list(rule.scales).index(name), len(draws.level))
    for cell, optimum in zip(cells, predicted.T.tolist(), strict=True):
        x = advise(place_of(draws, optimum, draws.shape, draws.height), *EVERY_RATE)
        lost = regrets(locate(rule, draws, cell.scales), x)
        by_value.setdefault(f"{name} {cell.scales[name]:g}", []).append(sum(lost) / len(lost))
    return {key: sum(values) / len(values) for key, values in by_value.items()}


def _slopes(z: Array, optima: Array) -> Array:
    """Mean slopes of the law, octaves per e-fold: the prior mean for the boundary of collapse."""
    h = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    ridge = np.diag([0.0, *[1e-3] * z.shape[1]])
    return np.asarray(np.linalg.solve(h.T @ h + ridge, h.T @ optima)[1:])


def _fingerprints(records: Sequence[TrialRecord]) -> dict[str, str]:
    prints = sorted({record.fingerprint for record in records if record.fingerprint})
    return {"fingerprint": ", ".join(prints[:8])} if prints else {}
