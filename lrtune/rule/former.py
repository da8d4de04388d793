"""Rules of schema 1 at one place: one selected form of law with a Gaussian error.

Kept to read old files; `lrtune fit` writes the draws that `lrtune.rule.drawn` reads.
"""

import itertools
import math
from collections.abc import Mapping

from lrtune.rule.data import WIDEST, Rule, RuleCell, Step, exponential

_SLOPE_VARIANCE = 0.5  # of d ln(LR)/d ln(scale) outside a table: published slopes span −1 … +0.3
_GAP_VARIANCE = 0.05  # of the same slope between two cells of a table
_STEP_DRIFT = 0.1  # variance that a step law gains per squared e-fold outside the measured range


def predict(rule: Rule, scales: Mapping[str, float]) -> tuple[float, float]:
    """Log rate and its variance, including that of a single optimum about the law."""
    if rule.form == "step" and rule.step:
        scale = rule.scales[rule.step.scale]
        value = scales[rule.step.scale]
        beyond = math.log(max(value / scale.high, scale.low / value, 1.0))
        return _predict_step(rule.step, value, rule.discrepancy + _STEP_DRIFT * beyond**2)
    if rule.law is None:
        return _predict_table(rule, scales)
    mean, variance = rule.law.at(rule.law.terms(rule.scales, scales))
    return mean, variance + rule.discrepancy


def _predict_step(step: Step, value: float, discrepancy: float) -> tuple[float, float]:
    if value <= step.low:
        return step.below, step.below_variance + discrepancy
    if value >= step.high:
        return step.above, step.above_variance + discrepancy
    # The rate jumps between the two sizes, at an unmeasured point.
    half = (step.above - step.below) / 2
    return step.below + half, half**2 + (step.below_variance + step.above_variance) / 2 + discrepancy


def _predict_table(rule: Rule, scales: Mapping[str, float]) -> tuple[float, float]:
    """Interpolate between the two nearest cells of one scale; else the nearest cell with a wide variance."""
    if len(rule.scales) == 1:
        ((name, value),) = scales.items()
        cells = sorted(rule.cells, key=lambda cell: cell.scales[name])
        for left, right in itertools.pairwise(cells):
            low, high = left.scales[name], right.scales[name]
            if low < value < high:
                share = math.log(value / low) / math.log(high / low)
                ends = (math.log(left.learning_rate), math.log(right.learning_rate))
                spread = (1 - share) ** 2 * _cell_variance(left, rule) + share**2 * _cell_variance(right, rule)
                bend = _GAP_VARIANCE * share * (1 - share) * math.log(high / low) ** 2
                return (1 - share) * ends[0] + share * ends[1], spread + bend + rule.discrepancy
    distance = {id(cell): sum(math.log(scales[n] / cell.scales[n]) ** 2 for n in scales) for cell in rule.cells}
    nearest = min(rule.cells, key=lambda cell: distance[id(cell)])
    return (
        math.log(nearest.learning_rate),
        _cell_variance(nearest, rule) + _SLOPE_VARIANCE * distance[id(nearest)] + rule.discrepancy,
    )


def _cell_variance(cell: RuleCell, rule: Rule) -> float:
    return (math.log(cell.high / cell.low) / (2 * rule.quantile)) ** 2


def ratio_variance(rule: Rule, start: Mapping[str, float], end: Mapping[str, float]) -> float:
    """Variance of the log of the ratio between the rates at two places."""
    if rule.law is None:
        return predict(rule, start)[1] + predict(rule, end)[1]
    rows = [rule.law.terms(rule.scales, place) for place in (end, start)]
    return rule.law.at([a - b for a, b in zip(*rows, strict=True)])[1] + 2 * rule.discrepancy


def log_interval(log_rate: float, variance: float, quantile: float) -> tuple[float, float, float]:
    """A rate with its interval, at most a factor of `WIDEST` on either side."""
    half = min(quantile * math.sqrt(variance), math.log(WIDEST))
    return exponential(log_rate), exponential(log_rate - half), exponential(log_rate + half)
