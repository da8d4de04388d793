"""The state of a running search: counts, curves and verdicts from its events."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lrtune.records.record import TrialRecord
from lrtune.records.tally import is_better
from lrtune.report.outlook import outlook
from lrtune.rule import Rule
from lrtune.search.events import Event, LawChanged, Note, Planned, TrialEnded, TrialReported, TrialStarted
from lrtune.study.study import Study

_CURVE = 24  # reports kept per running trial, for its sparkline
_VERDICTS = 50


@dataclass(kw_only=True)
class RunningTrial:
    """A trial that a worker is training, with its latest reports."""

    start: TrialStarted
    step: int = 0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=_CURVE))
    diversities: deque[float] = field(default_factory=lambda: deque(maxlen=_CURVE))


Place = tuple[int, tuple[tuple[str, float], ...]]  # hidden size, other scales


def place_of(hidden_size: int, scales: Mapping[str, float]) -> Place:
    """The key of the trials of one size at these other scales."""
    return hidden_size, tuple(sorted(scales.items()))


@dataclass(kw_only=True)
class PlaceProgress:
    """Counts of the ended trials at one place, and the best of them."""

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
        study: for the outlook on its targets; None for runs without a rule.
        what: what its trainer reports, ``loss`` or ``measure``.
        places: per hidden size and other scales; starts with those of the study.
        running: by trial number.
        verdicts: the latest trials that did not finish.
        rule: the current law.
        planned: the number of planned trials.
        wanted: about how many trials it takes until the rule is good enough; None without an estimate.
    """

    seconds: float | None = None
    trials: int | None = None
    clock: Callable[[], float] = time.monotonic
    study: Study | None = None
    what: str = "loss"
    places: dict[Place, PlaceProgress] = field(default_factory=dict)
    running: dict[int, RunningTrial] = field(default_factory=dict)
    verdicts: deque[TrialRecord] = field(default_factory=lambda: deque(maxlen=_VERDICTS))
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=_VERDICTS))
    rule: Rule | None = None
    planned: Planned | None = None
    wanted: int | None = None
    started: float = field(init=False)
    _ended: dict[int, TrialRecord] = field(default_factory=dict)
    _fresh: int = 0

    def __post_init__(self) -> None:
        self.started = self.clock()

    def add(self, event: Event) -> None:
        """Update the state with one event."""
        match event:
            case TrialStarted():
                self._place(event.hidden_size, event.scales)
                self.running[event.trial] = RunningTrial(start=event)
            case TrialReported():
                self._report(event)
            case TrialEnded():
                self._fresh += event.record.trial in self.running
                self.running.pop(event.record.trial, None)
                self._end(event.record)
            case LawChanged():
                self.rule = event.rule
                self._look_ahead(event.rule)
            case Planned():
                self.planned = event
            case Note():
                self.notes.append(event.text)

    def _place(self, hidden_size: int, scales: Mapping[str, float]) -> PlaceProgress:
        return self.places.setdefault(place_of(hidden_size, scales), PlaceProgress())

    def _look_ahead(self, rule: Rule) -> None:
        """Update the expected number of trials."""
        if self.study is not None:
            found = outlook(rule, self.study, list(self._ended.values()), 1)
            if found is not None and found.runs is not None:
                self.wanted = self.ended + found.runs

    def _report(self, event: TrialReported) -> None:
        running = self.running.get(event.trial)
        if running is None:
            return
        running.step = event.step
        if event.loss is not None:
            running.losses.append(event.loss)
        if event.diversity is not None:
            running.diversities.append(event.diversity)

    def _end(self, record: TrialRecord) -> None:
        if record.trial in self._ended:
            return
        self._ended[record.trial] = record
        place = self._place(record.hidden_size, record.scales)
        if record.status == "finished":
            place.finished += 1
            if is_better(record, place.best):
                place.best = record
            return
        if record.status == "failed":
            place.failed += 1
        else:
            place.cut += 1
        self.verdicts.append(record)

    @property
    def ended(self) -> int:
        """Number of trials with a record."""
        return len(self._ended)

    @property
    def total(self) -> int:
        """Number of trials in all: those wanted, or at least those known, within the budget."""
        seen = self.ended + len(self.running)
        if self.wanted is None:
            return max(seen, self.planned.trials if self.planned else 0)
        return max(seen, min(self.wanted, self.trials or self.wanted))

    @property
    def elapsed(self) -> float:
        """Seconds since this process started the search."""
        return self.clock() - self.started

    @property
    def to_go(self) -> float | None:
        """Seconds until all trials ended, by the pace so far; None before the first ended."""
        return self.elapsed / self._fresh * max(0, self.total - self.ended) if self._fresh else None

    @property
    def left(self) -> float | None:
        """Seconds left of the budget; None without one."""
        return None if self.seconds is None else max(0.0, self.seconds - self.elapsed)
