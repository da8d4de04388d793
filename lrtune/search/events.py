"""Events of a search, for a live view, a log or a notebook."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lrtune.records.record import TrialRecord
from lrtune.rule import Rule


@dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A worker started a trial, or restarted it (`attempt` > 1)."""

    trial: int
    hidden_size: int
    learning_rate: float
    seed: int
    scales: Mapping[str, float] = field(default_factory=dict)
    knobs: Mapping[str, float] = field(default_factory=dict)
    arm: str | None = None
    steps: int = 0
    worker: str = ""
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class TrialReported:
    """A running trial's latest report, with `loss` as the trainer reported it, also a measure to maximise.

    A search emits only some: a fast trainer reports thousands of times a second.
    """

    trial: int
    step: int
    steps: int
    loss: float | None
    diversity: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial ended; its record is already in ``records.jsonl``."""

    record: TrialRecord


@dataclass(frozen=True, kw_only=True)
class LawChanged:
    """The law was fitted to the records so far."""

    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The number of trials so far, ended ones included; an adaptive search adds more."""

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
