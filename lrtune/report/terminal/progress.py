"""The state of a running search: counts, curves and verdicts from its events."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lrtune.records.record import TrialRecord
from lrtune.records.tally import is_better
from lrtune.rule import Rule
from lrtune.search.events import Event, LawChanged, Note, Planned, TrialEnded, TrialReported, TrialStarted

_CURVE = 24  # reports kept per running trial, for its sparkline
_VERDICTS = 50


@dataclass(kw_only=True)
class RunningTrial:
    """A trial that a worker is training, with its latest reports."""

    trial: int
    hidden_size: int
    learning_rate: float
    steps: int
    arm: str | None = None
    step: int = 0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=_CURVE))
    diversities: deque[float] = field(default_factory=lambda: deque(maxlen=_CURVE))


@dataclass(kw_only=True)
class WidthProgress:
    """Counts of the ended trials of one width, and the best of them."""

    finished: int = 0
    cut: int = 0
    failed: int = 0
    best: TrialRecord | None = None

    @property
    def ended(self) -> int:
        return self.finished + self.cut + self.failed


@dataclass(kw_only=True)
class Progress:
    """The state of a search; `add` updates it with an event.

    Attributes:
        seconds: the wall-time budget, or None.
        trials: the budget of trials, or None.
        widths: per hidden size; starts with those of the study.
        running: by trial number.
        verdicts: the latest trials that did not finish.
        rule: the current law.
        planned: the number of planned trials.
    """

    seconds: float | None = None
    trials: int | None = None
    clock: Callable[[], float] = time.monotonic
    widths: dict[int, WidthProgress] = field(default_factory=dict)
    running: dict[int, RunningTrial] = field(default_factory=dict)
    verdicts: deque[TrialRecord] = field(default_factory=lambda: deque(maxlen=_VERDICTS))
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=_VERDICTS))
    rule: Rule | None = None
    planned: Planned | None = None
    started: float = field(init=False)
    _fresh: int = 0

    def __post_init__(self) -> None:
        self.started = self.clock()

    def add(self, event: Event) -> None:
        """Update the state with one event."""
        match event:
            case TrialStarted():
                self._width(event.hidden_size)
                self.running[event.trial] = RunningTrial(
                    trial=event.trial,
                    hidden_size=event.hidden_size,
                    learning_rate=event.learning_rate,
                    steps=event.steps,
                    arm=event.arm,
                )
            case TrialReported():
                self._report(event)
            case TrialEnded():
                self._fresh += event.record.trial in self.running
                self.running.pop(event.record.trial, None)
                self._end(event.record)
            case LawChanged():
                self.rule = event.rule
            case Planned():
                self.planned = event
            case Note():
                self.notes.append(event.text)

    def _width(self, hidden_size: int) -> WidthProgress:
        return self.widths.setdefault(hidden_size, WidthProgress())

    def _report(self, event: TrialReported) -> None:
        running = self.running.get(event.trial)
        if running is None:
            return
        running.step, running.steps = event.step, event.steps or running.steps
        if event.loss is not None:
            running.losses.append(event.loss)
        if event.diversity is not None:
            running.diversities.append(event.diversity)

    def _end(self, record: TrialRecord) -> None:
        width = self._width(record.hidden_size)
        if record.status == "finished":
            width.finished += 1
            if is_better(record, width.best):
                width.best = record
            return
        if record.status == "failed":
            width.failed += 1
        else:
            width.cut += 1
        self.verdicts.append(record)

    @property
    def ended(self) -> int:
        """Number of trials with a record."""
        return sum(width.ended for width in self.widths.values())

    @property
    def total(self) -> int:
        """Number of trials: ended, running or waiting."""
        seen = self.ended + len(self.running)
        return max(seen, self.planned.trials if self.planned else 0)

    @property
    def elapsed(self) -> float:
        """Seconds since this process started the search."""
        return self.clock() - self.started

    @property
    def left(self) -> float | None:
        """Seconds left at most: of the budget, else from the pace so far; None before the first trial ended."""
        if self.seconds is not None:
            return max(0.0, self.seconds - self.elapsed)
        todo = max(0, max(self.total, self.trials or 0) - self.ended)
        return self.elapsed / self._fresh * todo if self._fresh else None
