"""Which parameters of an Optuna study are the width and the learning rate, and what values they may have."""

import math
import re
from collections.abc import Callable, Mapping

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
    width = _role(distributions, names[0], "hidden_size", _WIDTH_LIKE, is_whole, IntDistribution)
    rate = _role(distributions, names[1], "learning_rate", _RATE_LIKE, is_positive, FloatDistribution)
    if width is None or rate is None or width == rate:
        return None
    return {width: distributions[width], rate: distributions[rate]}


def _role(
    distributions: Mapping[str, BaseDistribution],
    given: str | None,
    usual: str,
    like: re.Pattern[str],
    fits: Callable[[BaseDistribution], bool],
    kind: type[BaseDistribution],
) -> str | None:
    """The parameter of one role: the given one, the one of the usual name or of one like it, or the only one."""
    fitting = [name for name, distribution in distributions.items() if fits(distribution)]
    if given is not None or usual in fitting:
        return next((name for name in fitting if name == (given or usual)), None)
    named = [name for name in fitting if like.search(name.lower())]
    plain = [name for name in fitting if isinstance(distributions[name], kind)]
    logs = [name for name in plain if getattr(distributions[name], "log", False)]
    for some in (named, logs if kind is FloatDistribution and logs else plain):
        if len(some) == 1:
            return some[0]
    return None


def is_whole(distribution: BaseDistribution) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return all(
            isinstance(choice, int) and not isinstance(choice, bool) and choice > 0 for choice in distribution.choices
        )
    return isinstance(distribution, IntDistribution) and distribution.high > 0


def is_positive(distribution: BaseDistribution) -> bool:
    """Whether its values may be learning rates."""
    if isinstance(distribution, CategoricalDistribution):
        return all(isinstance(choice, float) and choice > 0 for choice in distribution.choices)
    return isinstance(distribution, FloatDistribution) and distribution.high > 0


def bounds(distribution: BaseDistribution) -> tuple[float, float]:
    """The lowest and highest rate."""
    if isinstance(distribution, CategoricalDistribution):
        rates = [float(choice) for choice in distribution.choices if isinstance(choice, float)]
        return min(rates), max(rates)
    assert isinstance(distribution, FloatDistribution)
    return distribution.low, distribution.high


def nearest(rate: float, distribution: BaseDistribution) -> float:
    """The nearest rate of the distribution: its nearest choice or step, or the rate clipped to its bounds."""
    if isinstance(distribution, CategoricalDistribution):
        rates = [float(choice) for choice in distribution.choices if isinstance(choice, float)]
        return min(rates, key=lambda choice: abs(math.log(choice / rate)))
    low, high = bounds(distribution)
    if step := getattr(distribution, "step", None):
        rate = low + step * max(round((rate - low) / step), math.floor(-low / step) + 1)  # above zero
    return min(max(rate, low), high)
