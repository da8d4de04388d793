"""One session of a search: opens the run folder and the storage, runs the tasks, and closes both.

The search is one process. It exchanges tasks and records with its workers through the storage alone, so you can kill it
at any time: the storage keeps the records, and the same command resumes.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lrtune.errors import InputError, RunFailedError, redact
from lrtune.records.folder import RunFolder
from lrtune.records.record import TrialRecord
from lrtune.search.designs import Design
from lrtune.search.events import Note, OnEvent, ignore
from lrtune.search.loop import SILENCE, Loop
from lrtune.search.options import SearchOptions, SearchResult
from lrtune.search.optuna_study import Trials
from lrtune.search.queue import TaskQueue
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.owner import new_owner
from lrtune.search.workers.signals import Stopping
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import normalise, open_engine, sqlite_url
from lrtune.study.study import Study, fingerprint
from lrtune.study.toml import to_toml
from lrtune.trainer.find import trainer_of
from lrtune.trainer.function import PREFIX, packed
from lrtune.trainer.trial import Trainer


class Session:
    """Runs the tasks of a design; returns their records and the reason for its end. It fits no law.

    `began` is the monotonic time from which its budget of seconds counts; by default its own start.
    """

    def __init__(
        self, study: Study, out: Path, design: Design, options: SearchOptions, *, began: float | None = None
    ) -> None:
        self.study, self.design, self.options, self.began = study, design, options, began
        self.folder = RunFolder(Path(out))
        self.storage = normalise(options.storage) if options.storage else None

    @property
    def records(self) -> list[TrialRecord]:
        """The records so far, in order of trial number."""
        return [self.folder.records[number] for number in sorted(self.folder.records)]

    def run(self, emit: OnEvent = ignore) -> SearchResult:
        """See `lrtune.search.run.run_search`; calls `emit` with each event."""
        trainer = trainer_of(self.study)
        mark = study_fingerprint(self.study, trainer)
        self.folder.open(self.study, mark)
        if not self.folder.has_locks:
            emit(Note(text=f"out: cannot lock {self.folder.out}; only the storage keeps a second search out"))
        try:
            if not self.options.accept_changed_trainer:
                self._refuse_changed_trainer(trainer)
            url = self.storage or sqlite_url(self.folder.out)
            with Stopping() as stopping, self._held(url, mark) as (leases, me):
                self.folder.settle(self.study, mark)
                with contextlib.closing(Trials(url, self.study.name)) as trials:
                    queue = TaskQueue(leases, trials, self.folder, self.study, self.options.attempts, emit)
                    queue.restore()
                    loop = Loop(queue, self.design, trainer, self.options, stopping, me=me, url=url)
                    loop.began = loop.began if self.began is None else self.began
                    reason = loop.run()
            self.folder.write_records()
            return SearchResult(
                records=self.records,
                reason=reason,
                out=self.folder.out,
                interrupted=stopping.signum,
                workers=loop.workers,
            )
        except RunFailedError as error:
            raise RunFailedError(redact(error)) from error.__cause__
        finally:
            self.folder.close()

    def _refuse_changed_trainer(self, trainer: Trainer) -> None:
        """Refuse to mix runs of two trainers in one law. Failed runs do not count: the user may have fixed theirs."""
        records = [record for record in self.folder.read().records if record.status != "failed" and record.source]
        if records and trainer.source and records[-1].source != trainer.source:
            count = sum(record.source != trainer.source for record in records)
            raise InputError(
                f"trainer: the source of {trainer.target} has changed since {count} of the runs in {self.folder.out}; "
                "choose another --out, or mix the runs with --accept-changed-trainer"
            )

    @contextlib.contextmanager
    def _held(self, url: str, mark: str) -> Iterator[tuple[Leases, str]]:
        """The leases of the study, for this search alone, and this search's owner name."""
        me, name = new_owner(), self.study.name
        leases = Leases(open_engine(url), name)
        try:
            stored = leases.fingerprint()
            if stored is not None and stored != mark:
                raise InputError(
                    f"storage: {redact(url)} already has another study named {name!r}; choose another name with --name"
                )
            if stored is None and leases.is_anothers():
                raise InputError(
                    f"storage: {redact(url)} already has a study named {name!r} from another program; "
                    "choose another name with --name"
                )
            spec = self._spec(mark)
            leases.create(spec)
            holder = leases.hold(me, SILENCE)
            if holder is not None:
                raise InputError(
                    f"storage: another search ({holder}) is running study {name!r}; "
                    f"join it with `lrtune worker --study {name}`, or choose another name with --name"
                )
            try:
                leases.open(spec)
                yield leases, me
            finally:
                # Ends the workers on other machines. If the storage is lost, they end by themselves.
                with contextlib.suppress(RunFailedError):
                    leases.let_go(me, "stopping")
        finally:
            leases.close()

    def _spec(self, mark: str) -> StudySpec:
        """The study's specification for workers. They get a function that they cannot import as text."""
        is_sent = self.study.trainer.startswith(PREFIX) and not self.study.command and self.options.engine != "inline"
        return StudySpec(
            study=to_toml(self.study),
            fingerprint=mark,
            function=packed(self.study.trainer) if is_sent else "",
            checkpoints=str(self.folder.checkpoints.resolve()),
            members=self.options.members,
            trial_timeout=self.options.trial_timeout,
            lease_seconds=self.options.lease_seconds,
            checkpoint_seconds=self.options.checkpoint_seconds,
        )


def study_fingerprint(study: Study, trainer: Trainer) -> str:
    """Run the trainer's ``check`` and ``prepare``; returns the fingerprint of the study with the trainer's data."""
    if trainer.check is not None:
        trainer.check(study)
    data = trainer.prepare(study) if trainer.prepare is not None else None
    return fingerprint(study, data)
