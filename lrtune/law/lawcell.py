"""One cell after the fit: its optimum, safe range and curve."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lrtune.law.model import Model
from lrtune.law.observations import Cell, Measure
from lrtune.records.trust import is_vouched_for, rests_on_cuts
from lrtune.rule.advice import Recommendation
from lrtune.rule.data import Rule, RuleCell
from lrtune.rule.drawn import Place, curve, locate

BRACKET = 3  # rates: the least that can have an optimum between them
_TELLING = ("finished", "collapsed", "diverged")
_CLOSE = 1.2  # a failure up to this many octaves above the highest finished rate bounds the optimum


@dataclass(frozen=True, kw_only=True)
class LawCell:
    """One combination of scales, fitted together with all others.

    Attributes:
        learning_rate, low, high: the rate of least expected regret, and the interval of the optimum.
        bound: ``lower`` or ``upper`` if the runs give only that bound of the optimum.
        safe_low, safe_high: rates that cost at most the tolerance with 90% probability; None if not supported.
        trials, loss: number of runs, and the lowest loss of the curve.
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
    loss_at: Callable[[float], float] = field(repr=False)


def rule_cell(cell: Cell, model: Model, index: int, checks: Sequence[Mapping[str, float]] = ()) -> RuleCell:
    """A cell of the rule without its draws; the answer is filled in later. `checks`: see `is_vouched_for`."""
    finished = [record.learning_rate for record in cell.records if record.status == "finished"]
    cut = "checked" if is_vouched_for(cell.scales, checks) else "unchecked"
    return RuleCell(
        scales=cell.scales,
        learning_rate=1.0,
        low=1.0,
        high=1.0,
        bound=_bound(cell, model, index),
        trials=len(cell.records),
        tried_low=min(finished, default=None),
        tried_high=max(finished, default=None),
        cut=cut if rests_on_cuts(cell.records) else None,
    )


def released(stored: Sequence[RuleCell], cells: Sequence[Cell]) -> tuple[RuleCell, ...]:
    """The cells, those with fewer rates than can bracket an optimum neither bound nor limited by their own runs.

    The law then gives their answer, as it does between cells. Where no cell brackets its optimum, all stay as they are.
    """
    thin = [len({r.learning_rate for r in cell.records if r.status in _TELLING}) < BRACKET for cell in cells]
    if not any(each.bound is None and not few for each, few in zip(stored, thin, strict=True)):
        return tuple(stored)
    return tuple(
        each._replace(bound=None, tried_low=None, tried_high=None) if few else each
        for each, few in zip(stored, thin, strict=True)
    )


def _bound(cell: Cell, model: Model, index: int) -> str | None:
    """The bound if the optimum probably lies outside the sampled rates, or below them all because all failed."""
    data, grid = cell.data, model.tables[index].grid
    density = model.posterior.weight @ model.posterior.tilted[index]
    if not len(data.x):
        return "upper" if data.failed_x is not None else None
    low, high = float(data.x.min()), float(data.x.max())
    above, below = density[grid > high + 1e-9].sum(), density[grid < low - 1e-9].sum()
    if len(data.x) == 1:
        return "upper" if data.failed_x is not None else "lower" if above > below else "upper"
    if data.failed_x is not None and data.failed_x <= high + _CLOSE:
        return "upper" if below > 0.5 else None  # the failures bound the optimum from above
    return "lower" if above > 0.5 else "upper" if below > 0.5 else None


def describe_cell(rule: Rule, cell: Cell, said: Recommendation, known: RuleCell, measure: Measure) -> LawCell:
    """A cell with the rule's answer and the curve through its runs."""
    assert rule.draws is not None
    place = locate(rule, rule.draws, cell.scales)
    floor = _floor(cell, place)

    def loss_at(learning_rate: float) -> float:
        return measure.loss(floor + _rise(place, math.log2(learning_rate)))

    least = loss_at(said.learning_rate) if math.isfinite(floor) else math.nan
    return LawCell(
        scales=cell.scales,
        learning_rate=said.learning_rate,
        low=said.low,
        high=said.high,
        bound=known.bound,
        safe_low=said.safe_low,
        safe_high=said.safe_high,
        trials=known.trials,
        loss=least if math.isfinite(least) else None,
        loss_at=loss_at,
    )


def _rise(place: Place, x: float) -> float:
    """Expected relative height at log2 rate x."""
    heights = [
        height * curve(shape, x - optimum)
        for optimum, shape, height in zip(place.optimum, place.shape, place.height, strict=True)
    ]
    return sum(heights) / len(heights)


def _floor(cell: Cell, place: Place) -> float:
    """Relative loss at the optimum: a mean over the runs, weighted to those near the best."""
    data = cell.data
    if not len(data.x):
        return math.nan
    rise = np.array([_rise(place, float(x)) for x in data.x])
    weight = data.count / (np.square(0.2 * rise) + np.square(0.05 * np.median(rise) + 1e-6))
    return float((weight * (data.y - rise)).sum() / weight.sum())
