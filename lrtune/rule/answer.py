"""Evaluate a rule at one place: rate, interval, expected regret, and whether the data support the answer.

Pure functions of a `Rule`. `lrtune.rule.ask` finds the rule; `lrtune.rule.export` copies this file, with
`lrtune.rule.drawn` and `lrtune.rule.former`, into a standalone module.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from lrtune.errors import InputError
from lrtune.rule.data import Recommendation, Rule, RuleCell, Transfer
from lrtune.rule.drawn import advise, interval, locate, quantile, regrets, safe_range
from lrtune.rule.former import predict, ratio_variance, row

SUPPORTED_FACTOR = 2.0  # schema 1: a rule supports an answer whose interval stays within this factor of the rate
HORIZON_FACTOR = 2.0  # a rule supports rates up to this factor from its only measured horizon
WORST_FACTOR = 3.0  # limit of the 90% quantile of regret, in tolerances
_UNSUPPORTED = "not supported by the data"
PROVISIONAL = "this rule is provisional; `lrtune search` measures your own"
_WIDEST = 100.0  # limit of an interval's factor from the rate: wider intervals carry no information
_SAME = 1e-6


class _Place(NamedTuple):
    """Where a question lies: its scales, and how it relates to what was measured."""

    scales: dict[str, float]
    basis: str
    factor: float
    cell: RuleCell | None


class _Verdict(NamedTuple):
    """The answer at a place: rate, interval, safe range, regret of this rate and of `at`, doubt and notes."""

    rate: float
    low: float
    high: float
    safe: tuple[float, float] | None
    regret: tuple[float, float] | None
    at: tuple[float, float] | None
    doubt: str
    notes: list[str]


def answer(
    rule: Rule, hidden_size: float | None, scales: Mapping[str, float], at: float | None = None
) -> Recommendation:
    """What `rule` says at this hidden size and these further scales; `at` is another rate to judge.

    Raises:
        InputError: a scale is missing, unknown or not positive.
    """
    asked = _asked(rule, hidden_size, scales)
    if at is not None:
        _check_rate("at", at)
        if rule.draws is None:
            raise InputError("at: this rule file has an older schema without costs; run `lrtune fit` to write it again")
    place = _locate(rule, {name: asked[name] for name in rule.scales})
    collapse_10, collapse_50 = _collapse(rule, place.scales)
    notes, far = _departures(rule, asked)
    if place.basis == "extrapolated":
        notes.insert(0, f"extrapolated by a factor of {place.factor:.3g} beyond the measured range ({_ranges(rule)})")
    if place.cell and place.cell.bound:
        notes.insert(0, _one_sided(place.cell))
    verdict = _drawn(rule, place, collapse_10, at) if rule.draws else _former(rule, place, collapse_10, collapse_50)
    doubt = far or verdict.doubt
    if doubt:
        notes.insert(0, f"{_UNSUPPORTED}: {doubt}")
    if rule.provisional:
        notes.append(PROVISIONAL)
    notes += verdict.notes
    ratio, steps = rule.advice.get("stage2_ratio"), _steps(rule, asked)
    safe_low, safe_high = verdict.safe if verdict.safe and not (rule.draws and doubt) else (None, None)
    return Recommendation(
        learning_rate=verdict.rate,
        low=verdict.low,
        high=verdict.high,
        level=rule.level,
        basis=place.basis,
        extrapolation=place.factor,
        supported=not doubt,
        why=_why(rule, place),
        scales=asked,
        safe_low=safe_low,
        safe_high=safe_high,
        collapse_10=collapse_10,
        collapse_50=collapse_50,
        stage2_learning_rate=None if ratio is None else verdict.rate * ratio,
        weight_decay=rule.advice.get("weight_decay"),
        weight_decay_stage2=rule.advice.get("weight_decay_stage2"),
        warmup_steps=_warmup(rule, steps),
        horizon_tokens=asked.get("tokens", rule.horizon.get("tokens")),
        horizon_steps=steps,
        conditions=rule.conditions,
        warnings=tuple(notes),
        source=rule.source,
        regret=verdict.regret[0] if verdict.regret else None,
        regret_90=verdict.regret[1] if verdict.regret else None,
        at=at,
        at_regret=verdict.at[0] if verdict.at else None,
        at_regret_90=verdict.at[1] if verdict.at else None,
    )


def _drawn(rule: Rule, place: _Place, collapse_10: float | None, at: float | None) -> _Verdict:
    """From the draws: the rate with the least expected regret, at most the rate at which 1 run in 10 collapses."""
    assert rule.draws is not None
    draws = locate(rule, rule.draws, place.scales)
    low, high = -60.0, 60.0
    cell = place.cell
    if cell and cell.tried_low and cell.tried_high:
        low, high = math.log2(cell.tried_low), math.log2(cell.tried_high)
    best = advise(draws, low, high)
    notes = []
    if collapse_10 is not None and math.log2(collapse_10) < best:
        notes.append(
            f"limited to the rate at which 1 run in 10 collapses, {collapse_10:.3g} (least loss alone: {2.0**best:.3g})"
        )
        best = math.log2(collapse_10)
    lost = regrets(draws, best)
    mean, worst = sum(lost) / len(lost), quantile(lost, 0.9)
    ends = interval(draws.optimum, rule.level, smooth=draws.measured is None)
    reach = math.log2(_WIDEST)
    ends = max(min(ends[0], best), best - reach), min(max(ends[1], best), best + reach)
    doubt = ""
    if mean > rule.tolerance or worst > WORST_FACTOR * rule.tolerance:
        doubt = (
            f"it may cost {_share(mean)} of loss, {_share(worst)} in one case of ten (tolerance: {rule.tolerance:.2%})"
        )
    elif cell.bound if cell else all(each.bound for each in rule.cells):
        doubt = "runs lie on one side of the optimum only"
    elif not cell and rule.left_out is not None and rule.left_out > rule.tolerance:
        doubt = f"predicting sizes left out of the fit cost {_share(rule.left_out)} of loss"
    safe = safe_range(draws, best, rule.tolerance) if not doubt else None
    if safe and collapse_10 is not None:
        safe = safe[0], max(min(safe[1], math.log2(collapse_10)), best)
    other = regrets(draws, math.log2(at)) if at is not None else None
    return _Verdict(
        rate=2.0**best,
        low=2.0 ** ends[0],
        high=2.0 ** ends[1],
        safe=(2.0 ** safe[0], 2.0 ** safe[1]) if safe else None,
        regret=(mean, worst),
        at=(sum(other) / len(other), quantile(other, 0.9)) if other else None,
        doubt=doubt,
        notes=notes,
    )


def _share(value: float) -> str:
    return f"{value:.0%} or more" if value >= 0.3 else f"{value:.2%}" if value < 0.0995 else f"{value:.0%}"


def _former(rule: Rule, place: _Place, collapse_10: float | None, collapse_50: float | None) -> _Verdict:
    """From the single law of a rule of schema 1."""
    cell = place.cell
    if cell:
        rate, low, high = cell.learning_rate, cell.low, cell.high
    else:
        rate, low, high = _interval(*predict(rule, place.scales), rule.quantile)
    law, notes = rate, []
    wide = high > rate * SUPPORTED_FACTOR * (1 + _SAME) or low * SUPPORTED_FACTOR * (1 + _SAME) < rate
    doubt = f"the interval is {low:.3g} … {high:.3g}" if wide else ""
    if collapse_10 is not None and rate > collapse_10:
        notes.append(f"limited to the rate at which 1 run in 10 collapses, {collapse_10:.3g} (law alone: {rate:.3g})")
        rate = collapse_10
        low, high = min(low, rate), max(min(high, collapse_50 or high), rate)
    safe = None
    if cell and cell.safe_low is not None and cell.safe_high is not None:
        safe = cell.safe_low, cell.safe_high
    elif rule.safe_below is not None and rule.safe_above is not None:
        middle = rate if cell else law
        safe = middle * math.exp(-rule.safe_below), middle * math.exp(rule.safe_above)
    if safe:
        safe = min(safe[0], rate), max(min(safe[1], collapse_10 or safe[1]), rate)
    return _Verdict(rate=rate, low=low, high=high, safe=safe, regret=None, at=None, doubt=doubt, notes=notes)


def carry(rule: Rule, learning_rate: float, start: Mapping[str, float], end: Mapping[str, float]) -> Transfer:
    """Scale a rate tuned at `start` to `end` by the law's ratio.

    Raises:
        InputError: as `answer`, or the given rate is not a positive number.
    """
    _check_rate("learning rate", learning_rate)
    places = []
    for scales in (start, end):
        asked = _asked(rule, None, scales)
        places.append(_locate(rule, {name: asked[name] for name in rule.scales}))
    ratio, low, high, doubt = _drawn_ratio(rule, *places) if rule.draws else _former_ratio(rule, *places)
    worst = max(places, key=lambda place: place.factor)
    notes = [f"{_UNSUPPORTED}: {doubt}"] if doubt else []
    if worst.basis == "extrapolated":
        notes.append(f"extrapolated by a factor of {worst.factor:.3g} beyond the measured range ({_ranges(rule)})")
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
        supported=not doubt,
        why=f"{learning_rate:g} at {_at(places[0].scales)} times the law's ratio {ratio:.3g}; {rule.reason}",
        warnings=tuple(notes),
        source=rule.source,
    )


def _check_rate(where: str, rate: float) -> None:
    if not (isinstance(rate, int | float) and math.isfinite(rate) and rate > 0):
        raise InputError(f"{where}: expected a positive number, but got {rate!r:.40}")


def _drawn_ratio(rule: Rule, start: _Place, end: _Place) -> tuple[float, float, float, str]:
    assert rule.draws is not None
    first, last = (locate(rule, rule.draws, place.scales) for place in (start, end))
    moved = [b - a for a, b in zip(first.optimum, last.optimum, strict=True)]
    low, high = interval(moved, rule.level, smooth=True)
    middle = sum(moved) / len(moved)
    centred = last._replace(optimum=[value - middle for value in moved])
    lost = regrets(centred, 0.0)
    mean, worst = sum(lost) / len(lost), quantile(lost, 0.9)
    doubt = ""
    if mean > rule.tolerance or worst > WORST_FACTOR * rule.tolerance:
        doubt = f"the ratio may cost {_share(mean)} of loss, {_share(worst)} in one case of ten"
    return 2.0**middle, 2.0 ** min(low, middle), 2.0 ** max(high, middle), doubt


def _former_ratio(rule: Rule, start: _Place, end: _Place) -> tuple[float, float, float, str]:
    rates = [
        math.log(place.cell.learning_rate) if place.cell else predict(rule, place.scales)[0] for place in (start, end)
    ]
    variance = 0.0 if start.scales == end.scales else ratio_variance(rule, start.scales, end.scales)
    ratio, low, high = _interval(rates[1] - rates[0], variance, rule.quantile)
    wide = high > ratio * SUPPORTED_FACTOR or low * SUPPORTED_FACTOR < ratio
    return ratio, low, high, f"the ratio's interval is {low:.3g} … {high:.3g}" if wide else ""


def _steps(rule: Rule, asked: Mapping[str, float]) -> float | None:
    """Steps of the run in question; tokens, if given, determine them."""
    if "steps" in asked:
        return asked["steps"]
    tokens, measured = asked.get("tokens"), rule.horizon.get("tokens")
    if tokens is None or (measured is not None and abs(tokens / measured - 1) < _SAME):
        return rule.horizon.get("steps")
    per_step = rule.conditions.get("tokens_per_step")
    is_number = isinstance(per_step, int | float) and not isinstance(per_step, bool) and per_step > 0
    return math.ceil(tokens / per_step) if is_number else None  # type: ignore[operator]


def _warmup(rule: Rule, steps: float | None) -> float | None:
    """Warm-up in steps; if the runs agree only on its share of the steps, that share of `steps`."""
    share = rule.advice.get("warmup_share")
    if "warmup_steps" in rule.advice or share is None or steps is None:
        return rule.advice.get("warmup_steps")
    return float(round(share * steps))


def _asked(rule: Rule, hidden_size: float | None, scales: Mapping[str, float]) -> dict[str, float]:
    """All scales of the question, validated; tokens and steps default to the measured horizon."""
    given = dict(scales) if hidden_size is None else {"hidden_size": hidden_size, **scales}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise InputError(f"{name}: expected a positive number, but got {value!r:.40}")
    for name in given:
        if name not in rule.scales and name not in rule.conditions and name not in ("hidden_size", "tokens", "steps"):
            names = sorted({*rule.scales, *rule.conditions, "tokens", "steps"})
            raise InputError(f"{name}: this rule has no such scale; it has {', '.join(names)}")
    for name, scale in rule.scales.items():
        if name not in given:
            if name not in ("tokens", "steps"):
                have = f"{scale.low:g} … {scale.high:g}"
                raise InputError(f"{name}: this rule needs {', '.join(rule.scales)}; give {name} (measured {have})")
            given[name] = scale.high
    return {name: float(value) for name, value in given.items()}


def _locate(rule: Rule, scales: dict[str, float]) -> _Place:
    factor = 1.0
    for name, value in scales.items():
        factor = max(factor, value / rule.scales[name].high, rule.scales[name].low / value)
    for cell in rule.cells:
        if all(abs(value / cell.scales[name] - 1) < _SAME for name, value in scales.items()):
            return _Place(scales, "measured", 1.0, cell)
    return _Place(scales, "extrapolated" if factor > 1 + _SAME else "interpolated", factor, None)


def _interval(log_rate: float, variance: float, quantile: float) -> tuple[float, float, float]:
    half = min(quantile * math.sqrt(variance), math.log(_WIDEST))
    return _exp(log_rate), _exp(log_rate - half), _exp(log_rate + half)


def _exp(value: float) -> float:
    return math.exp(max(-300.0, min(300.0, value)))


def _collapse(rule: Rule, scales: Mapping[str, float]) -> tuple[float | None, float | None]:
    """The rates at which 10% and 50% of the runs fail; logit(0.1) = −ln 9."""
    if rule.boundary is None:
        return None, None
    line = rule.boundary.line
    middle = sum(c * t for c, t in zip(line.coefficients, row(line, rule.scales, scales), strict=True))
    return _exp(middle - math.log(9) * rule.boundary.width), _exp(middle)


def _departures(rule: Rule, asked: Mapping[str, float]) -> tuple[list[str], str]:
    """Notes on conditions in which the question differs from the runs, and the difference that is too large."""
    notes, far = [], ""
    for name, value in asked.items():
        if name in rule.scales and name not in ("tokens", "steps"):
            continue
        measured = rule.scales[name].high if name in rule.scales else rule.horizon.get(name)
        if measured is not None:
            if name not in rule.scales and not 1 / HORIZON_FACTOR <= value / measured <= HORIZON_FACTOR:
                far = f"{name} {value:.3g} is {value / measured:.3g} times the measured horizon of {measured:.3g}"
            continue
        condition = rule.conditions.get(name)
        low, high = condition if isinstance(condition, tuple) else (condition, condition)
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            if name != "hidden_size" or rule.conditions:
                notes.append(f"the rule does not record the {name} of its runs")
        elif not low * (1 - _SAME) <= value <= high * (1 + _SAME):
            span = f"{low:g}" if low == high else f"{low:g} … {high:g}"
            notes.append(f"measured at {name} {span}, asked for {value:g}: the effect of {name} was not measured")
            if value > high * HORIZON_FACTOR or value < low / HORIZON_FACTOR:
                far = f"{name} {value:g} is more than a factor of {HORIZON_FACTOR:g} from the measured {span}"
    return notes, far


def _ranges(rule: Rule) -> str:
    return ", ".join(f"{name} {scale.low:g} … {scale.high:g}" for name, scale in rule.scales.items())


def _one_sided(cell: RuleCell) -> str:
    side = "at least" if cell.bound == "lower" else "at most"
    rate = cell.low if cell.bound == "lower" else cell.high
    return f"only one side of the optimum was sampled: it is {side} {rate:.3g}"


def _why(rule: Rule, place: _Place) -> str:
    at = _at(place.scales)
    if place.cell:
        return f"measured at {at} with {place.cell.trials} runs; {rule.reason}"
    return f"{place.basis} at {at}; {rule.reason}"


def _at(scales: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in scales.items())
