"""The options and the result of a search."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lrtune.errors import InputError
from lrtune.law.no_rule import NoRule
from lrtune.records.record import TrialRecord
from lrtune.records.tally import counts
from lrtune.rule.display import law_sentence, rule_html
from lrtune.search.ending import Ending, StopReason
from lrtune.search.workers.engine import ENGINES

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.rule import Recommendation, Rule


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How to run a search. These options change a trial's result only through its execution plan.

    Attributes:
        workers: number of workers; None for one per GPU or core.
        engine, address: ``local``, ``inline`` (one worker in this process) or ``ray``, and the Ray cluster's address.
        storage: a URL that workers on other machines can reach; None for a file in the run folder.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        members: trials of one width that a population trainer gets at once; None for the trainer's number, or else the
            device's default (see `lrtune.trainer.trial`).
        trial_timeout: seconds after which a run counts as hanging.
        attempts: how many workers a trial may bring down before the search gives it up.
        lease_seconds: seconds of silence after which a worker counts as dead.
        checkpoint_seconds: between two checkpoints.
        accept_changed_trainer: whether to mix runs from before and after a change of the trainer's source.
        write_rule: whether the rule becomes the active one, lrtune-rule.json, if no other is active.
        activate: whether it does so in the place of another one too.
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
    activate: bool = False

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


@dataclass(frozen=True, kw_only=True, repr=False)
class SearchResult:
    """The result of a search.

    Attributes:
        records: of all trials of the folder, in order of trial number.
        reason: why it ended.
        out: the run folder.
        interrupted: the signal that stopped it, or None.
        fit: the law's fit to the records; None if they do not support one, or for `run_fixed`.
        no_rule, why_no_rule: why they do not support one, and its line of text.
        workers: how many workers it had.
        is_active: whether its rule is the one that commands without ``--rule`` ask.
        notes: knobs that the trainer seems to ignore, a loss that rises, which rule is active now, and files that it
            could not write, one line each.
        targets: the rule's answers at the targets that the study names.
        verified: how the runs at the targets ended, or what they would cost; empty if none were wanted.
    """

    records: list[TrialRecord]
    reason: StopReason
    out: Path
    interrupted: int | None = None
    fit: "LawFit | None" = field(default=None, repr=False)
    no_rule: NoRule | None = None
    why_no_rule: str = ""
    workers: int = 1
    is_active: bool = False
    notes: tuple[str, ...] = ()
    targets: "tuple[Recommendation, ...]" = ()
    verified: str = ""

    @property
    def rule(self) -> "Rule | None":
        """The rule of the fit."""
        return None if self.fit is None else self.fit.rule

    @property
    def ending(self) -> Ending:
        """The reason for its end, for programs."""
        return self.reason.ending

    @property
    def stop_reason(self) -> str:
        """The reason for its end, in one line for people."""
        return self.reason.text

    def __repr__(self) -> str:
        return f"<SearchResult {self.out}: {self._sentence()}>"

    def _repr_html_(self) -> str:
        return rule_html(self.rule, self._sentence(), _places(self.rule, self.targets))

    def _sentence(self) -> str:
        law = law_sentence(self.rule, self.why_no_rule)
        return f"{len(self.records)} runs ({counts(self.records)}); ended: {self.stop_reason}; {law}"


def _places(rule: "Rule | None", targets: "tuple[Recommendation, ...]") -> "list[dict[str, float]]":
    """The targets in the scales of the law."""
    return [] if rule is None else [{name: told.scales[name] for name in rule.scales} for told in targets]
