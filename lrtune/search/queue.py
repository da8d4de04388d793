"""The search's queue: tasks out, records in. The Optuna study is the source of truth, the lease table passes trials to
workers and records back, and records.jsonl is a copy.

The order of writes makes a kill safe. A new trial goes to Optuna first, then gets its lease; a restarted search adds a
missing lease. A record goes to Optuna first, then to records.jsonl, then its lease is marked. Each step is repeatable.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lrtune.errors import InputError
from lrtune.records.folder import RunFolder
from lrtune.records.jsonl import from_json, to_json
from lrtune.records.record import TrialRecord, record_of_task, task_of
from lrtune.records.trust import defiance, is_defied
from lrtune.search.events import Note, OnEvent, Planned, TrialEnded
from lrtune.search.optuna_study import Trials
from lrtune.search.running import RunningTrials
from lrtune.search.workers.leases import Lease, Leases
from lrtune.search.workers.owner import is_gone
from lrtune.search.workers.storage import is_passing, patiently, raise_described
from lrtune.study.study import Study
from lrtune.study.task import Task, steps_of

_LOOK_SECONDS = 1.0  # between two reads of an unchanged storage, which measure the workers' silence


class TaskQueue:
    """The search's view of its trials.

    Attributes:
        pending: the waiting and running ones, by trial number.
        failures: the failed runs since the last success.
        tokens: trained so far, in all runs whose trainer reports tokens per step.
    """

    def __init__(
        self, leases: Leases, trials: Trials, folder: RunFolder, study: Study, attempts: int, emit: OnEvent
    ) -> None:
        self.leases, self.trials, self.folder, self.study = leases, trials, folder, study
        self.attempts, self.emit = attempts, emit
        self.pending: dict[int, Task] = {}
        self._retried: set[int] = set()
        self.failures: list[TrialRecord] = []
        self.tokens = 0.0
        self._planned: Planned | None = None
        self.running = RunningTrials(study, emit, trials.begin)
        self._looked = -math.inf

    def restore(self) -> None:
        """Read all trials of the study, and complete the unfinished writes of an earlier search."""
        stored, file = self.trials.read(), self.folder.read()
        records = dict(stored.records)
        states = self.leases.states()
        handed_in = [number for number in stored.unfinished if states.get(number) in ("done", "told")]
        if handed_in or stored.without_record:
            results = dict(self.leases.ended())
            for number in (*handed_in, *(n for n in stored.without_record if n in results)):
                records[number] = self._take_in(number, results[number])
                stored.unfinished.pop(number, None)
        self._take_back(file.records, records, stored.unfinished)
        for trial, _ in self.leases.done():
            if trial in records:  # `collect` adds those that arrive meanwhile
                self.leases.told(trial)
        for note in self.folder.project(records.values(), file):
            self.emit(Note(text=note))
        # Failed runs of an earlier search run again: the user may have fixed the cause.
        self._retried = {record.trial for record in records.values() if record.status == "failed"}
        self.tokens = sum(_tokens(record) for record in records.values())
        self._adopt(stored.unfinished)
        for lease in self.leases.running():
            if is_gone(lease.owner) and self.leases.release(lease):
                self.emit(Note(text=f"trial {lease.trial}: resumed; its worker ended with the earlier search"))

    def _take_in(self, number: int, result: str) -> TrialRecord:
        """Pass a trial's record to Optuna. An unreadable record fails this trial alone."""
        try:
            record = replace(from_json(result), trial=number)
        except InputError as error:
            record = self._failed(number, self.trials.task(number), f"cannot read its record: {error}")
            self.leases.told(number, to_json(record))
        self.trials.tell(record, self.study.pruning.floor)
        return record

    def _take_back(
        self, from_file: Sequence[TrialRecord], records: dict[int, TrialRecord], unfinished: dict[int, Task]
    ) -> None:
        """Pass the records that only records.jsonl has to Optuna, whose storage was removed or is older (after a
        restored backup or a power cut). A record keeps its number if its task still has it; else it gets a new one."""
        keys = {number: task_of(record).key for number, record in records.items()}
        strays = [record for record in from_file if keys.get(record.trial) != task_of(record).key]
        if not strays:
            return
        stored = {_content(record) for record in records.values()}
        strays = [record for record in strays if _content(record) not in stored]
        for record in strays:
            task = task_of(record)
            same = [number for number, other in unfinished.items() if other.key == task.key]
            number = record.trial if record.trial in same else same[0] if same else self.trials.add(task)
            unfinished.pop(number, None)
            records[number] = replace(record, trial=number)
            self.leases.add(number, task)
            self.leases.put_in(number, to_json(records[number]))
            self.trials.tell(records[number], self.study.pruning.floor)
        if strays:
            self.emit(Note(text=f"records.jsonl: restored {len(strays)} records to the storage"))

    def _adopt(self, unfinished: Mapping[int, Task]) -> None:
        """Give a lease to every unfinished trial that lacks one; drop duplicates and cancelled trials."""
        states = self.leases.states()
        keys: set[str] = set()
        for number, task in sorted(unfinished.items()):
            if states.get(number) == "cancelled" or (task.key in keys and number not in states):
                self.trials.drop(number)
                continue
            keys.add(task.key)
            self.leases.add(number, task)
            self.pending[number] = task

    def add(self, tasks: Sequence[Task]) -> None:
        """Queue new tasks."""
        for task in tasks:
            number = self._new_trial(task)
            if number is not None:
                self.leases.add(number, task)
                self.pending[number] = task
        self._emit_plan()

    def _new_trial(self, task: Task) -> int | None:
        """A trial for the task; None if the storage lost its answer, but made the trial, which is now adopted."""
        try:
            return self.trials.add(task)
        except Exception as error:
            if not is_passing(error):
                raise_described(error)
                raise
        patiently(lambda: self._adopt(self.trials.read().unfinished))
        if any(other.key == task.key for other in self.pending.values()):
            return None
        return self._new_trial(task)

    def usable(self) -> list[TrialRecord]:
        """The records for the design: all except an earlier search's failed ones."""
        return [record for number, record in self.folder.records.items() if number not in self._retried]

    def collect(self) -> int:
        """Collect records and progress from the workers and emit them; returns how many trials ended."""
        now = time.monotonic()
        if not self.leases.has_news() and now - self._looked < _LOOK_SECONDS:
            return 0
        self._looked = now
        self.running.look(self.leases.running(), now)
        self._emit_plan()
        ended = [(trial, self._take_in(trial, result)) for trial, result in self.leases.done()]
        was_defied = is_defied(self.folder.records.values())
        for trial, _ in ended:
            self.pending.pop(trial, None)
        self.folder.append(record for _, record in ended)
        for trial, record in ended:
            self.leases.told(trial)
            self.tokens += _tokens(record)
            self.failures = [*self.failures, record] if record.status == "failed" else []
            self.emit(TrialEnded(record=record))
        if not was_defied and (text := defiance(record for _, record in ended)):
            self.emit(Note(text=text))
        if ended:
            self._emit_plan()
        return len(ended)

    def take_back(self, mark: str, how: str) -> int:
        """Release the trials of a dead worker, whose name contains `mark`; returns their number."""
        held = [lease for lease in self.leases.running() if mark in lease.owner]
        for lease in held:
            self._retry(lease, how)
        return len(held)

    def take_back_silent(self, lease_seconds: float) -> set[str]:
        """Release the trials of workers that were silent for longer than `lease_seconds`; returns the owners."""
        silences = [(lease, self.running.silence(lease)) for lease in self.running.leases]
        silent = [(lease, seconds) for lease, seconds in silences if seconds > lease_seconds]
        for lease, seconds in silent:
            self._retry(lease, f"silent for {seconds:.0f} s")
        return {lease.owner for lease, _ in silent}

    def _retry(self, lease: Lease, how: str) -> None:
        if lease.attempt < self.attempts:
            if self.leases.release(lease, counted=True):
                self.emit(Note(text=f"trial {lease.trial}: running again; its worker was lost ({how})"))
            return
        why = (
            f"gave up after {lease.attempt} attempts: its worker was lost each time (the last: {how}); usually memory "
            "ran out (use fewer workers or a smaller hidden size) or the trainer ends its process"
        )
        record = self._failed(lease.trial, lease.task, why)
        self.leases.finish(lease, to_json(replace(record, worker=lease.owner, attempt=lease.attempt)))

    def _failed(self, number: int, task: Task, why: str) -> TrialRecord:
        """The failed record of a run without a readable record."""
        return record_of_task(
            task,
            trial=number,
            status="failed",
            why=why,
            steps=steps_of(task, self.study),
            steps_done=0,
            loss=None,
            fingerprint=self.leases.fingerprint() or "",
        )

    def cancel(self) -> None:
        """Cancel the waiting trials."""
        for lease in self.leases.waiting():
            if self.leases.cancel(lease.trial):
                self.trials.drop(lease.trial)
                self.pending.pop(lease.trial, None)

    def _emit_plan(self) -> None:
        running = sum(lease.trial in self.pending for lease in self.running.leases)
        trials = len(self.folder.records) + len(self.pending)
        plan = Planned(trials=trials, waiting=len(self.pending) - running, running=running)
        if plan != self._planned:
            self._planned = plan
            self.emit(plan)


def _tokens(record: TrialRecord) -> float:
    return float(record.steps_done * (record.facts.tokens_per_step or 0))


def _content(record: TrialRecord) -> str:
    """The record without its number, to find a copy under another number."""
    return to_json(replace(record, trial=0))
