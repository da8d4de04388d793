"""Search: ask learning rates, have them trained, tell the results, end with a rule.

What a program calls. A session (`lrtune.search.session`) has the runs made; which ones is up to a design
(`lrtune.search.designs`, `lrtune.search.adaptive`); what a worker does is `lrtune.search.workers.worker`.
"""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrtune.errors import InputError, LrtuneError
from lrtune.records.record import TrialRecord
from lrtune.search.designs import Design, FixedDesign, GridDesign
from lrtune.search.ending import Ending, StopReason
from lrtune.search.events import Event, LawChanged, OnEvent, TrialEnded, ignore
from lrtune.search.options import SearchOptions, SearchResult
from lrtune.search.plan import Plan, check_budget, plan, shortfall
from lrtune.search.session import Session
from lrtune.search.status import Status, status
from lrtune.study.study import Study
from lrtune.study.task import Task

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.rule import Rule

__all__ = [
    "Ending",
    "Plan",
    "SearchOptions",
    "SearchResult",
    "Status",
    "StopReason",
    "Task",
    "plan",
    "run_fixed",
    "run_search",
    "status",
]
_LAW_SHARE = 0.01  # of the time of a search, for fits that are only looked at


def run_search(study: Study, out: Path, *, on_event: OnEvent | None = None, **options: Any) -> SearchResult:
    """Run a study, or go on with it, until it knows enough, its design is complete, or its budget is spent.

    Args:
        study: what to ask.
        out: the run folder; one that holds this study is continued.
        on_event: called in this thread with what happens.
        **options: see `SearchOptions`.

    Raises:
        InputError: something given cannot work; nothing was started.
        RunFailedError: several runs in a row failed, the storage is lost, the disk is full.
    """
    check_budget(study)
    given = SearchOptions(**options)
    session = Session(study, out, _design(study), given)
    law = _Law(session, on_event or ignore)
    result = session.run(law.listen)
    if result.ending in (Ending.SECONDS_SPENT, Ending.TOKENS_SPENT):
        text = result.stop_reason + shortfall(study, result.records, result.workers)
        result = replace(result, reason=StopReason(result.ending, text))
    fit = law.fit()
    if fit is None:
        return replace(result, why_no_rule=law.why_none if result.records else result.stop_reason)
    law.emit(LawChanged(rule=fit.rule))
    return replace(result, fit=fit, notes=_write_rule(fit.rule, result.out, everywhere=given.write_rule))


def run_fixed(
    study: Study, tasks: Iterable[Task], out: Path, *, on_event: OnEvent | None = None, **options: Any
) -> SearchResult:
    """Run given tasks, each once, as `run_search` does; no rule is fitted."""
    return Session(study, out, FixedDesign(tasks), SearchOptions(**options)).run(on_event or ignore)


def _design(study: Study) -> Design:
    """A fixed grid, or what the model asks for."""
    if study.design == "grid":
        return GridDesign(study)
    from lrtune.search.adaptive import AdaptiveDesign

    return AdaptiveDesign(study)


class _Law:
    """Fits the law through the records of a session, while it runs and at its end."""

    def __init__(self, session: Session, emit: OnEvent) -> None:
        self.session, self.emit = session, emit
        self.why_none = ""
        self._began, self._spent = time.monotonic(), 0.0
        self._of: list[TrialRecord] = []
        self._fit: LawFit | None = None

    def listen(self, event: Event) -> None:
        """Emit the event, and after a trial the current law, unless fits have taken more than 1% of the run time."""
        self.emit(event)
        now = time.monotonic()
        if self.emit is ignore or not isinstance(event, TrialEnded) or self._spent > _LAW_SHARE * (now - self._began):
            return
        fit = self.fit()
        self._spent += time.monotonic() - now
        if fit is not None:
            self.emit(LawChanged(rule=fit.rule))

    def fit(self) -> "LawFit | None":
        """The fit of all records so far; None where they do not support one, and `why_none` says why."""
        from lrtune.law.fit import fit_run

        records = self.session.records
        if records != self._of:
            self._of = records
            try:
                self._fit = fit_run(records, tolerance=self.session.study.budget.tolerance)
            except LrtuneError as error:
                self._fit, self.why_none = None, str(error)
        return self._fit


def _write_rule(rule: "Rule", out: Path, *, everywhere: bool) -> tuple[str, ...]:
    """Write rule.json into the run folder and as ./lrtune-rule.json, whose former self is kept as .bak.

    Returns:
        Why a file could not be written, one line each: what was found stands in the result all the same.
    """
    from lrtune.rule import save_rule

    notes = []
    for path in (out / "rule.json", Path("lrtune-rule.json"))[: 2 if everywhere else 1]:
        try:
            save_rule(rule, path, backup=path.parent != out, follow_links=path.parent != out)
        except (InputError, OSError) as error:
            notes.append(f"cannot write {path}: {error}")
    return tuple(notes)
