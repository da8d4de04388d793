"""Print a learning rate. A separate module, so that ``lrtune lr HIDDEN --plain`` imports little."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrtune.rule import Recommendation, Transfer


def rate(value: float) -> str:
    """A learning rate with three significant digits, in the form that configs use: 0.00123, 1.2e-05."""
    return f"{value:.3g}"


def print_rate(advice: "Recommendation | Transfer") -> None:
    """Print the learning rate alone, for scripts: what ``lrtune lr HIDDEN --plain`` prints."""
    print(rate(advice.learning_rate))
