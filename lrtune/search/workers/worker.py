"""The worker of every engine: claim → train → report → prune → store the record, until the search is over.

It communicates with the search through the storage alone.
"""

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrtune.errors import InputError, LrtuneError, plain, redact
from lrtune.search.workers.attempt import Attempt, WorkerSettings
from lrtune.search.workers.leases import Lease, Leases
from lrtune.search.workers.owner import new_owner
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import exists, open_engine
from lrtune.search.workers.training import Training
from lrtune.study.study import Study, fingerprint
from lrtune.study.toml import parse_study
from lrtune.trainer.find import trainer_of
from lrtune.trainer.function import unpack
from lrtune.trainer.trial import Trainer, Trial

GPU_MEMBERS = 16


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """The specification of one worker.

    Attributes:
        url: the storage. It may hold a password, so it goes through a pipe and never through arguments.
        study: the study's name there.
        token: the end of the worker's owner name, by which its engine finds its leases.
        device, threads: the device, and the number of threads.
        checkpoints: a folder that outlives the worker; None for the search's folder, if it exists here.
        patience: seconds to wait for a silent search; None for a worker that ends with its search.
        path: folders to import trainers from.
        trainer: the only trainer to run; None for any.
    """

    url: str
    study: str
    token: str = ""
    device: str = "cpu"
    threads: int | None = None
    checkpoints: str | None = None
    patience: float | None = None
    path: tuple[str, ...] = ()
    trainer: str | None = None


class Worker:
    """One worker of one study.

    Args:
        spec: its specification.
        stop: asks it to stop at the next report.
        give_up: ends a worker whose trainer hangs; called outside the trainer's thread.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        stop: threading.Event | None = None,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.leases = Leases(open_engine(spec.url), spec.study)
        study_spec, self.study = _study(self.leases, spec)
        self.patience = math.inf if spec.patience is None else spec.patience
        self.stop = stop or threading.Event()
        self.give_up = give_up
        self.members, self.trial_timeout = study_spec.members, study_spec.trial_timeout
        self.lease_seconds = study_spec.lease_seconds
        self.trainer: Trainer = trainer_of(self.study)
        self.setting = WorkerSettings(
            fingerprint=study_spec.fingerprint,
            owner=new_owner(spec.token),
            source=self.trainer.source,
            device=spec.device,
            threads=spec.threads,
            checkpoints=_checkpoints(spec, study_spec),
            checkpoint_seconds=study_spec.checkpoint_seconds,
            is_stopping=self.stop.is_set,
        )
        self.training = Training(self.trainer, self._begin, self._at_work)
        self._attempts: list[Attempt] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._members: dict[str, int] = {}
        self._heartbeat: float | None = None
        self._heard = time.monotonic()

    def run(self) -> bool:
        """Work until the search is over or `stop` is set; returns whether the search is over."""
        pulse = threading.Thread(target=self._pulse, daemon=True)
        pulse.start()
        pause = 0.02
        try:
            while not self.stop.is_set():
                leases = self._claim()
                if leases:
                    pause = 0.02
                    self.training.train(leases)
                    continue
                if self._is_over():
                    return True
                self.stop.wait(pause)
                pause = min(0.5, pause * 1.5)
            return self._is_over()
        finally:
            self._ended.set()
            pulse.join(timeout=1)
            self.leases.close()

    def abandon(self) -> None:
        """Release the trials of a trainer that does not stop; called outside the trainer's thread."""
        self.stop.set()
        self._ended.set()
        with self._lock:
            attempts = list(self._attempts)
        for attempt in attempts:
            attempt.release()
            attempt.is_lost = True

    def _is_over(self) -> bool:
        """Whether the search has ended, or was silent for longer than `patience` by this process's clock."""
        state, heartbeat = self.leases.state()
        if heartbeat != self._heartbeat:
            self._heartbeat, self._heard = heartbeat, time.monotonic()
        return state != "open" or time.monotonic() - self._heard > self.patience

    def _claim(self) -> list[Lease]:
        """Claim a trial, then others of its group to train with it: their number depends on its width."""
        leases = self.leases.claim(self.setting.owner)
        if not leases or self.trainer.train_population is None:
            return leases
        first = leases[0]
        if first.peers not in self._members:
            self._members[first.peers] = self.members or self._worthwhile(first)
        members = min(self._members[first.peers], self.training.fits.get(first.peers, sys.maxsize))
        return [first, *self.leases.claim_peers(first, members - 1)]

    def _worthwhile(self, lease: Lease) -> int:
        """How many trials of this group to train at once; reports the trainer's number to the search."""
        attempt = self._begin(lease)
        with self._at_work([attempt]):
            members = reported_members(self.trainer, attempt.trial)
        if members is None:
            return default_members(self.setting.device)
        self.leases.report_members(lease.peers, members)
        return members

    def _begin(self, lease: Lease, micro_batch: int | None = None) -> Attempt:
        return Attempt(lease, self.study, self.leases, self.setting, micro_batch)

    @contextlib.contextmanager
    def _at_work(self, attempts: list[Attempt]) -> Iterator[None]:
        """A context in which `_pulse` renews the leases of these attempts."""
        with self._lock:
            self._attempts = attempts
        try:
            yield
        finally:
            with self._lock:
                self._attempts = []

    def _pulse(self) -> None:
        """Renew the leases during training; end trials that take too long."""
        beat = min(self.lease_seconds / 6, self.trial_timeout / 4 if self.trial_timeout is not None else math.inf)
        renewed = -math.inf
        while not self._ended.wait(min(beat, 1.0)):
            with self._lock:
                attempts = list(self._attempts)
            if not attempts:
                continue
            if self.trial_timeout is not None and time.monotonic() - attempts[0].began > self.trial_timeout:
                self._time_out(attempts)
                return
            if time.monotonic() - renewed < beat:
                continue
            with contextlib.suppress(LrtuneError):
                mine = self.leases.renew(self.setting.owner)
                renewed = time.monotonic()
                for attempt in attempts:
                    attempt.is_lost = attempt.is_lost or (attempt.lease.trial not in mine and attempt in self._attempts)
                if self.leases.state()[0] == "stopping":
                    self.stop.set()

    def _time_out(self, attempts: Sequence[Attempt]) -> None:
        """A trainer that hangs cannot stop by itself: store its trials as failed and end the worker."""
        self.stop.set()
        for attempt in attempts:
            last = max((row.step for row in list(attempt.rows)), default=0)
            why = f"timed out after {self.trial_timeout:g} s (--trial-timeout); last report at step {last}"
            with contextlib.suppress(LrtuneError):
                attempt.finish("failed", why)
            attempt.is_lost = True
        self.give_up()


def check_here(spec: WorkerSpec) -> None:
    """Prepare this machine for a study, and check that its trainer and data are those of the search.

    Raises:
        InputError: the study does not exist, or the trainer or its data differ here.
    """
    if not exists(spec.url):
        raise InputError(f"storage: expected an existing database, but {redact(spec.url)} does not exist")
    leases = Leases(open_engine(spec.url), spec.study)
    try:
        study_spec, study = _study(leases, spec)
    finally:
        leases.close()
    trainer = trainer_of(study)
    data = trainer.prepare(study) if trainer.prepare is not None else None
    if fingerprint(study, data) != study_spec.fingerprint:
        raise InputError(
            f"study: the data on this machine differ from those of study {spec.study!r}; "
            "give every machine the same files, tokenizer and Python version"
        )


def _study(leases: Leases, spec: WorkerSpec) -> tuple[StudySpec, Study]:
    """The study's specification from the storage, and the study itself."""
    study_spec = leases.spec()
    if study_spec is None:
        raise InputError(f"study: {redact(spec.url)} has no study named {spec.study!r}")
    study = parse_study(study_spec.study)
    named = "a command line" if study.command else repr(study.trainer)
    named = "a function of its own" if study_spec.function else named
    if spec.trainer is not None and (study.command or study_spec.function or study.trainer != spec.trainer):
        raise InputError(f"trainer: expected {spec.trainer!r} (--trainer), but study {spec.study!r} names {named}")
    if study_spec.function:
        unpack(study.trainer, study_spec.function)
    return study_spec, study


def _checkpoints(spec: WorkerSpec, study_spec: StudySpec) -> Path | None:
    """The checkpoint folder: the specified one, or that of the run folder if this machine has it."""
    if spec.checkpoints is not None:
        return Path(spec.checkpoints)
    folder = study_spec.checkpoints
    return Path(folder) if folder and Path(folder).parent.is_dir() else None


def default_members(device: str) -> int:
    """Trials at once without a number from the trainer: a GPU trains many small models in the time of one."""
    return GPU_MEMBERS if device.startswith("cuda") else 1


def reported_members(trainer: Trainer, trial: Trial) -> int | None:
    """The trainer's `members_at_once` for the group of `trial`; None if it is missing or fails."""
    if trainer.train_population is None or trainer.members_at_once is None:
        return None
    try:
        count: object = trainer.members_at_once(trial)
    except (Exception, SystemExit) as error:
        reason = plain(redact(f"{type(error).__name__}: {error}")).splitlines()[0][:200]
    else:
        if type(count) is int and count >= 1:
            return count
        reason = f"expected a whole number of at least 1, but got {count!r:.60}"
    print(f"trainer: members_at_once: {reason}; training {default_members(trial.device)} at once", file=sys.stderr)
    return None
