"""Print a learning rate. A separate module, so that ``lrtune lr HIDDEN --plain`` imports little."""

import sys

from lrtune.rule.ask import NOT_YOURS

TYPE_CHECKING = False  # `typing` is not imported: see `lrtune.named`
if TYPE_CHECKING:
    from lrtune.rule import Recommendation, Transfer


def rate(value: float) -> str:
    """A learning rate with three significant digits, in the form that configs use: 0.00123, 1.2e-05."""
    return f"{value:.3g}"


def print_rate(advice: "Recommendation | Transfer", knob: str | None = None, of: str = "") -> None:
    """Print the learning rate, or the value of another knob, alone for scripts: ``lrtune lr HIDDEN --plain``.

    Goes with a line on stderr if the rule is not of this project, and one that begins with `of` if the data do not
    support the answer.
    """
    if knob is None:
        value = advice.learning_rate
    else:
        from lrtune.rule.knobs import value_of

        value = value_of(advice, knob)
    print(rate(value))
    others = [NOT_YOURS] if NOT_YOURS in advice.warnings else []
    doubts = [] if advice.supported else [of + next(text for text in advice.warnings if text != NOT_YOURS)]
    for text in [*others, *doubts] if sys.stderr is not None else []:
        try:
            print(f"lrtune: warning: {text}", file=sys.stderr)
        except OSError:
            return  # nobody reads it
