"""Scale a rate from one size to another by the law's ratio."""

import math
from collections.abc import Mapping

from lrtune.named import NamedTuple
from lrtune.rule.advice import Transfer
from lrtune.rule.answer import check_rate, unpredictable
from lrtune.rule.data import Rule
from lrtune.rule.doubt import Doubt, Unsupported, too_costly, too_wide
from lrtune.rule.drawn import interval, locate, quantile, regrets
from lrtune.rule.former import log_interval, predict, ratio_variance
from lrtune.rule.question import (
    HORIZON_FACTOR,
    ROUNDING,
    Question,
    all_scales,
    beyond_range,
    higher,
    lengths,
    placed,
    unchecked,
)


class _Ratio(NamedTuple):
    ratio: float
    low: float
    high: float
    doubt: Unsupported | None
    regret: float | None = None
    regret_90: float | None = None


def carry(rule: Rule, learning_rate: float, start: Mapping[str, float], end: Mapping[str, float]) -> Transfer:
    """Scale a rate tuned at `start` to `end` by the law's ratio.

    Raises:
        InputError: as `answer`, or the given rate is not a positive number.
    """
    check_rate("learning rate", learning_rate)
    asked = [all_scales(rule, None, scales) for scales in (_with(start, end), _with(end, start))]
    places = [placed(rule, scales) for scales in asked]
    law = _drawn_ratio(rule, *places) if rule.draws else _former_ratio(rule, *places)
    worst = max(places, key=lambda place: place.factor)
    cut = unchecked(rule, places[0]) or unchecked(rule, places[1])
    if cut and (law.doubt is None or law.doubt.doubt is not Doubt.COSTLY):
        law = law._replace(doubt=cut, regret=None, regret_90=None)
    doubt = _unknown_effect(rule, *asked) or law.doubt
    notes = [str(doubt)] if doubt else []
    if cut and doubt is not cut:
        notes.append(cut.text if law.regret is None else higher(cut))
    if worst.basis == "extrapolated":
        notes.append(beyond_range(rule, worst))
    return Transfer(
        learning_rate=learning_rate * law.ratio,
        low=learning_rate * law.low,
        high=learning_rate * law.high,
        level=rule.level,
        ratio=law.ratio,
        ratio_low=law.low,
        ratio_high=law.high,
        basis="extrapolated" if worst.basis == "extrapolated" else "interpolated",
        extrapolation=worst.factor,
        supported=doubt is None,
        why=f"{learning_rate:g} at {places[0]} times the law's ratio {law.ratio:.3g}; {rule.reason}",
        warnings=tuple(notes),
        source=rule.source,
        doubt=doubt.doubt if doubt else None,
        regret=law.regret,
        regret_90=law.regret_90,
    )


def _with(own: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    """The scales of one end; those that it leaves out are the other's. Tokens and steps are one length."""
    length = {"tokens", "steps"} if {"tokens", "steps"} & own.keys() else set()
    return {**{name: value for name, value in others.items() if name not in length}, **own}


def _unknown_effect(rule: Rule, start: Mapping[str, float], end: Mapping[str, float]) -> Unsupported | None:
    """The doubt about ends that differ by more than a factor of two in what the law is not over."""
    ends = [dict(asked) for asked in (start, end)]
    if not {"tokens", "steps"} & rule.scales.keys():
        for asked in ends:
            tokens, steps = lengths(rule, asked)
            asked |= {} if steps is None else {"steps": steps}
            asked |= {} if tokens is None else {"tokens": tokens}
    for name in {**start, **end, **ends[0]}:
        if name in rule.scales or not (name in ends[0] and name in ends[1]):
            continue
        factor = ends[1][name] / ends[0][name]
        if not 1 / HORIZON_FACTOR <= factor <= HORIZON_FACTOR:
            text = f"the ends differ by a factor of {factor:.3g} in {name}, and this rule's law is not over {name}"
            return Unsupported(Doubt.FAR_HORIZON if name in ("tokens", "steps") else Doubt.FAR_CONDITION, text)
    return None


def _drawn_ratio(rule: Rule, start: Question, end: Question) -> _Ratio:
    assert rule.draws is not None
    first = locate(rule, rule.draws, start.scales)
    is_same = all(abs(value / end.scales[name] - 1) < ROUNDING for name, value in start.scales.items())
    last = locate(rule, rule.draws, end.scales, second=not is_same)
    moved = [b - a for a, b in zip(first.optimum, last.optimum, strict=True)]
    low, high = interval(moved, rule.level, smooth=True)
    middle = sum(moved) / len(moved)
    centred = last._replace(optimum=[value - middle for value in moved])
    lost = regrets(centred, 0.0)
    mean, worst = sum(lost) / len(lost), quantile(lost, 0.9)
    doubt = too_costly("the ratio", mean, worst, rule.tolerance)
    if doubt is None and not (start.cell and end.cell):
        doubt = unpredictable(rule)
    return _Ratio(2.0**middle, 2.0 ** min(low, middle), 2.0 ** max(high, middle), doubt, mean, worst)


def _former_ratio(rule: Rule, start: Question, end: Question) -> _Ratio:
    rates = [
        math.log(place.cell.learning_rate) if place.cell else predict(rule, place.scales)[0] for place in (start, end)
    ]
    variance = 0.0 if start.scales == end.scales else ratio_variance(rule, start.scales, end.scales)
    ratio, low, high = log_interval(rates[1] - rates[0], variance, rule.quantile)
    return _Ratio(ratio, low, high, too_wide("the ratio's interval", ratio, low, high))
