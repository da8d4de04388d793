"""Which parameters of an Optuna study are the width and the learning rate, and what values they may have."""

import math
import re
from collections.abc import Callable, Mapping, Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

_WIDTH_LIKE = re.compile(r"hidden|width|d_?model|n_?embd|\bdim\b")
_RATE_LIKE = re.compile(r"(^|_)lr($|_)|learning_?rate")


def is_like_width(name: str) -> bool:
    """Whether a parameter's name is one of a width."""
    return bool(_WIDTH_LIKE.search(name.lower()))


def width_and_rate(
    distributions: Mapping[str, BaseDistribution], names: tuple[str | None, str | None]
) -> dict[str, BaseDistribution] | None:
    """The distributions of width and learning rate by name; None if one of them is ambiguous or missing."""
    widths, rates = _widths(distributions, names[0]), _rates(distributions, names[1])
    if len(widths) != 1 or len(rates) != 1 or widths == rates:
        return None
    return {name: distributions[name] for name in (*widths, *rates)}


def doubts(
    distributions: Mapping[str, BaseDistribution], names: tuple[str | None, str | None], knobs: Sequence[str]
) -> list[str]:
    """Which roles are unclear, and what to do about each."""
    others = {name: each for name, each in distributions.items() if name not in knobs}
    every = ", ".join(described(name, distributions[name]) for name in sorted(distributions)) or "none"
    found = [
        f"{name}: expected a parameter of this name, but got {every}" for name in knobs if name not in distributions
    ]
    for role, argument, given, possible, kind in (
        ("width", "width", names[0], _widths(others, names[0]), "a positive integer"),
        ("learning rate", "learning_rate", names[1], _rates(others, names[1]), "a positive float"),
    ):
        if len(possible) > 1:
            which = " or ".join(possible)
            found.append(f'the {role} may be {which}: choose with ScaleAwareSampler({argument}="{possible[0]}")')
        elif not possible:
            what = f"{kind} parameter (or categories of such numbers)" + (f" named {given}" if given else "")
            found.append(f"the {role}: expected {what}, but got {every}")
    return found


def described(name: str, distribution: BaseDistribution) -> str:
    """A parameter and its kind, as in ``lr (categories 0.0, 0.01)``."""
    if isinstance(distribution, CategoricalDistribution):
        some = ", ".join(repr(choice) for choice in distribution.choices[:3])
        return f"{name} (categories {some}{', …' if len(distribution.choices) > 3 else ''})"
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    kind = "integers" if isinstance(distribution, IntDistribution) else "floats"
    step = f" in steps of {distribution.step:g}" if distribution.step not in (None, 1) else ""
    return f"{name} ({kind} from {distribution.low:g} to {distribution.high:g}{step})"


def _widths(distributions: Mapping[str, BaseDistribution], given: str | None) -> list[str]:
    return _candidates(distributions, given, ("hidden_size", "width"), _WIDTH_LIKE, is_whole, IntDistribution)


def _rates(distributions: Mapping[str, BaseDistribution], given: str | None) -> list[str]:
    return _candidates(distributions, given, ("learning_rate", "lr"), _RATE_LIKE, is_positive, FloatDistribution)


def _candidates(
    distributions: Mapping[str, BaseDistribution],
    given: str | None,
    usual: Sequence[str],
    like: re.Pattern[str],
    fits: Callable[[BaseDistribution], bool],
    kind: type[BaseDistribution],
) -> list[str]:
    """What one role may be: the given parameter, or the one of a usual name; else those of a name like it, else any."""
    fitting = [name for name, distribution in distributions.items() if fits(distribution)]
    known = next((name for name in (usual if given is None else [given]) if name in fitting), None)
    if known is not None or given is not None:
        return [] if known is None else [known]
    named = [name for name in fitting if like.search(name.lower())]
    plain = [name for name in fitting if isinstance(distributions[name], kind)]
    logs = [name for name in plain if getattr(distributions[name], "log", False)]
    rest = logs if kind is FloatDistribution and logs else plain
    return next((some for some in (named, rest) if len(some) == 1), named or rest)


def is_whole(distribution: BaseDistribution) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return all(
            isinstance(choice, int) and not isinstance(choice, bool) and choice > 0 for choice in distribution.choices
        )
    return isinstance(distribution, IntDistribution) and distribution.high > 0


def holds(distribution: BaseDistribution, width: int) -> bool:
    """Whether a width is one of a parameter's values."""
    if isinstance(distribution, CategoricalDistribution):
        return width in distribution.choices
    assert isinstance(distribution, IntDistribution)
    return distribution.low <= width <= distribution.high and (width - distribution.low) % distribution.step == 0


def is_positive(distribution: BaseDistribution) -> bool:
    """Whether its values may be learning rates."""
    if isinstance(distribution, CategoricalDistribution):
        rates = _rates_among(distribution)  # whole numbers alone are no rates
        return len(rates) == len(distribution.choices) and any(isinstance(choice, float) for choice in rates)
    return isinstance(distribution, FloatDistribution) and distribution.high > 0


def _rates_among(distribution: CategoricalDistribution) -> list[float]:
    """The choices that are positive numbers, as they were given."""
    numbers = (each for each in distribution.choices if isinstance(each, (int, float)) and not isinstance(each, bool))
    return [each for each in numbers if each > 0]


def bounds(distribution: BaseDistribution) -> tuple[float, float]:
    """The lowest and highest rate."""
    if isinstance(distribution, CategoricalDistribution):
        rates = _rates_among(distribution)
        return min(rates), max(rates)
    assert isinstance(distribution, FloatDistribution)
    return distribution.low, distribution.high


def choices(distribution: BaseDistribution) -> tuple[float, ...]:
    """log2 of the rates among which a categorical parameter chooses; none if it is not categorical."""
    if not isinstance(distribution, CategoricalDistribution):
        return ()
    return tuple(math.log2(choice) for choice in _rates_among(distribution))


def nearest(rate: float, distribution: BaseDistribution) -> float:
    """The nearest rate of the distribution: its nearest choice or step, or the rate clipped to its bounds."""
    if isinstance(distribution, CategoricalDistribution):
        return min(_rates_among(distribution), key=lambda choice: abs(math.log(choice / rate)))
    low, high = bounds(distribution)
    if step := getattr(distribution, "step", None):
        rate = low + step * max(round((rate - low) / step), math.floor(-low / step) + 1)  # above zero
    return min(max(rate, low), high)
