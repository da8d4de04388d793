"""How a search is run, and what it gives."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lrtune.errors import InputError
from lrtune.records.record import TrialRecord
from lrtune.search.ending import Ending, StopReason
from lrtune.search.workers.engine import ENGINES

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.rule import Rule


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a search is run; nothing of it changes what a trial finds, except through the execution plan.

    Attributes:
        workers: how many at once; None for what the machine has.
        engine, address: ``local``, ``inline`` (in this process, one worker) or ``ray``, and the Ray cluster's address.
        storage: a URL that workers on other machines can reach; None for a file in the run folder.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        members: trials of one width that a population trainer gets at once; None for what the trainer says is worth
            it, and else for what the device suggests (see `lrtune.trainer.trial`).
        trial_timeout: seconds after which a run is taken for hanging.
        attempts: how often a trial may take its worker down with it before it is given up.
        lease_seconds: silence after which a worker is taken for dead.
        checkpoint_seconds: between two checkpoints of a trainer that makes them.
        accept_changed_trainer: whether to add runs to those of a trainer whose source was another.
        write_rule: whether to write ./lrtune-rule.json too.
    """

    workers: int | None = None
    engine: str = "local"
    address: str | None = None
    storage: str | None = None
    device: str = "auto"
    members: int | None = None
    trial_timeout: float | None = None
    attempts: int = 5
    lease_seconds: float = 60.0
    checkpoint_seconds: float = 30.0
    accept_changed_trainer: bool = False
    write_rule: bool = True

    def __post_init__(self) -> None:
        for name in ("workers", "members", "attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: expected a positive whole number, but got {value}")
        for name in ("trial_timeout", "lease_seconds", "checkpoint_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}: expected a positive number of seconds, but got {value:g}")
        if self.engine == "inline" and self.workers not in (None, 1):
            raise InputError(f"workers: expected 1 with --engine inline, but got {self.workers}")
        if self.engine not in ENGINES:
            raise InputError(f"engine: expected one of {', '.join(ENGINES)}, but got {self.engine!r}")


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search gave.

    Attributes:
        records: of all trials of the folder, in order of trial number.
        reason: why it ended.
        out: the run folder.
        interrupted: the signal that stopped it, or None.
        fit: the law through the records; None where they do not support one, or none was asked for.
        why_no_rule: why there is no fit.
        workers: how many it had.
        notes: what could not be done at the end, one line each.
    """

    records: list[TrialRecord]
    reason: StopReason
    out: Path
    interrupted: int | None = None
    fit: "LawFit | None" = field(default=None, repr=False)
    why_no_rule: str = ""
    workers: int = 1
    notes: tuple[str, ...] = ()

    @property
    def rule(self) -> "Rule | None":
        """The rule of the fit."""
        return None if self.fit is None else self.fit.rule

    @property
    def ending(self) -> Ending:
        """Why it ended, for programs."""
        return self.reason.ending

    @property
    def stop_reason(self) -> str:
        """Why it ended, in one line for people."""
        return self.reason.text
