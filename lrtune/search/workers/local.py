"""Workers as processes of this machine; all end with the engine."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from lrtune.errors import InputError, RunFailedError, plain
from lrtune.files import open_file, open_handle
from lrtune.search.workers import process
from lrtune.search.workers.engine import Engine
from lrtune.search.workers.machine import Share, shares
from lrtune.search.workers.signals import Stopping
from lrtune.search.workers.storage import normalise
from lrtune.search.workers.worker import WorkerSpec, check_here
from lrtune.trainer import supervisor

_ROOT = str(Path(__file__).resolve().parents[3])
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from {} import main; sys.exit(main(sys.argv[2]))"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_KILL_SECONDS = 5.0
_PATIENCE = 600.0  # seconds that a worker elsewhere waits for a silent search


def python(module: str, argument: str) -> list[str]:
    """A command that calls ``main(argument)`` of a module of lrtune, imported from the same place as this one."""
    return [sys.executable, "-P", "-c", _BOOT.format(module), _ROOT, argument]


@dataclass(frozen=True)
class _Member:
    process: "subprocess.Popen[bytes]"
    token: str


class LocalEngine(Engine):
    """See `lrtune.search.workers.engine.Engine`.

    Args:
        spec: the specification of all workers.
        parts: each worker's share of the machine.
        logs: a folder for their output; None for standard error.
    """

    def __init__(self, spec: WorkerSpec, parts: Sequence[Share], logs: Path | None) -> None:
        self.spec, self.parts, self.logs = spec, list(parts), logs
        self.count, self.is_gpu = len(self.parts), any(part.gpu is not None for part in self.parts)
        self._members: dict[int, _Member] = {}
        self._is_stopping = False

    def start(self) -> None:
        """Start every worker."""
        for index in range(len(self.parts)):
            self._start(index)

    def _start(self, index: int) -> None:
        part, token = self.parts[index], secrets.token_hex(4)
        spec = replace(self.spec, device=part.device, threads=part.threads, path=tuple(sys.path), token=token)
        output = self._log(self.logs, index) if self.logs else None
        reading, writing = os.pipe()
        try:
            started = supervisor.start(
                python(process.__name__, str(reading)),
                grace=0,
                stdout=output or sys.stderr.fileno(),
                stderr=output or sys.stderr.fileno(),
                env=_environment(part),
                pass_fds=(reading,),
            )
        finally:
            os.close(reading)
            if output:
                output.close()
        with contextlib.suppress(BrokenPipeError), open(writing, "w") as pipe:  # the worker may already have ended
            pipe.write(process.to_json(spec))
        self._members[index] = _Member(started, token)

    @staticmethod
    def _log(folder: Path, index: int) -> BinaryIO:
        path = folder / f"worker-{index}.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return os.fdopen(open_handle(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, within=folder.parent), "ab")
        except OSError as error:
            raise InputError(f"{path}: cannot open the log: {error.strerror}") from None

    def replace_dead(self) -> list[tuple[str, str]]:
        """See `Engine`. A worker that joined another process's search is not replaced after that search is over."""
        dead = []
        for index, member in list(self._members.items()):
            code = member.process.poll()
            if code is None:
                continue
            supervisor.end(member.process, 0)
            del self._members[index]
            if self.spec.patience is not None and code == process.OVER:
                continue
            dead.append((f":{member.token}", f"it ended with {supervisor.how_it_ended(code)}"))
            if not self._is_stopping:
                self._start(index)
        return dead

    def end(self, owner: str) -> None:
        for member in self._members.values():
            if owner.endswith(f":{member.token}"):
                supervisor.end(member.process, 0)

    def alive(self) -> int:
        return sum(member.process.poll() is None for member in self._members.values())

    def tail(self) -> str:
        if self.logs is None or not self.logs.is_dir():
            return ""
        newest = max(self.logs.glob("worker-*.log"), key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            return ""
        with contextlib.suppress(OSError), open_file(newest, within=self.logs.parent) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 65_536))
            lines = file.read().decode("utf-8", "replace").split("\n")
            return plain(next((line for line in reversed(lines) if line.strip()), ""))
        return ""

    def ask_to_stop(self) -> None:
        self._is_stopping = True
        for member in self._members.values():
            if member.process.poll() is None:
                member.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.alive()

    def kill(self) -> None:
        self._is_stopping = True
        for member in self._members.values():
            supervisor.end(member.process, _KILL_SECONDS)
        self._members.clear()


def make(url: str, study: str, workers: int | None, device: str, logs: Path | None, address: str | None) -> Engine:
    """See `lrtune.search.workers.engine.make_engine`."""
    return LocalEngine(WorkerSpec(url=url, study=study), shares(workers, device), logs)


def join(
    storage: str,
    study: str,
    *,
    workers: int | None = 1,
    device: str = "auto",
    threads: int | None = None,
    checkpoints: Path | None = None,
    trainer: str | None = None,
) -> int | None:
    """Train trials of a search on another machine until it ends; returns the signal that stopped this, or None.

    Args:
        trainer: the only trainer to run; None for any trainer that the storage names.

    Raises:
        InputError: the study does not exist, or this machine's trainer or data differ from those of the search.
        RunFailedError: too many workers failed.
    """
    spec = WorkerSpec(
        url=normalise(storage),
        study=study,
        checkpoints=str(checkpoints.resolve()) if checkpoints else None,
        patience=_PATIENCE,
        trainer=trainer,
    )
    check_here(spec)
    parts = shares(workers, device)
    parts = parts if threads is None else [replace(part, threads=threads) for part in parts]
    engine = LocalEngine(spec, parts, None)
    with Stopping() as stopping:
        try:
            engine.start()
            lost = 0
            while not stopping.is_asked:
                lost += len(engine.replace_dead())
                if lost > 5 * engine.count:
                    raise RunFailedError(f"workers: {lost} of them failed; see the lines above")
                if not engine.alive():
                    break
                time.sleep(0.1)
            engine.ask_to_stop()
            while not engine.wait(0.1) and not stopping.is_now:
                pass
        finally:
            engine.kill()
        return stopping.signum


def _environment(part: Share) -> Mapping[str, str]:
    environment = dict(os.environ)
    for name in _THREAD_VARIABLES:
        environment[name] = str(part.threads)
    if part.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = part.gpu
    environment["PYTHONUNBUFFERED"] = "1"
    return environment
