"""The one worker, whatever the engine: claim → train → report → prune → hand in, until there is nothing more.

It meets the search in the storage only. As a process of its own (``python -m lrtune.search.workers.worker``) it reads
what it needs from its standard input and takes the end of that input for the end of its parent.
"""

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, LrtuneError, RunFailedError, TrainerFailedError, redact
from lrtune.search.workers.attempt import Attempt, Setting
from lrtune.search.workers.leases import Lease, Leases, new_owner
from lrtune.search.workers.room import said_room, usual_room
from lrtune.search.workers.storage import open_engine
from lrtune.study.study import Study, fingerprint
from lrtune.study.toml import parse_study
from lrtune.trainer.find import resolve_trainer
from lrtune.trainer.trial import Interrupted, Trainer

TIMED_OUT = 75
_WATCH = "import os, signal\nwhile os.read(0, 4096): pass\nos.killpg(0, signal.SIGKILL)"
_MOST_WHY = 6000
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """What one worker process is told.

    Attributes:
        url: the storage. May hold a password: it goes through a pipe, never through arguments.
        study: the study's name there.
        device, threads: where it trains, and with how many threads.
        checkpoints: a folder that outlives this process, or None for the one the search named, where it exists.
        patience: seconds to go on waiting when the search that plans the study is silent.
        path: folders to import trainers from.
    """

    url: str
    study: str
    device: str = "cpu"
    threads: int | None = None
    checkpoints: str | None = None
    patience: float = 600.0
    path: tuple[str, ...] = ()


class Worker:
    """One worker of one study; `run` returns when the search is done or being stopped."""

    def __init__(self, spec: WorkerSpec, stop: threading.Event | None = None) -> None:
        self.leases = Leases(open_engine(spec.url), spec.study)
        told = self.leases.spec()
        if told is None:
            raise InputError(f"study: expected the name of a study in {redact(spec.url)}, but got {spec.study!r}")
        self.patience = spec.patience
        self.stop = stop or threading.Event()
        self.study: Study = parse_study(told["study"])
        self.members: int | None = told.get("members")
        self.trial_timeout: float | None = told.get("trial_timeout")
        self.lease_seconds = float(told.get("lease_seconds", 60.0))
        self.heartbeat = self.lease_seconds / 6
        self.setting = Setting(
            fingerprint=told["fingerprint"],
            owner=new_owner(),
            device=spec.device,
            threads=spec.threads,
            checkpoints=_checkpoints(spec, told),
            checkpoint_seconds=float(told.get("checkpoint_seconds", 30.0)),
            is_stopping=self.stop.is_set,
        )
        self.trainer: Trainer = resolve_trainer(self.study.trainer, self.study.command)
        self._attempts: list[Attempt] = []
        self._guard = threading.Lock()
        self._rooms: dict[str, int] = {}

    def run(self) -> None:
        """Work until the search says that it is done."""
        ended = threading.Event()
        pulse = threading.Thread(target=self._pulse, args=(ended,), daemon=True)
        pulse.start()
        pause = 0.02
        try:
            while not self.stop.is_set():
                leases = self._claim()
                if leases:
                    pause = 0.02
                    self.work(leases)
                    continue
                state, silence = self.leases.state()
                if state != "open" or silence > self.patience:
                    return
                self.stop.wait(pause)
                pause = min(0.5, pause * 1.5)
        finally:
            ended.set()
            pulse.join(timeout=1)
            self.leases.close()

    def _claim(self) -> list[Lease]:
        """A trial, and as many others of its group as are worth training with it: only now is its width known."""
        leases = self.leases.claim(self.setting.owner)
        if not leases or self.trainer.train_population is None:
            return leases
        first = leases[0]
        if first.peers not in self._rooms:
            self._rooms[first.peers] = self.members or self._worthwhile(first)
        return [first, *self.leases.claim_beside(first, self._rooms[first.peers] - 1)]

    def _worthwhile(self, lease: Lease) -> int:
        """How many trials of this group to take at once; the search is told what the trainer said."""
        attempt = Attempt(lease, self.study, self.leases, self.setting, None)
        with self._at_work([attempt]):
            said = said_room(self.trainer, attempt.trial)
        if said is None:
            return usual_room(self.setting.device)
        self.leases.report_members(lease.peers, said)
        return said

    def work(self, leases: Sequence[Lease], micro_batch: int | None = None) -> None:
        """Train these trials, of one width, and hand in their records."""
        attempts = [Attempt(lease, self.study, self.leases, self.setting, micro_batch) for lease in leases]
        self._train(attempts)

    @contextlib.contextmanager
    def _at_work(self, attempts: list[Attempt]) -> Iterator[None]:
        """Have the leases of these attempts kept alive meanwhile."""
        with self._guard:
            self._attempts = attempts
        try:
            yield
        finally:
            with self._guard:
                self._attempts = []

    def _train(self, attempts: list[Attempt]) -> None:
        with self._at_work(attempts):
            try:
                self._call(attempts)
            except Interrupted:
                for attempt in attempts:
                    self._hand_in_or_release(attempt)
            except TrainerFailedError as error:
                self._end(attempts[0], "failed", redact(error))
            except RunFailedError:
                raise
            except (Exception, SystemExit) as error:
                if is_out_of_memory(error):
                    self._in_smaller_pieces(attempts, error)
                elif len(attempts) > 1:
                    self._one_by_one(attempts)
                else:
                    self._end(attempts[0], "failed", _explain(error))
            else:
                for attempt in attempts:
                    self._end(attempt, *attempt.outcome())

    def _call(self, attempts: Sequence[Attempt]) -> None:
        if self.trainer.train is not None and len(attempts) == 1:
            self.trainer.train(attempts[0].trial)
            return
        assert self.trainer.train_population is not None
        for attempt in attempts:
            attempt.members = len(attempts)
        self.trainer.train_population([attempt.trial for attempt in attempts])

    def _hand_in_or_release(self, attempt: Attempt) -> None:
        """Of an interrupted population, members that had ended are handed in; the others go back."""
        if attempt.has_ended:
            self._end(attempt, *attempt.outcome())
        else:
            attempt.release()

    def _one_by_one(self, attempts: Sequence[Attempt]) -> None:
        """After an exception in a population: it fails the members that raise it alone too, and no others."""
        for attempt in attempts:
            if attempt.has_ended:
                self._end(attempt, *attempt.outcome())
            else:
                self.work([attempt.lease], attempt.micro_batch)

    def _in_smaller_pieces(self, attempts: list[Attempt], error: BaseException) -> None:
        """Out of memory: half the population; a single trial once more in micro-batches; then failed with advice."""
        if len(attempts) > 1:
            print(f"out of memory with {len(attempts)} members at once; trying halves", file=sys.stderr)
            self._rooms[attempts[0].lease.peers] = max(1, len(attempts) // 2)
            for part in (attempts[: len(attempts) // 2], attempts[len(attempts) // 2 :]):
                self.work([attempt.lease for attempt in part], part[0].micro_batch)
            return
        attempt = attempts[0]
        batch = attempt.facts.batch_size
        if attempt.micro_batch is None and batch is not None and batch > 1:
            smaller = max(1, batch // 4)
            print(f"trial {attempt.lease.trial}: out of memory; trying micro-batches of {smaller}", file=sys.stderr)
            _free_memory()
            self._train([attempt.start_over(smaller)])
            return
        tried = (
            f"also in micro-batches of {attempt.micro_batch}" if attempt.micro_batch else "with the whole batch at once"
        )
        advice = f"out of memory {tried}; use fewer workers, a smaller batch or a smaller hidden size"
        self._end(attempt, "failed", f"{advice}\n{_explain(error)}")

    def _end(self, attempt: Attempt, status: Any, why: str) -> None:
        if not attempt.is_lost and not attempt.finish(status, why):
            print(
                f"trial {attempt.lease.trial} was given to another worker; its result here is dropped", file=sys.stderr
            )

    def _pulse(self, ended: threading.Event) -> None:
        """Keep the leases alive while the trainer trains; end trials that take too long."""
        wait = self.heartbeat if self.trial_timeout is None else min(self.heartbeat, self.trial_timeout / 4)
        renewed = 0.0
        while not ended.wait(min(wait, 1.0)):
            with self._guard:
                attempts = list(self._attempts)
            if not attempts:
                continue
            if self.trial_timeout is not None and time.monotonic() - attempts[0].began > self.trial_timeout:
                self._time_out(attempts)
            if time.monotonic() - renewed < wait:
                continue
            with contextlib.suppress(LrtuneError):
                mine = self.leases.renew(self.setting.owner)
                renewed = time.monotonic()
                for attempt in attempts:
                    attempt.is_lost = attempt.is_lost or (attempt.lease.trial not in mine and attempt in self._attempts)
                if self.leases.state()[0] == "stopping":
                    self.stop.set()

    def _time_out(self, attempts: Sequence[Attempt]) -> None:
        """A trainer that hangs cannot be asked to end: its trial is handed in as failed, and the process ends."""
        for attempt in attempts:
            last = attempt.rows[-1].step if attempt.rows else 0
            why = f"no end after {self.trial_timeout:g} s (--trial-timeout); last report at step {last}"
            with contextlib.suppress(LrtuneError):
                self._end(attempt, "failed", why)
        _end_group(TIMED_OUT)


def check_here(spec: WorkerSpec) -> None:
    """Get this machine ready to work on a study, and see that a run here would be a run of that study.

    Raises:
        InputError: there is no such study, or the trainer or its data differ here.
    """
    leases = Leases(open_engine(spec.url), spec.study)
    told = leases.spec()
    leases.close()
    if told is None:
        raise InputError(f"study: expected the name of a study in {redact(spec.url)}, but got {spec.study!r}")
    study = parse_study(told["study"])
    trainer = resolve_trainer(study.trainer, study.command)
    data = trainer.prepare(study) if trainer.prepare is not None else None
    if fingerprint(study, data) != told["fingerprint"]:
        raise InputError(
            f"study: expected the data that study {spec.study!r} was begun with, but this machine's are others; "
            "give every machine the same files, tokenizer and Python version"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """True for Python's, torch's and CUDA's ways of saying that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


def _free_memory() -> None:
    """Give cached GPU memory back, where torch is there at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _explain(error: BaseException) -> str:
    """The error for a record: one line for our own, a traceback from the trainer on for others."""
    if isinstance(error, LrtuneError):
        return redact(error)
    frames = traceback.format_exception(type(error), error, error.__traceback__)
    return redact("".join(frames))[-_MOST_WHY:]


def _checkpoints(spec: WorkerSpec, told: Mapping[str, Any]) -> Path | None:
    """Where this worker keeps checkpoints: as told, else the run folder's where this machine has it."""
    if spec.checkpoints is not None:
        return Path(spec.checkpoints)
    folder = told.get("checkpoints")
    return Path(folder) if folder and Path(folder).parent.is_dir() else None


def _end_group(code: int) -> None:
    """End this process at once, and what it started, where it leads its own group."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    os._exit(code)


def _watch_parent() -> None:
    """End with the parent, however it ended: its end of the pipe closes then."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _die_with_parent() -> None:
    """The same from a process of its own: a trainer that keeps Python's lock lets no thread watch.

    The kernel's signal at a parent's death would end this process alone, before it has ended what it started.
    """
    if os.getpgrp() == os.getpid():
        subprocess.Popen([sys.executable, "-I", "-S", "-c", _WATCH])


def _end_when_stuck(seconds: float) -> None:
    """End the process, with a traceback, once nothing in it could renew a lease for as long as one lasts."""
    while True:
        faulthandler.dump_traceback_later(seconds, exit=True)
        time.sleep(seconds / 6)


def main() -> int:
    """Run one worker as a process of its own."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = _read_line()
    threading.Thread(target=_watch_parent, daemon=True).start()
    _die_with_parent()
    try:
        worker = worker_here(spec, stop)
        threading.Thread(target=_end_when_stuck, args=(worker.lease_seconds,), daemon=True).start()
        worker.run()
    except LrtuneError as error:
        print(f"error: {redact(error)}", file=sys.stderr, flush=True)
        return error.exit_code
    except Exception as error:
        print(_explain(error), file=sys.stderr, flush=True)
        return 1
    return 0


def worker_here(spec: str, stop: threading.Event) -> Worker:
    """A worker in this process, which runs until the search ends or `stop` is set; `spec` is a `WorkerSpec` as JSON."""
    data = json.loads(spec)
    told = WorkerSpec(**{**data, "path": tuple(data.get("path", ()))})
    sys.path[:] = [*told.path, *(folder for folder in sys.path if folder not in told.path)]
    return Worker(told, stop)


def _read_line() -> str:
    """One line of standard input, unbuffered: the pipe stays open behind it."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            raise SystemExit(1)
        line += piece
    return line.decode()


if __name__ == "__main__":
    sys.exit(main())
