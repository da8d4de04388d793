"""A question to a rule: its scales, its place among the measured ones, and how its conditions differ from theirs.

Tokens, steps and batch of a question are converted to the units of the rule.
"""

import math
from collections.abc import Mapping

from lrtune.errors import InputError
from lrtune.named import NamedTuple
from lrtune.rule.data import SAME, Rule, RuleCell
from lrtune.rule.doubt import Doubt, Unsupported

LENGTHS = ("steps", "tokens", "batch_tokens")  # scales that runs count, with a flag of their own
EXTRAPOLATED = "extrapolated: "  # begins the note about an extrapolation
HORIZON_FACTOR = 2.0  # a rule supports rates up to this factor from the lengths of its runs
ROUNDING = 0.005  # relative difference of lengths that comes from rounding


class Question(NamedTuple):
    """The law's scales at the place in question; `factor` is the distance beyond the measured range."""

    scales: dict[str, float]
    basis: str
    factor: float
    cell: RuleCell | None

    def __str__(self) -> str:
        return ", ".join(f"{name} {number(value)}" for name, value in self.scales.items())


def all_scales(rule: Rule, hidden_size: float | None, scales: Mapping[str, float]) -> dict[str, float]:
    """All scales of a question, validated; tokens, steps and a batch that it names default to the measured horizon."""
    given = dict(scales) if hidden_size is None else {"hidden_size": hidden_size, **scales}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e30:
            raise InputError(f"{name}: expected a positive number up to 1e30, but got {value!r:.40}")
    if "batch_tokens" in rule.scales and "batch_tokens" in rule.horizon:
        given.setdefault("batch_tokens", rule.horizon["batch_tokens"])
    given = in_units_of(rule, given)
    for name in given:
        if name not in rule.scales and name not in rule.conditions and name not in ("hidden_size", "tokens", "steps"):
            names = ", ".join(sorted({*rule.scales, *rule.conditions, *rule.horizon}))
            is_own = name == "batch_tokens" and "batch" in rule.scales
            why = (
                "; batch is in the trainer's own unit: the runs did not say how many tokens a step has"
                if is_own
                else ""
            )
            raise InputError(f"{name}: this rule has no such scale; it has {names}{why}")
    for name, scale in rule.scales.items():
        if name in ("tokens", "steps"):
            given.setdefault(name, rule.horizon.get(name, scale.high))
    missing = [name for name in rule.scales if name not in given]
    if missing:
        words = asking({**{name: scale.high for name, scale in rule.scales.items()}, **given})
        raise InputError(
            f"{', '.join(missing)}: expected a value, since {_over(rule)}; as in `lrtune lr {' '.join(words)}`"
        )
    return {name: float(value) for name, value in given.items()}


def placed(rule: Rule, asked: Mapping[str, float]) -> Question:
    """The question's place: measured, between measured sizes, or beyond them."""
    scales = {name: _measured(rule, name, asked[name]) for name in rule.scales}
    factor = 1.0
    for name, value in scales.items():
        factor = max(factor, value / rule.scales[name].high, rule.scales[name].low / value)
    for cell in rule.cells:
        if cell.is_at(scales):
            return Question(scales, "interpolated" if _is_thin(rule, cell) else "measured", 1.0, cell)
    return Question(scales, "extrapolated" if factor > 1 + SAME else "interpolated", factor, None)


def _is_thin(rule: Rule, cell: RuleCell) -> bool:
    """Whether a cell has too few runs for an optimum of its own: its answer is the law's, perhaps beyond its runs."""
    return rule.draws is not None and cell.bound is None and cell.tried_low is None


def _measured(rule: Rule, name: str, value: float) -> float:
    """A length without its difference from a measured one that comes from rounding."""
    measured = [cell.scales[name] for cell in rule.cells if name in LENGTHS]
    nearest = min(measured, key=lambda known: abs(known - value), default=value)
    return nearest if abs(value / nearest - 1) < ROUNDING else value


def beyond_range(rule: Rule, asked: Question) -> str:
    """The note about an extrapolation: how far the scales lie beyond the measured ones."""
    far = []
    for name, value in asked.scales.items():
        scale = rule.scales[name]
        if value > scale.high * (1 + SAME):
            far.append(f"{name} is {value / scale.high:.3g}× the largest measured ({number(scale.high)})")
        elif value < scale.low * (1 - SAME):
            far.append(f"{name} is {value / scale.low:.3g}× the smallest measured ({number(scale.low)})")
    return EXTRAPOLATED + ", ".join(far)


def unchecked(rule: Rule, asked: Question) -> Unsupported | None:
    """The doubt about a place whose evidence above the best rate is cut runs alone, for which no whole run vouches.

    An unmeasured place rests on all cells.
    """
    cell = next((cell for cell in ([asked.cell] if asked.cell else rule.cells) if cell.cut == "unchecked"), None)
    if cell is None:
        return None
    at = ", ".join(f"{name} {number(value)}" for name, value in cell.scales.items())
    above = "the best rate" if cell.tried_high is None else f"{cell.tried_high:.3g}"
    text = f"at {at} every run above {above} was ended early, and none was trained on to see whether it wins late"
    return Unsupported(Doubt.CUT, text)


def higher(cut: Unsupported) -> str:
    """The note that a cost is too low if runs that were ended early would win late."""
    return f"{cut.text}: the cost may be higher"


def number(value: float) -> str:
    """A scale's value for a sentence: 3,276,800."""
    return f"{value:,.0f}" if value < 1e15 and value == round(value) else f"{value:,.10g}"


def span(low: float, high: float) -> str:
    """The measured range of a scale."""
    return number(low) if low == high else f"{number(low)} … {number(high)}"


def _over(rule: Rule) -> str:
    places = (f"{name} {span(scale.low, scale.high)}" for name, scale in rule.scales.items())
    return f"this rule was measured over {', '.join(places)}"


def asking(place: Mapping[str, float]) -> list[str]:
    """The words after ``lrtune lr`` that ask for a place."""
    words = []
    for name in sorted(place, key=lambda name: name != "hidden_size"):
        text = f"{place[name]:.10g}"
        flag = [f"--{name.replace('_', '-')}", text] if name in LENGTHS else ["--scale", f"{name}={text}"]
        words += [text] if name == "hidden_size" else flag
    return words


def departures(rule: Rule, asked: Mapping[str, float]) -> tuple[list[str], Unsupported | None]:
    """Notes on conditions in which the question differs from the runs, and the difference that is too large."""
    notes: list[str] = []
    far = None
    for name, value in asked.items():
        if name in rule.scales:
            continue
        condition, horizon = rule.conditions.get(name), rule.horizon.get(name)
        if horizon is not None:
            shortest, longest = condition if isinstance(condition, tuple) else (horizon, horizon)
            if not shortest / HORIZON_FACTOR <= value <= longest * HORIZON_FACTOR:
                near = shortest if value < shortest else longest
                text = f"{name} {number(value)} is {value / near:.3g} times the measured length of {number(near)}"
                far = Unsupported(Doubt.FAR_HORIZON, text)
            continue
        low, high = condition if isinstance(condition, tuple) else (condition, condition)
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            if name != "hidden_size" or rule.conditions:
                notes.append(f"the rule does not record the {name} of its runs")
        elif not low * (1 - SAME) <= value <= high * (1 + SAME):
            there = span(low, high)
            notes.append(
                f"measured at {name} {there}, asked for {number(value)}: the effect of {name} was not measured"
            )
            if value > high * HORIZON_FACTOR or value < low / HORIZON_FACTOR:
                text = f"{name} {number(value)} is more than a factor of {HORIZON_FACTOR:g} from the measured {there}"
                far = Unsupported(Doubt.FAR_CONDITION, text)
    return notes, far


def in_units_of(rule: Rule, asked: Mapping[str, float]) -> dict[str, float]:
    """The question with its length in the rule's scale, and its batch as the rule calls it.

    Raises:
        InputError: tokens contradict steps, or the tokens of a step, which convert one to the other, are unknown.
    """
    place, scales = dict(asked), rule.scales
    if "tokens_per_step" in rule.conditions and "batch_tokens" not in {*scales, *rule.conditions}:
        place = {"tokens_per_step" if name == "batch_tokens" else name: value for name, value in place.items()}
    rate, counted = _tokens_per_step(rule, place), _length(rule)
    for given, own in (("tokens", "steps"), ("steps", "tokens")):
        if given not in place or given in (counted, *scales) or not (own in (counted, *scales) or own in place):
            continue
        if rate is None and own in place:
            continue
        if rate is None:
            if "batch_tokens" in scales:
                over = ", ".join(scales)
                raise InputError(f"{given}: expected batch_tokens too, since the law of this rule is over {over}")
            raise InputError(f"{given}: expected {own} instead, since the runs did not say how many tokens a step has")
        value = place[given] * rate if own == "tokens" else math.ceil(place[given] / rate)
        if abs(place.setdefault(own, float(value)) - value) > max(ROUNDING * value, 1.0):
            raise InputError(
                f"{own}: expected {value:,.0f}, since {given} is {place[given]:,.0f} at {rate:,.0f} tokens a step, "
                f"but got {place[own]:,.0f}"
            )
        if own in (counted, *scales):
            del place[given]
    return place


def _length(rule: Rule) -> str | None:
    """The length that runs of several batches share, which then says how long the rule's runs are; else None."""
    if "batch_tokens" not in rule.scales or {"tokens", "steps"} & {*rule.scales}:
        return None
    fixed = isinstance(rule.conditions.get("tokens"), int | float)
    return "tokens" if fixed else "steps" if "steps" in rule.horizon else None


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
        tokens, steps = (measured[0], None) if _length(rule) == "tokens" else (None, measured[1])
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
