"""The law in one sentence: a formula with intervals, and its cost when it predicts sizes left out."""

import math
from collections.abc import Mapping

from lrtune.rule.data import RATE_UNIT, Draws, Rule
from lrtune.rule.drawn import interval

_FLAT = 0.12  # an exponent whose interval lies within ±this and includes zero counts as zero


def formula(rule: Rule, lost: Mapping[str, float], quantity: str = "lr") -> str:
    """``lr ≈ 0.0047 · (hidden_size/64)^-1.14 (-1.25 … -1.02)``, and the cost of predicting each size left out.

    `quantity` is what the law is of. Of one measured place there is no law of the rate; the sentence says so.
    """
    assert rule.draws is not None
    factors, remarks = [], []
    what = "rate" if quantity == "lr" else quantity
    log_rate = sum(rule.draws.level) / len(rule.draws.level) * RATE_UNIT
    for index, (name, scale) in enumerate(rule.scales.items()):
        if scale.low == scale.high:
            remarks.append(f"one {name} was measured, {scale.low:g}: no law over it")
            continue
        exponents = [value / math.log2(scale.high / scale.low) for value in _moved(rule, rule.draws, index)]
        middle = sum(exponents) / len(exponents)
        low, high = interval(exponents, rule.level, smooth=True)
        log_rate += middle * math.log2(scale.low / scale.centre)
        factors.append(f"({name}/{scale.low:g})^{middle:z.2f} ({low:z.2f} … {high:z.2f})")
        if low <= 0 <= high and max(-low, high) < _FLAT:
            exponent = f"exponent {middle:z.2f} ({low:z.2f} … {high:z.2f})"
            chance = f"probability {rule.draws.inert[index]:.0%}"
            remarks.append(f"{exponent}: the best {what} does not depend on {name} here ({chance})")
    law = [" · ".join([f"{quantity} ≈ {2.0**log_rate:.3g}", *factors])] if factors or quantity != "lr" else []
    return "; ".join([*law, *remarks, *_foresight(rule, lost)])


def _moved(rule: Rule, draws: Draws, index: int) -> list[float]:
    """Octaves that the optimum moves along one scale from its smallest to its largest value, by draw."""
    scale = list(rule.scales.values())[index]
    start, end = (math.log(value / scale.centre) for value in (scale.low, scale.high))
    count = len(rule.scales)
    bend = draws.bends[[(i, j) for i in range(count) for j in range(i, count)].index((index, index))]
    wander = draws.wander[index]
    return [
        (draws.slopes[index][d] * (end - start) + bend[d] * (end**2 - start**2) / 2 + wander[-1][d] - wander[0][d])
        * RATE_UNIT
        for d in range(len(draws.level))
    ]


def _foresight(rule: Rule, lost: Mapping[str, float]) -> list[str]:
    if not lost:
        return []
    mean, worst = sum(lost.values()) / len(lost), max(lost, key=lambda key: lost[key])
    name, value = worst.rsplit(" ", 1)
    text = f"predicting each value of {name} from the others costs {mean:.2%} of loss"
    text += f" ({lost[worst]:.2%} at {value})"
    return [text if mean <= rule.tolerance else f"do not rely on it at other sizes: {text}"]
