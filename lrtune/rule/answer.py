"""Evaluate a rule at one place: rate, interval, expected regret, and whether the data support the answer.

Pure functions of a `Rule`. `lrtune.rule.ask` finds the rule; `lrtune.rule.export` copies this file, and those of
this package that it imports, into a standalone module.
"""

import math
from collections.abc import Mapping

from lrtune.errors import InputError
from lrtune.named import NamedTuple
from lrtune.rule.advice import KnobAdvice, Recommendation
from lrtune.rule.data import WIDEST, Rule, RuleCell, exponential
from lrtune.rule.doubt import Doubt, Unsupported, percent, too_costly, too_wide
from lrtune.rule.drawn import EVERY_RATE, advise, interval, locate, quantile, regrets, safe_range
from lrtune.rule.question import Question, all_scales, beyond_range, departures, higher, lengths, placed, unchecked

_LEAST_LEVELS = 3  # of a scale, to predict each from the others
PROVISIONAL = "this rule is provisional; `lrtune search` measures your own"


class _Verdict(NamedTuple):
    """The answer at a place: rate, interval, safe range, regret by draw, that of `at`, doubt and notes."""

    rate: float
    low: float
    high: float
    safe: tuple[float, float] | None
    lost: list[float] | None
    at: tuple[float, float] | None
    doubt: Unsupported | None
    notes: list[str]


def answer(
    rule: Rule,
    hidden_size: float | None,
    scales: Mapping[str, float],
    at: float | None = None,
    *,
    with_safe_range: bool = True,
) -> Recommendation:
    """What `rule` says at this hidden size and these further scales; `at` is another rate to judge.

    The safe range takes half of the time.

    Raises:
        InputError: a scale is missing, unknown or not positive.
    """
    asked = all_scales(rule, hidden_size, scales)
    if at is not None:
        check_rate("at", at)
        if rule.draws is None:
            raise InputError("at: this rule file has an older schema without costs; run `lrtune fit` to write it again")
    place = placed(rule, asked)
    collapse_10, collapse_50, variance = _collapse(rule, place.scales)
    notes, far = departures(rule, asked)
    if place.basis == "extrapolated":
        notes.insert(0, beyond_range(rule, place))
    if place.cell and place.cell.bound:
        notes.insert(0, _one_sided(place.cell))
    if rule.draws:
        verdict = _drawn(rule, place, collapse_10, variance, at, with_safe_range)
    else:
        verdict = _former(rule, place, collapse_10, collapse_50)
    knobs, lost, doubt = _with_knobs(rule, place, verdict) if rule.knobs else ({}, verdict.lost, verdict.doubt)
    cut = unchecked(rule, place)
    if cut and (doubt is None or doubt.doubt is not Doubt.COSTLY):  # it is why the runs lie on one side
        doubt, lost = cut, None  # what was cut may win late, by any amount
    at_cost = None if cut else verdict.at
    doubt = far or doubt
    if doubt:
        notes.insert(0, str(doubt))
    if cut and doubt is not cut:
        notes.append(higher(cut) if lost else cut.text)
    if rule.provisional:
        notes.append(PROVISIONAL)
    notes += verdict.notes
    ratio, (tokens, steps) = rule.advice.get("stage2_ratio"), lengths(rule, asked)
    safe_low, safe_high = verdict.safe if verdict.safe and not doubt else (None, None)
    return Recommendation(
        learning_rate=verdict.rate,
        low=verdict.low,
        high=verdict.high,
        level=rule.level,
        basis=place.basis,
        extrapolation=place.factor,
        supported=doubt is None,
        why=_why(rule, place),
        scales=asked,
        safe_low=safe_low,
        safe_high=safe_high,
        collapse_10=collapse_10,
        collapse_50=collapse_50,
        stage2_learning_rate=None if ratio is None else verdict.rate * ratio,
        weight_decay=knobs["weight_decay"].value if "weight_decay" in knobs else rule.advice.get("weight_decay"),
        weight_decay_stage2=rule.advice.get("weight_decay_stage2"),
        warmup_steps=_warmup(rule, steps),
        horizon_tokens=tokens,
        horizon_steps=steps,
        conditions=rule.conditions,
        warnings=tuple(notes),
        source=rule.source,
        regret=sum(lost) / len(lost) if lost else None,
        regret_90=quantile(lost, 0.9) if lost else None,
        at=at,
        at_regret=at_cost[0] if at_cost else None,
        at_regret_90=at_cost[1] if at_cost else None,
        doubt=doubt.doubt if doubt else None,
        knobs=knobs,
    )


def _with_knobs(
    rule: Rule, place: Question, verdict: _Verdict
) -> tuple[dict[str, KnobAdvice], list[float] | None, Unsupported | None]:
    """The answer for each knob, the regret of all together, and the doubt.

    The knobs raise one if one of them lies to one side of its runs, or all together cost too much.
    """
    from lrtune.rule.knobs import along_knobs, together

    along = along_knobs(rule, place.scales, verdict.rate)
    knobs = {name: one.advice for name, one in along.items()}
    if verdict.lost is None:
        return knobs, None, verdict.doubt
    lost = together([verdict.lost, *(one.lost for one in along.values())])
    beside = [name for name, one in knobs.items() if one.doubt is Doubt.ONE_SIDED]
    if beside:
        return knobs, lost, Unsupported(Doubt.ONE_SIDED, f"runs lie on one side of the best {beside[0]} only")
    cost = too_costly("its knobs together", sum(lost) / len(lost), quantile(lost, 0.9), rule.tolerance)
    return knobs, lost, cost or verdict.doubt


def _drawn(
    rule: Rule, place: Question, collapse_10: float | None, variance: float, at: float | None, with_safe_range: bool
) -> _Verdict:
    """From the draws: the rate with the least expected regret, at most the rate at which 1 run in 10 collapses.

    The interval of a limited rate begins as low as that line may lie; `variance` is that of its log rate.
    """
    assert rule.draws is not None
    draws = locate(rule, rule.draws, place.scales)
    low, high = EVERY_RATE
    cell = place.cell
    if cell and cell.tried_low and cell.tried_high:
        low, high = math.log2(cell.tried_low), math.log2(cell.tried_high)
    best = advise(draws, low, high)
    unsure, notes = 0.0, []
    if collapse_10 is not None and math.log2(collapse_10) < best:
        notes.append(
            f"limited to the rate at which 1 run in 10 collapses, {collapse_10:.3g} (least loss alone: {2.0**best:.3g})"
        )
        best, unsure = math.log2(collapse_10), rule.quantile * math.sqrt(variance) / math.log(2)
    lost = regrets(draws, best)
    mean, worst = sum(lost) / len(lost), quantile(lost, 0.9)
    ends = interval(draws.optimum, rule.level, smooth=not cell)
    reach = math.log2(WIDEST)
    ends = max(min(ends[0], best - unsure), best - reach), min(max(ends[1], best), best + reach)
    doubt = too_costly("it", mean, worst, rule.tolerance)
    if not doubt and (cell.bound if cell else all(each.bound for each in rule.cells)):
        doubt = Unsupported(Doubt.ONE_SIDED, "runs lie on one side of the optimum only")
    if not doubt and not (cell and cell.tried_low):
        doubt = unpredictable(rule)
    safe = safe_range(draws, best, rule.tolerance) if with_safe_range and not doubt else None
    if safe and collapse_10 is not None:
        safe = safe[0], max(min(safe[1], math.log2(collapse_10)), best)
    other = regrets(draws, math.log2(at)) if at is not None else None
    return _Verdict(
        rate=2.0**best,
        low=2.0 ** ends[0],
        high=2.0 ** ends[1],
        safe=(2.0 ** safe[0], 2.0 ** safe[1]) if safe else None,
        lost=lost,
        at=(sum(other) / len(other), quantile(other, 0.9)) if other else None,
        doubt=doubt,
        notes=notes,
    )


def _former(rule: Rule, place: Question, collapse_10: float | None, collapse_50: float | None) -> _Verdict:
    """From the single law of a rule of schema 1."""
    from lrtune.rule.former import log_interval, predict

    cell = place.cell
    if cell:
        rate, low, high = cell.learning_rate, cell.low, cell.high
    else:
        rate, low, high = log_interval(*predict(rule, place.scales), rule.quantile)
    law, notes = rate, []
    is_limited = collapse_10 is not None and rate > collapse_10
    doubt = too_wide("the interval of the law alone" if is_limited else "the interval", rate, low, high)
    if collapse_10 is not None and is_limited:
        notes.append(f"limited to the rate at which 1 run in 10 collapses, {collapse_10:.3g} (law alone: {rate:.3g})")
        rate = collapse_10
        low, high = min(low, rate), max(min(high, collapse_50 or high), rate)
    safe = None
    if cell and cell.safe_low is not None and cell.safe_high is not None:
        safe = cell.safe_low, cell.safe_high
    elif rule.safe_below is not None and rule.safe_above is not None:
        middle = rate if cell else law
        safe = middle * exponential(-rule.safe_below), middle * exponential(rule.safe_above)
    if safe:
        safe = min(safe[0], rate), max(min(safe[1], collapse_10 or safe[1]), rate)
    return _Verdict(rate=rate, low=low, high=high, safe=safe, lost=None, at=None, doubt=doubt, notes=notes)


def unpredictable(rule: Rule) -> Unsupported | None:
    """The doubt about an unmeasured size: the regret of predicting measured ones without their runs is too large."""
    if rule.left_out is None or rule.left_out <= rule.tolerance:
        return None
    text = f"predicting each value of {left_out_scale(rule)} from the others costs {percent(rule.left_out)} of loss"
    return Unsupported(Doubt.UNPREDICTABLE, text)


def left_out_scale(rule: Rule) -> str | None:
    """The scale whose values are each predicted from the others: the first of at least three; None if none has them."""
    counts = {name: len({cell.scales[name] for cell in rule.cells}) for name in rule.scales}
    return next((name for name, count in counts.items() if count >= _LEAST_LEVELS), None)


def check_rate(where: str, rate: float) -> None:
    """Raise an `InputError` if a given rate is not a positive number."""
    if not (isinstance(rate, int | float) and math.isfinite(rate) and rate > 0):
        raise InputError(f"{where}: expected a positive number, but got {rate!r:.40}")


def _warmup(rule: Rule, steps: float | None) -> float | None:
    """Warm-up in steps; if the runs agree only on its share of the steps, that share of `steps`."""
    share = rule.advice.get("warmup_share")
    if "warmup_steps" in rule.advice or share is None or steps is None:
        return rule.advice.get("warmup_steps")
    return float(round(share * steps))


def _collapse(rule: Rule, scales: Mapping[str, float]) -> tuple[float | None, float | None, float]:
    """The rates at which 10% and 50% of the runs fail, logit(0.1) = −ln 9, and the variance of their logs."""
    if rule.boundary is None:
        return None, None, 0.0
    line = rule.boundary.line
    middle, variance = line.at(line.terms(rule.scales, scales))
    return exponential(middle - math.log(9) * rule.boundary.width), exponential(middle), variance


def _one_sided(cell: RuleCell) -> str:
    side = "at least" if cell.bound == "lower" else "at most"
    rate = cell.low if cell.bound == "lower" else cell.high
    return f"only one side of the optimum was sampled: it is {side} {rate:.3g}"


def _why(rule: Rule, place: Question) -> str:
    if place.cell:
        cut = ", all above the best ended early" if place.cell.cut else ""
        few = ", too few for an optimum of their own" if place.basis != "measured" else ""
        runs = f"{place.cell.trials} run{'s' if place.cell.trials != 1 else ''}"
        return f"{place.basis} at {place} with {runs}{few}{cut}; {rule.reason}"
    return f"{place.basis} at {place}; {rule.reason}"
