"""What happens during a search, as it happens: for a live view, a log, a notebook."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lrtune.records.record import TrialRecord
from lrtune.rule import Rule


@dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A worker began (or began again, `attempt` > 1) to train."""

    trial: int
    hidden_size: int
    learning_rate: float
    seed: int
    scales: Mapping[str, float] = field(default_factory=dict)
    arm: str | None = None
    steps: int = 0
    worker: str = ""
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class TrialReported:
    """A running trial's latest report. Not every report is passed on: a fast trainer makes thousands a second."""

    trial: int
    step: int
    steps: int
    loss: float | None
    diversity: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial has its record, which is in ``records.jsonl`` by now."""

    record: TrialRecord


@dataclass(frozen=True, kw_only=True)
class LawChanged:
    """The law through the records so far."""

    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Planned:
    """How many trials are known of now, the finished ones included; an adaptive search adds more."""

    trials: int
    waiting: int
    running: int


@dataclass(frozen=True, kw_only=True)
class Note:
    """One line for the user: a widened range, a lost worker, a repaired file."""

    text: str


Event = TrialStarted | TrialReported | TrialEnded | LawChanged | Planned | Note
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener that does nothing."""
