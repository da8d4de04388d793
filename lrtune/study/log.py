"""Where a training program writes its measurements, if it does not print lrtune's own JSON lines."""

import re
from dataclasses import dataclass

from lrtune.errors import InputError
from lrtune.fields import Kind, check, text


@dataclass(frozen=True, kw_only=True)
class Log:
    """Where a training program writes its measurements. Empty fields keep the default.

    Attributes:
        metrics: the file or folder that it writes, with placeholders such as ``{id}``: CSV, JSON lines, TensorBoard
            events, ``trainer_state.json`` or, with `loss_pattern`, text (default: JSON lines on stdout).
        metric: the column, key or tag of the loss (default: ``loss``).
        step_column: the column or key of the step (default: the first of `STEP_NAMES` that is there).
        loss_pattern: a regular expression with one group for the loss, or with groups named ``loss`` and ``step``. It
            is searched in each line of the output or of `metrics`.
    """

    metrics: str = ""
    metric: str = ""
    step_column: str = ""
    loss_pattern: str = ""

    def __post_init__(self) -> None:
        check(self, "log", _FIELDS)
        if self.loss_pattern and (self.metric or self.step_column):
            raise InputError("log: expected either loss_pattern or metric and step_column, but got both")


def _pattern(where: str, value: object) -> str:
    pattern: str = text(2000)(where, value)
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"{where}: expected a regular expression, but got {pattern!r:.80}: {error}") from None
    if pattern and not groups:
        raise InputError(
            f"{where}: expected a group for the loss, as in 'val loss ([\\d.]+)', but got {pattern!r:.80} without one"
        )
    return pattern


_FIELDS: dict[str, Kind] = {
    "metrics": text(1000, printable=True),
    "metric": text(200, printable=True),
    "step_column": text(200, printable=True),
    "loss_pattern": _pattern,
}
STEP_NAMES = ("_step", "step", "global_step", "trainer_global_step", "training_iteration", "iteration", "iter")
