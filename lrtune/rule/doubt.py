"""Why the data do not support an answer: `Doubt` for programs, a line of text for people."""

from enum import Enum

from lrtune.named import NamedTuple

SUPPORTED_FACTOR = 2.0  # schema 1: limit of an interval's factor from the rate
WORST_FACTOR = 3.0  # limit of the 90% quantile of regret, in tolerances
_LEAST = 5e-5  # a smaller share of loss is not told from this one


class Doubt(Enum):
    """Why the data do not support an answer. The value tells the user what to do."""

    COSTLY = "train runs at this size or nearer to it, or fit with a larger tolerance"
    ONE_SIDED = "add runs on the other side of the optimum"
    CUT = "train one run above the best rate to its end, as a resumed search does"
    UNPREDICTABLE = "train runs at this size"
    FAR_HORIZON = "train runs of about this length"
    FAR_CONDITION = "train runs under this condition"
    WIDE = "train runs at this size or nearer to it, and fit again"


class Unsupported(NamedTuple):
    """A doubt, and its text for this answer."""

    doubt: Doubt
    text: str

    def __str__(self) -> str:
        return f"not supported by the data: {self.text}; {self.doubt.value}"


def too_costly(what: str, mean: float, worst: float, tolerance: float) -> Unsupported | None:
    """The doubt about an answer of this expected regret and its 90% quantile, or None if both are within limits."""
    if mean <= tolerance and worst <= WORST_FACTOR * tolerance:
        return None
    return Unsupported(Doubt.COSTLY, f"{what} may cost {cost_text(mean, worst)} (tolerance: {tolerance:.2%})")


def too_wide(what: str, middle: float, low: float, high: float) -> Unsupported | None:
    """The doubt about an interval of a rule of schema 1, or None if it is narrow enough."""
    if max(high / middle, middle / low) <= SUPPORTED_FACTOR * (1 + 1e-6):
        return None
    return Unsupported(Doubt.WIDE, f"{what} is {low:.3g} … {high:.3g}")


def cost_text(mean: float, worst: float) -> str:
    """A regret and its 90% quantile in words."""
    often = f"{percent(mean)} of loss on average, "
    if worst < _LEAST:
        return f"{often}{percent(worst)} in nine cases of ten"
    return f"{often}more than {percent(worst).removesuffix(' or more')} in one case of ten"


def percent(share: float) -> str:
    """A share of loss; above 30% only its order is known."""
    if share < _LEAST:
        return "under 0.01%"
    return "30% or more" if share >= 0.3 else f"{share:.0%}" if share >= 0.0995 else f"{share:.2%}"
