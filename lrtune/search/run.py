"""Search: propose runs, train them, and fit a rule. This module is the interface for programs.

A design (`lrtune.search.designs`, `lrtune.search.adaptive`) proposes the runs, a session (`lrtune.search.session`)
manages them, and workers (`lrtune.search.workers.worker`) train them.
"""

import contextlib
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrtune.errors import InputError, RunFailedError
from lrtune.law.no_rule import NoRule, NoRuleError
from lrtune.records.folder import default_folder
from lrtune.records.record import TrialRecord
from lrtune.records.tally import goes_wrong
from lrtune.records.trust import believed
from lrtune.rule import Rule, save_rule
from lrtune.rule.active import activate, note_no_rule
from lrtune.search.call import Subject, settle
from lrtune.search.designs import FixedDesign, design_of
from lrtune.search.ending import FILE, Ending, StopReason
from lrtune.search.events import Event, LawChanged, OnEvent, TrialEnded, ignore
from lrtune.search.inert import inert_knobs
from lrtune.search.options import SearchOptions, SearchResult
from lrtune.search.plan import check_budget, shortfall
from lrtune.search.session import Session
from lrtune.search.target import Remaining, affordable, answers, verification, verified
from lrtune.study.knob import coordinates
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.study.toml import to_toml
from lrtune.trainer.complete import complete
from lrtune.trainer.find import trainer_of

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit

_LAW_SHARE = 0.01  # share of a search's time for the fits of the live view


def run_search(
    trainer: Subject, out: Path | str | None = None, *, on_event: OnEvent | None = None, **settings: Any
) -> SearchResult:
    """Train short runs at several sizes and rates, and fit the rule; the same call again resumes.

    >>> import lrtune
    >>> def train(trial):
    ...     weight = 4.0
    ...     for step in range(trial.steps + 1):
    ...         if step % trial.report_every == 0 and not trial.report(step, loss=1 + weight**2):
    ...             return
    ...         weight -= trial.learning_rate * trial.hidden_size * weight
    >>> done = lrtune.run_search(train, widths=(16, 32, 64), lr_min=1e-4, lr_max=1e-2, steps=50, trials=12)
    >>> 0.0005 < done.rule.recommend(32).learning_rate < 0.1
    True

    Args:
        trainer: a training function (see `Trial`), its name as ``module:function``, or a `Study`. A function that
            workers can import trains in their processes; another one (of a notebook, or nested) trains in this process,
            or, with ``engine="local"`` and cloudpickle, in others.
        out: the run folder; default: ``runs/`` and the study's name. If it holds this study, the search resumes.
        on_event: called in this thread with each event.
        **settings: fields of `Study` (``widths``, ``steps``, ``lr_min``, ``scales``, …), unless a `Study` is given; its
            target as ``target=512`` or ``target={"hidden_size": 512, "steps": 1600}``; its budget as ``budget="10m"``,
            ``trials`` or ``tolerance``; and the fields of `SearchOptions` (``workers``, …).

    Raises:
        InputError: an argument is invalid; no run was started.
        RunFailedError: several runs in a row failed, the storage is lost, the disk is full.
    """
    study, given = settle(trainer, settings)
    study = complete(study, trainer_of(study))
    check_budget(study)
    began = time.monotonic()
    session = Session(study, default_folder(study) if out is None else Path(out), design_of(study), given)
    law = _Law(session, on_event or ignore)
    try:
        result = session.run(law.listen)
        while result.ending is Ending.ENOUGH and session.design.verdict(result.records, []) is None:
            # A run that ended while the workers stopped has changed what the rule says.
            law.session = session = Session(study, session.folder.out, session.design, given, began=began)
            result = session.run(law.listen)
    except RunFailedError as error:
        if given.write_rule:
            note_no_rule(str(error), [session.folder.out])
        raise
    if result.ending is Ending.ENOUGH or result.ending.is_hopeless:
        result = replace(result, reason=session.design.verdict(result.records, []) or result.reason)
    if result.ending in (Ending.SECONDS_SPENT, Ending.TOKENS_SPENT):
        text = result.stop_reason + shortfall(study, result.records, result.workers)
        result = replace(result, reason=StopReason(result.ending, text))
    _keep_ending(session, result)
    remarks = (*inert_knobs(result.records).values(), *filter(None, [goes_wrong(result.records)]))
    fit = law.fit()
    if fit is None:
        why = str(law.failure) if result.records else result.stop_reason
        note = note_no_rule(why, [result.out]) if given.write_rule else None
        return replace(result, no_rule=law.failure.no_rule, why_no_rule=why, notes=(*remarks, *filter(None, [note])))
    if study.verify_at_target and result.interrupted is None:
        result, fit = _verify_at_target(session, law, result, fit, began)
        _keep_ending(session, result)
    fit = replace(fit, rule=fit.rule._replace(study=to_toml(study)))
    law.emit(LawChanged(rule=fit.rule))
    targets = answers(study, fit.rule, result.records)
    is_active, notes = _write_rule(fit.rule, result.out, given)
    return replace(result, fit=fit, is_active=is_active, notes=(*remarks, *notes), targets=targets)


def _verify_at_target(
    session: Session, law: "_Law", result: SearchResult, fit: "LawFit", began: float
) -> "tuple[SearchResult, LawFit]":
    """Train at the targets' rates as far as the remaining budget goes; the runs enter the fit."""
    study, records = session.study, result.records
    wanted = verification(study, fit.rule, records)
    left = Remaining.of(study, records, time.monotonic() - began)
    tasks, text = affordable(study, wanted, records, left, result.workers)
    why = ""
    if tasks:
        law.session = Session(study, result.out, FixedDesign(tasks), session.options, began=began)
        done = law.session.run(law.listen)
        why = "a run failed" if done.ending is Ending.COMPLETE else done.stop_reason
        result = replace(result, records=done.records, interrupted=done.interrupted)
        fit = law.fit() or fit
        if result.ending is Ending.ENOUGH:
            result = replace(result, reason=_enough_now(study, done.records))
    if result.ending.is_hopeless and all(a.supported for a in answers(study, fit.rule, result.records)):
        result = replace(result, reason=StopReason(Ending.ENOUGH, "the runs at the target were enough"))
    return replace(result, verified=verified(study, wanted, tasks, text, result.records, why)), fit


def _enough_now(study: Study, records: Sequence[TrialRecord]) -> StopReason:
    """The reason of a search that ended with enough, after the runs at its targets."""
    from lrtune.search.adaptive import AdaptiveDesign

    reason = AdaptiveDesign(study).verdict(believed(records), [])
    if reason is None or reason.ending is not Ending.ENOUGH:
        return StopReason(Ending.ENOUGH, "it knew enough before the runs at the target")
    return reason


def _keep_ending(session: Session, result: SearchResult) -> None:
    with contextlib.suppress(RunFailedError):  # a disk that became full; the result says why it ended in any case
        session.folder.write(FILE, result.reason.to_json())


def run_fixed(
    study: Study, tasks: Iterable[Task], out: Path, *, on_event: OnEvent | None = None, **options: Any
) -> SearchResult:
    """Run the given tasks once each, like `run_search` but without a rule."""
    return Session(study, out, FixedDesign(tasks), SearchOptions(**options)).run(on_event or ignore)


class _Law:
    """Fits the law to the records of a session, during the session and at its end."""

    def __init__(self, session: Session, emit: OnEvent) -> None:
        self.session, self.emit = session, emit
        self.failure = NoRuleError(NoRule.NO_RUN, "no run has ended yet")
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
        """The fit to all records so far, or None if they do not support one; `failure` then says why."""
        from lrtune.law.fit import fit_run

        records, study = self.session.records, self.session.study
        if records != self._of:
            self._of = records
            try:
                self._fit = fit_run(records, tolerance=study.budget.tolerance, knobs=coordinates(study.knobs))
            except NoRuleError as error:
                self._fit, self.failure = None, error
        return self._fit


def _write_rule(rule: Rule, out: Path, options: SearchOptions) -> tuple[bool, list[str]]:
    """Write rule.json into the run folder, and make it the active rule if the options say so.

    Returns:
        Whether it is active; which rule is, and the files that could not be written, one line each. The result holds
        the rule anyway.
    """
    is_active, notes = False, []
    try:
        save_rule(rule, out / "rule.json")
    except InputError as error:
        notes.append(str(error))
    if options.write_rule:
        try:
            is_active, line = activate(rule, [out], force=options.activate)
            notes.append(line if is_active else f"{line}; to use this one: lrtune use {shlex.quote(str(out))}")
        except InputError as error:
            notes.append(str(error))
    return is_active, notes
