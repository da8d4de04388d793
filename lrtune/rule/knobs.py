"""Evaluate the laws of a rule's knobs at one place: value, interval, expected regret, and whether it matters.

The knobs' draws are independent of each other: a run's regret is the sum of those along each knob.
"""

import math
from collections.abc import Mapping, Sequence

from lrtune.errors import InputError
from lrtune.named import NamedTuple
from lrtune.rule.advice import KnobAdvice, Recommendation, Transfer
from lrtune.rule.data import WIDEST, KnobLaw, Rule, RuleCell, Zero
from lrtune.rule.doubt import Doubt, too_costly
from lrtune.rule.drawn import EVERY_RATE, Place, advise, interval, locate, normal, quantile, regrets, safe_range
from lrtune.rule.knob import FIRST
from lrtune.rule.question import placed

_STRIDE = 27  # coprime to the number of draws: a knob's draws meet others than those of the same component
_EDGE = 0.02  # octaves


class Along(NamedTuple):
    """The answer along one knob, and its regret by draw."""

    advice: KnobAdvice
    lost: list[float]


def along_knobs(rule: Rule, scales: Mapping[str, float], rate: float) -> dict[str, Along]:
    """The answer for each knob of a rule at these scales, given the learning rate that is used."""
    values, found = {FIRST: rate}, {}
    for name in sorted(rule.knobs, key=lambda name: bool(rule.knobs[name].coordinate.relative)):
        found[name] = _along(name, rule.knobs[name], scales, values, rule)
        values[name] = found[name].advice.value
    return {name: found[name] for name in rule.knobs}


def values_at(rule: Rule, scales: Mapping[str, float], rate: float) -> dict[str, float]:
    """The best value of each knob at these scales and this learning rate."""
    return {name: one.advice.value for name, one in along_knobs(rule, scales, rate).items()}


def tried(cells: Sequence[RuleCell]) -> tuple[float, float] | None:
    """The lowest and highest log2 coordinate of the finished runs of these cells, or None."""
    every = [math.log2(rate) for cell in cells for rate in (cell.tried_low, cell.tried_high) if rate]
    return (min(every), max(every)) if every else None


def all_safe(place: Place, best: float, span: tuple[float, float], tolerance: float) -> bool:
    """Whether every log2 coordinate of the span costs at most the tolerance with 90% probability."""
    safe = safe_range(place, best, tolerance)
    return safe is not None and safe[0] <= span[0] + _EDGE and safe[1] >= span[1] - _EDGE


def together(lost: Sequence[list[float]]) -> list[float]:
    """The regret of all knobs by draw, given that of each."""
    count = len(lost[0])
    return [sum(one[(d * _STRIDE**i) % len(one)] for i, one in enumerate(lost)) for d in range(count)]


def value_of(advice: Recommendation | Transfer, knob: str) -> float:
    """The recommended value of a knob.

    Raises:
        InputError: the rule has no such knob.
    """
    if knob == FIRST:
        return advice.learning_rate
    knobs = advice.knobs if isinstance(advice, Recommendation) else {}
    if knob not in knobs:
        raise InputError(f"knob: expected one of {', '.join((FIRST, *knobs))}, but got {knob!r:.40}")
    return knobs[knob].value


def plain_data(advice: Recommendation | Transfer) -> dict[str, object]:
    """Doubt and knobs of an answer as text and numbers, for a file."""
    given = advice.knobs if isinstance(advice, Recommendation) else {}
    knobs = {name: one._asdict() | {"doubt": one.doubt and one.doubt.name.lower()} for name, one in given.items()}
    return {"doubt": advice.doubt and advice.doubt.name.lower(), **({"knobs": knobs} if knobs else {})}


def _along(name: str, law: KnobLaw, scales: Mapping[str, float], values: Mapping[str, float], whole: Rule) -> Along:
    rule, draws = law.rule, law.rule.draws
    assert draws is not None
    place = placed(rule, {each: scales[each] for each in rule.scales})
    at = locate(rule, draws, place.scales)
    cells = [place.cell] if place.cell else list(rule.cells)
    span = tried(cells)
    best = advise(at, *(span if place.cell and span else EVERY_RATE))
    lost = regrets(at, best)
    ends = interval(at.optimum, whole.level, smooth=not place.cell)
    reach = math.log2(WIDEST)
    ends = max(min(ends[0], best), best - reach), min(max(ends[1], best), best + reach)
    every = tried(rule.cells)
    matters = not (every and all_safe(at, best, every, whole.tolerance))
    safe = safe_range(at, best, whole.tolerance)
    if not matters and safe and every:
        safe = max(safe[0], every[0]), min(safe[1], every[1])
    low, middle, high, *safes = (law.coordinate.value(2.0**x, values) for x in (ends[0], best, ends[1], *(safe or ())))
    if law.zero:
        low, middle, high, lost, safes = _with_zero(law.zero, low, middle, high, lost, safes, whole.level)
    mean, worst = sum(lost) / len(lost), quantile(lost, 0.9)
    costly = too_costly(name, mean, worst, whole.tolerance)
    one_sided = matters and middle > 0 and all(cell.bound for cell in cells)
    doubt = costly.doubt if costly else Doubt.ONE_SIDED if one_sided else None
    return Along(
        KnobAdvice(
            value=middle,
            low=low,
            high=high,
            coordinate=str(law.coordinate),
            law=rule.reason,
            basis=place.basis,
            supported=doubt is None,
            matters=matters,
            regret=mean,
            regret_90=worst,
            tolerance=whole.tolerance,
            safe_low=safes[0] if safes and not doubt else None,
            safe_high=safes[1] if safes and not doubt else None,
            doubt=doubt,
        ),
        lost,
    )


def _with_zero(
    zero: Zero, low: float, middle: float, high: float, lost: list[float], safes: list[float], level: float
) -> tuple[float, float, float, list[float], list[float]]:
    """The answer if zero is possible too: zero if its expected loss is less, else with the regret of not taking it.

    The difference is Gaussian; its quantiles are paired with the draws.
    """
    gap = zero.above - sum(lost) / len(lost)
    count = len(lost)
    above = [gap + zero.error * normal((d + 0.5) / count) for d in range(count)]
    chance = sum(value < 0 for value in above) / count
    low = 0.0 if chance > (1 - level) / 2 else low
    if gap >= 0:
        return low, middle, high, [one + max(-value, 0.0) for one, value in zip(lost, above, strict=True)], safes
    high = 0.0 if chance > (1 + level) / 2 else high
    return 0.0, 0.0, high, [max(value, 0.0) for value in above], []
