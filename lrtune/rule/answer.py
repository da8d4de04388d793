"""A rule asked at one place: the law evaluated, its interval, and what the data do not support said.

Pure functions of a `Rule`; `lrtune.rule.ask` finds the rule, `lrtune.rule.export` copies this file into a module of
its own.
"""

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

from lrtune.errors import InputError
from lrtune.rule.data import Polynomial, Recommendation, Rule, RuleCell, Scale, Step, Transfer

SUPPORTED_FACTOR = 2.0  # an interval that passes this factor either way is no answer to rely on
HORIZON_FACTOR = 4.0  # so many times beyond the measured horizon, a rate is no longer supported
_UNSUPPORTED = "not supported by the data"
PROVISIONAL = "this rule is provisional; `lrtune search` measures one of your own"
_SLOPE_VARIANCE = 0.5  # of d ln(LR)/d ln(scale), beyond the cells of a table: published slopes span −1 … +0.3
_GAP_VARIANCE = 0.05  # the same for how far a table may bend between two cells
_STEP_DRIFT = 0.1  # and how far a law of two rates may leave the second one, beyond what was measured
_WIDEST = 100.0  # an interval is said up to this factor either way; beyond, "nobody knows" is said once already
_SAME = 1e-6


class _Place(NamedTuple):
    """Where a question lies: its scales, log rate with variance, and how it relates to what was measured."""

    scales: dict[str, float]
    log_rate: float
    variance: float
    basis: str
    factor: float
    cell: RuleCell | None


def answer(rule: Rule, hidden_size: float | None, scales: Mapping[str, float]) -> Recommendation:
    """What `rule` says at this hidden size and these further scales.

    Raises:
        InputError: a scale is missing, unknown or not positive.
    """
    asked = _asked(rule, hidden_size, scales)
    place = _locate(rule, {name: asked[name] for name in rule.scales})
    if place.cell:
        rate, low, high = place.cell.learning_rate, place.cell.low, place.cell.high
    else:
        rate, low, high = _interval(place.log_rate, place.variance, rule.quantile)
    notes, far = _departures(rule, asked)
    if place.basis == "extrapolated":
        notes.insert(0, f"extrapolated by a factor of {place.factor:.3g} beyond what was measured ({_ranges(rule)})")
    if place.cell and place.cell.bound:
        notes.insert(0, _one_sided(place.cell))
    collapse_10, collapse_50 = _collapse(rule, place.scales)
    supported = (
        not far and high <= rate * SUPPORTED_FACTOR * (1 + _SAME) and low * SUPPORTED_FACTOR * (1 + _SAME) >= rate
    )
    if not supported:
        notes.insert(
            0, f"{_UNSUPPORTED}: the interval is {low:.3g} … {high:.3g}" if not far else f"{_UNSUPPORTED}: {far}"
        )
    if rule.provisional:
        notes.append(PROVISIONAL)
    if collapse_10 is not None and rate > collapse_10:
        notes.append(
            f"held at the rate where one run in ten collapses, {collapse_10:.3g} (the law alone says {rate:.3g})"
        )
        rate = collapse_10
        low, high = min(low, rate), max(min(high, collapse_50 or high), rate)
    safe_low, safe_high = _safe_range(rule, place, rate, collapse_10)
    ratio, steps = rule.advice.get("stage2_ratio"), _steps(rule, asked)
    return Recommendation(
        learning_rate=rate,
        low=low,
        high=high,
        level=rule.level,
        basis=place.basis,
        extrapolation=place.factor,
        supported=supported,
        why=_why(rule, place),
        scales=asked,
        safe_low=safe_low,
        safe_high=safe_high,
        collapse_10=collapse_10,
        collapse_50=collapse_50,
        stage2_learning_rate=None if ratio is None else rate * ratio,
        weight_decay=rule.advice.get("weight_decay"),
        weight_decay_stage2=rule.advice.get("weight_decay_stage2"),
        warmup_steps=_warmup(rule, steps),
        horizon_tokens=asked.get("tokens", rule.horizon.get("tokens")),
        horizon_steps=steps,
        conditions=rule.conditions,
        warnings=tuple(notes),
        source=rule.source,
    )


def carry(rule: Rule, learning_rate: float, from_size: float, to_size: float, scales: Mapping[str, float]) -> Transfer:
    """A rate tuned at `from_size`, carried to `to_size` by the ratio of the law between the two.

    Raises:
        InputError: as `answer`, or the given rate is not a positive number.
    """
    if not (isinstance(learning_rate, int | float) and math.isfinite(learning_rate) and learning_rate > 0):
        raise InputError(f"learning rate: expected a positive number, but got {learning_rate!r:.40}")
    places = []
    for size in (from_size, to_size):
        asked = _asked(rule, size, scales)
        places.append(_locate(rule, {name: asked[name] for name in rule.scales}))
    start, end = places
    variance = 0.0 if start.scales == end.scales else _ratio_variance(rule, start, end)
    ratio, low, high = _interval(end.log_rate - start.log_rate, variance, rule.quantile)
    worst = max(places, key=lambda place: place.factor)
    supported = high <= ratio * SUPPORTED_FACTOR and low * SUPPORTED_FACTOR >= ratio
    notes = [] if supported else [f"{_UNSUPPORTED}: the ratio's interval is {low:.3g} … {high:.3g}"]
    if worst.basis == "extrapolated":
        notes.append(f"extrapolated by a factor of {worst.factor:.3g} beyond what was measured ({_ranges(rule)})")
    return Transfer(
        learning_rate=learning_rate * ratio,
        low=learning_rate * low,
        high=learning_rate * high,
        level=rule.level,
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        basis="extrapolated" if worst.basis == "extrapolated" else "interpolated",
        extrapolation=worst.factor,
        supported=supported,
        why=f"{learning_rate:g} at {from_size:g} times the law's ratio {ratio:.3g}; {rule.reason}",
        warnings=tuple(notes),
        source=rule.source,
    )


def _steps(rule: Rule, asked: Mapping[str, float]) -> float | None:
    """The steps of the run that is asked about; they follow the tokens where those are given."""
    if "steps" in asked:
        return asked["steps"]
    tokens, measured = asked.get("tokens"), rule.horizon.get("tokens")
    if tokens is None or (measured is not None and abs(tokens / measured - 1) < _SAME):
        return rule.horizon.get("steps")
    per_step = rule.conditions.get("tokens_per_step")
    is_number = isinstance(per_step, int | float) and not isinstance(per_step, bool) and per_step > 0
    return math.ceil(tokens / per_step) if is_number else None  # type: ignore[operator]


def _warmup(rule: Rule, steps: float | None) -> float | None:
    """Warm-up in steps; where the runs shared only its share of their length, that share of these steps."""
    share = rule.advice.get("warmup_share")
    if "warmup_steps" in rule.advice or share is None or steps is None:
        return rule.advice.get("warmup_steps")
    return float(round(share * steps))


def _asked(rule: Rule, hidden_size: float | None, scales: Mapping[str, float]) -> dict[str, float]:
    """All scales of the question, checked; those of the training length default to the measured horizon."""
    given = dict(scales) if hidden_size is None else {"hidden_size": hidden_size, **scales}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise InputError(f"{name}: expected a positive number, but got {value!r:.40}")
    for name in given:
        if name not in rule.scales and name not in rule.conditions and name not in ("hidden_size", "tokens", "steps"):
            known = sorted({*rule.scales, *rule.conditions, "tokens", "steps"})
            raise InputError(f"{name}: this rule knows no such scale; it knows {', '.join(known)}")
    for name, scale in rule.scales.items():
        if name not in given:
            if name not in ("tokens", "steps"):
                have = f"{scale.low:g} … {scale.high:g}"
                raise InputError(
                    f"{name}: this rule's law is over {', '.join(rule.scales)}: give {name} (measured {have})"
                )
            given[name] = scale.high
    return {name: float(value) for name, value in given.items()}


def _locate(rule: Rule, scales: dict[str, float]) -> _Place:
    factor = 1.0
    for name, value in scales.items():
        factor = max(factor, value / rule.scales[name].high, rule.scales[name].low / value)
    for cell in rule.cells:
        if all(abs(value / cell.scales[name] - 1) < _SAME for name, value in scales.items()):
            spread = math.log(cell.high / cell.low) / (2 * rule.quantile)
            return _Place(scales, math.log(cell.learning_rate), spread**2, "measured", 1.0, cell)
    basis = "extrapolated" if factor > 1 + _SAME else "interpolated"
    log_rate, variance = _predict(rule, scales)
    return _Place(scales, log_rate, variance, basis, factor, None)


def _predict(rule: Rule, scales: Mapping[str, float]) -> tuple[float, float]:
    """Log rate and its variance, that of a single optimum about the law included."""
    if rule.form == "step" and rule.step:
        scale = rule.scales[rule.step.scale]
        value = scales[rule.step.scale]
        beyond = math.log(max(value / scale.high, scale.low / value, 1.0))
        return _predict_step(rule.step, value, rule.discrepancy + _STEP_DRIFT * beyond**2)
    if rule.law is None:
        return _predict_table(rule, scales)
    row = _row(rule.law, rule.scales, scales)
    mean = sum(c * term for c, term in zip(rule.law.coefficients, row, strict=True))
    return mean, _form(rule.law.covariance, row) + rule.discrepancy


def _predict_step(step: Step, value: float, discrepancy: float) -> tuple[float, float]:
    if value <= step.low:
        return step.below, step.below_variance + discrepancy
    if value >= step.high:
        return step.above, step.above_variance + discrepancy
    # Somewhere between the two sizes the rate jumps; where, nobody measured.
    half = (step.above - step.below) / 2
    return step.below + half, half**2 + (step.below_variance + step.above_variance) / 2 + discrepancy


def _predict_table(rule: Rule, scales: Mapping[str, float]) -> tuple[float, float]:
    """Between the two nearest cells on a line of one scale; the nearest cell else, with a wide variance."""
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


def _row(line: Polynomial, scales: Mapping[str, Scale], at: Mapping[str, float]) -> list[float]:
    z = [math.log(at[name] / scale.centre) for name, scale in scales.items()]
    return [math.prod(v**p for v, p in zip(z, exponents, strict=True)) for exponents in line.exponents]


def _form(covariance: tuple[tuple[float, ...], ...], row: list[float]) -> float:
    size = range(len(row))
    return max(0.0, sum(row[i] * covariance[i][j] * row[j] for i in size for j in size))


def _ratio_variance(rule: Rule, start: _Place, end: _Place) -> float:
    if rule.law is None:
        return start.variance + end.variance
    rows = [_row(rule.law, rule.scales, place.scales) for place in (end, start)]
    return _form(rule.law.covariance, [a - b for a, b in zip(*rows, strict=True)]) + 2 * rule.discrepancy


def _interval(log_rate: float, variance: float, quantile: float) -> tuple[float, float, float]:
    half = min(quantile * math.sqrt(variance), math.log(_WIDEST))
    return _exp(log_rate), _exp(log_rate - half), _exp(log_rate + half)


def _exp(value: float) -> float:
    return math.exp(max(-300.0, min(300.0, value)))


def _collapse(rule: Rule, scales: Mapping[str, float]) -> tuple[float | None, float | None]:
    """The rates at which a run in ten, in two, fails; logit(0.1) = −2.197."""
    if rule.boundary is None:
        return None, None
    line = rule.boundary.line
    middle = sum(c * t for c, t in zip(line.coefficients, _row(line, rule.scales, scales), strict=True))
    return _exp(middle - math.log(9) * rule.boundary.width), _exp(middle)


def _safe_range(rule: Rule, place: _Place, rate: float, collapse_10: float | None) -> tuple[float | None, float | None]:
    low = high = None
    if place.cell and place.cell.safe_low is not None and place.cell.safe_high is not None:
        low, high = place.cell.safe_low, place.cell.safe_high
    elif rule.safe_below is not None and rule.safe_above is not None:
        low, high = _exp(place.log_rate - rule.safe_below), _exp(place.log_rate + rule.safe_above)
    if low is None or high is None:
        return None, None
    if collapse_10 is not None:
        high = min(high, collapse_10)
    return min(low, rate), max(high, rate)


def _departures(rule: Rule, asked: Mapping[str, float]) -> tuple[list[str], str]:
    """Sentences about conditions that the question departs from, and the one that makes it unsupported."""
    notes, far = [], ""
    for name, value in asked.items():
        if name in rule.scales and name not in ("tokens", "steps"):
            continue
        known = rule.scales[name].high if name in rule.scales else rule.horizon.get(name)
        if known is not None:
            if value > known * HORIZON_FACTOR:
                far = f"{name} {value:.3g} is {value / known:.3g} times the measured horizon of {known:.3g}"
            elif name not in rule.scales and not 0.5 <= value / known <= 2:
                notes.append(
                    f"measured at {name} {known:.3g}, asked for {value:.3g}: how the rate moves was not measured"
                )
            continue
        condition = rule.conditions.get(name)
        low, high = condition if isinstance(condition, tuple) else (condition, condition)
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            if name != "hidden_size" or rule.conditions:
                notes.append(f"the rule does not know at which {name} it was measured")
        elif not low * (1 - _SAME) <= value <= high * (1 + _SAME):
            span = f"{low:g}" if low == high else f"{low:g} … {high:g}"
            notes.append(f"measured at {name} {span}, asked for {value:g}: how the rate moves was not measured")
    return notes, far


def _ranges(rule: Rule) -> str:
    return ", ".join(f"{name} {scale.low:g} … {scale.high:g}" for name, scale in rule.scales.items())


def _one_sided(cell: RuleCell) -> str:
    side = "at least" if cell.bound == "lower" else "at most"
    rate = cell.low if cell.bound == "lower" else cell.high
    return f"only one side of the optimum was sampled here: it is {side} {rate:.3g}"


def _why(rule: Rule, place: _Place) -> str:
    at = ", ".join(f"{name} {value:g}" for name, value in place.scales.items())
    if place.cell:
        return f"measured at {at} with {place.cell.trials} runs; {rule.reason}"
    return f"{place.basis} at {at}; {rule.reason}"
