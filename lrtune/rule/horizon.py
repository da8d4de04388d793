"""Tokens, steps and batch of a question in the units of the rule.

`lrtune.rule.export` copies this file into a standalone module.
"""

import math
from collections.abc import Mapping

from lrtune.errors import InputError
from lrtune.rule.data import Rule

_ROUNDING = 0.005  # relative difference of tokens that comes from rounding


def in_units_of(rule: Rule, asked: Mapping[str, float]) -> dict[str, float]:
    """The question with its length in the rule's scale, and its batch as the rule calls it.

    Raises:
        InputError: tokens contradict steps, or the tokens of a step, which convert one to the other, are unknown.
    """
    place, scales = dict(asked), rule.scales
    if "tokens_per_step" in rule.conditions and "batch_tokens" not in {*scales, *rule.conditions}:
        place = {"tokens_per_step" if name == "batch_tokens" else name: value for name, value in place.items()}
    rate = _tokens_per_step(rule, place)
    for given, own in (("tokens", "steps"), ("steps", "tokens")):
        if given not in place or given in scales or not (own in scales or own in place):
            continue
        if rate is None and own in place:
            continue
        if rate is None:
            if "batch_tokens" in scales:
                over = ", ".join(scales)
                raise InputError(f"{given}: expected batch_tokens too, since the law of this rule is over {over}")
            raise InputError(f"{given}: expected {own} instead, since the runs did not say how many tokens a step has")
        value = place[given] * rate if own == "tokens" else math.ceil(place[given] / rate)
        if abs(place.setdefault(own, float(value)) - value) > max(_ROUNDING * value, 1.0):
            raise InputError(
                f"{own}: expected {value:,.0f}, since {given} is {place[given]:,.0f} at {rate:,.0f} tokens a step, "
                f"but got {place[own]:,.0f}"
            )
        if own in scales:
            del place[given]
    return place


def lengths(rule: Rule, asked: Mapping[str, float]) -> tuple[float | None, float | None]:
    """Tokens and steps of the run in question; None if unknown."""
    tokens, steps = asked.get("tokens"), asked.get("steps")
    measured = rule.horizon.get("tokens"), rule.horizon.get("steps")
    if "batch_tokens" not in rule.scales:
        if tokens is None and _is_near(steps, measured[1]):
            tokens = measured[0]
        if steps is None and _is_near(tokens, measured[0]):
            steps = measured[1]
    elif tokens is None and steps is None:
        steps = measured[1]
    rate = _tokens_per_step(rule, asked)
    if rate and tokens is None and steps is not None:
        tokens = steps * rate
    if rate and steps is None and tokens is not None:
        steps = float(math.ceil(tokens / rate))
    return tokens, steps


def _is_near(value: float | None, measured: float | None) -> bool:
    """Whether a length is the measured one, or left open."""
    return value is None or (measured is not None and abs(value / measured - 1) < 1e-6)


def _tokens_per_step(rule: Rule, asked: Mapping[str, float]) -> float | None:
    """Tokens of one step: of the question, or those that all runs share."""
    if "batch_tokens" in asked:
        return asked["batch_tokens"]
    for name in ("tokens_per_step", "batch_tokens"):
        value = asked.get(name, rule.conditions.get(name))
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and name not in rule.scales:
            return float(value)
    return None
