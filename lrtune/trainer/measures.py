"""Measures from a program's log, passed to its trial in order: rows and matching lines become reports."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lrtune.errors import InputError, plain
from lrtune.study.log import STEP_NAMES, Log
from lrtune.trainer.trial import Trial, too_long

# "step 250: val loss 4.2", "iter 100, …", "global_step=3"; not "steps/s: 30"
_STEP = re.compile(r"(?i)\b(?:global[ _]?step|step|iter(?:ation)?)\b\W{0,3}(\d+)")
_OWN = ("step", "loss", "diversity", "self")  # parameters of `Trial.report`
_SHOWN = 12
_DEEPEST = 8


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measurement of the loss; its step is None if the log has none."""

    step: Any
    loss: Any
    diversity: Any = None
    numbers: Mapping[str, float] = field(default_factory=dict)


def measure_of_row(row: Mapping[str, Any], log: Log) -> Measure | None:
    """The measurement in a row of a log, or None if the metric's cell is missing or blank."""
    cells = row if log.metric in row or not any(isinstance(value, dict) for value in row.values()) else flat(row)
    name = log.metric or "loss"
    if name not in cells or cells[name] == "":
        return None
    steps = (log.step_column,) if log.step_column else STEP_NAMES
    step = next((cells[each] for each in steps if cells.get(each) not in (None, "")), None)
    if step is None and log.step_column:
        raise InputError(f"step_column: no {log.step_column!r} beside {name!r}; there is {listed(cells)}")
    diversity = cells.get("diversity")
    return Measure(
        step=as_number(step),
        loss=math.nan if cells[name] is None else as_number(cells[name]),
        diversity=None if diversity == "" else as_number(diversity),
        numbers={each: value for each, value in row.items() if each not in _OWN and is_number(value)}
        if log == Log()
        else {},
    )


def measure_of_line(line: str, pattern: "re.Pattern[str]") -> Measure | None:
    """The measurement in a line that the pattern matches; the step from its group ``step``, or after the word."""
    found = pattern.search(line)
    if found is None:
        return None
    named = found.groupdict()
    loss = named["loss"] if "loss" in named else next((text for text in found.groups() if text is not None), None)
    step: Any = named.get("step")
    if step is None and (near := _STEP.search(line)):
        step = near[1]
    return None if loss is None else Measure(step=as_number(step), loss=as_number(loss))


def listed(names: Mapping[str, Any]) -> str:
    """The names of a row's values, in one line."""
    shown = [plain(name)[:40] for name in list(names)[:_SHOWN]]
    return ", ".join(shown) + (", …" if len(names) > _SHOWN else "") or "nothing"


class Reports:
    """Passes measures to a trial. Measures without a step count as `Trial.report_every` steps apart.

    Args:
        trial: the trial.
        where: the name of the log in messages.
    """

    def __init__(self, trial: Trial, where: str) -> None:
        self.trial, self.where = trial, where
        self.count = 0
        self.last: Measure | None = None
        self._at = self._gap = 0

    def add(self, measure: Measure) -> bool:
        """Report a measure; returns whether to continue training.

        Raises:
            InputError: its step is before the last one or beyond the trial's steps.
        """
        step = self._counted() if measure.step is None else self._given(measure.step)
        if self.last is not None:
            self._gap = max(self._gap, step - self._at)
        self.last, self._at, self.count = measure, step, self.count + 1
        return self._report(step)

    def end(self) -> bool:
        """After the program's end; returns whether there is a final measure.

        The last measure is the final one if it lies within one interval of the end.
        """
        if self.last is None or self._at == self.trial.steps:
            return self.last is not None
        interval = self._gap or self.trial.report_every
        is_final = self.last.step is None or self.trial.steps - self._at <= interval
        if is_final:
            self._report(self.trial.steps)
        return is_final

    def _report(self, step: int) -> bool:
        assert self.last is not None
        return self.trial.report(step, loss=self.last.loss, diversity=self.last.diversity, **self.last.numbers)

    def _given(self, step: object) -> int:
        if not isinstance(step, int | float) or isinstance(step, bool):
            raise InputError(f"{self.where}: expected a number for the step, but got {step!r:.60}")
        if self.trial.steps < step < math.inf:
            raise too_long(self.trial.steps, step, "set --steps to the length of a run, or give the program {steps}")
        if not 0 <= step <= self.trial.steps:
            raise InputError(f"{self.where}: expected a step within 0 … {self.trial.steps}, but got {step:g}")
        if step < self._at:
            raise InputError(
                f"{self.where}: expected steps in order, but got {step:g} after {self._at}; "
                "name the column that counts optimizer steps with --step-column"
            )
        return int(step)

    def _counted(self) -> int:
        steps = self.trial.steps
        step = (self.count + 1) * self.trial.report_every
        if step > steps:
            raise InputError(
                f"{self.where}: no step beside the loss, and more than {steps // self.trial.report_every} losses "
                f"every {self.trial.report_every} steps; name the step (--step-column, or a group (?P<step>\\d+) in "
                "--loss-pattern), or set --report-every to the program's interval"
            )
        return step


def as_number(value: Any) -> Any:
    """A number from a cell of text; other values unchanged, for `Trial.report` to judge."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def flat(row: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Nested objects as dotted names: ``{"val": {"loss": 4}}`` has ``val.loss``."""
    cells: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list) and value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            value = dict(value)  # an Arrow map
        if isinstance(value, Mapping) and depth < _DEEPEST:
            cells |= flat(value, f"{prefix}{name}.", depth + 1)
        else:
            cells[f"{prefix}{name}"] = value
    return cells
