"""Print a learning rate. A separate module, so that ``lrtune lr HIDDEN --plain`` imports little."""

import contextlib
import sys
from typing import TYPE_CHECKING

from lrtune.rule.ask import NOT_YOURS

if TYPE_CHECKING:
    from lrtune.rule import Recommendation, Transfer


def rate(value: float) -> str:
    """A learning rate with three significant digits, in the form that configs use: 0.00123, 1.2e-05."""
    return f"{value:.3g}"


def print_rate(advice: "Recommendation | Transfer") -> None:
    """Print the learning rate alone, for scripts: what ``lrtune lr HIDDEN --plain`` prints.

    Goes with a line on stderr if the rule is not of this project or the data do not support the answer.
    """
    print(rate(advice.learning_rate))
    first = next(iter(advice.warnings), "")
    if sys.stderr is not None and (not advice.supported or first == NOT_YOURS):
        with contextlib.suppress(OSError):
            print(f"lrtune: warning: {first}", file=sys.stderr)
