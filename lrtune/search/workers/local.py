"""Workers as processes of this machine: started fresh, cores and GPUs divided, none left behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from lrtune.errors import InputError, RunFailedError
from lrtune.files import open_file, open_handle
from lrtune.search.workers.leases import machine_id
from lrtune.search.workers.signals import Stopping
from lrtune.search.workers.storage import normalise
from lrtune.search.workers.worker import WorkerSpec, check_here

_MOST_WORKERS = 8
# A worker runs the same lrtune as its parent, wherever that was imported from.
_ROOT = str(Path(__file__).resolve().parents[3])
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop()); from lrtune.search.workers.worker import main; sys.exit(main())"
)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """CUDA devices that this process may use, found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in (part.strip() for part in visible.split(",")) if name and name != "-1"]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one worker gets of the machine."""

    device: str
    threads: int
    gpu: str | None = None


def shares(workers: int | None, device: str) -> list[Share]:
    """Divide the machine: by default one worker a GPU, else one a core, eight at most.

    Two processes of one thread beat one process of two by far for small models, hence as many workers as cores.
    """
    cards = gpus() if device in ("auto", "cuda") else []
    if cards:
        count = workers or len(cards)
        threads = max(1, cores() // count)
        return [Share(device="cuda:0", threads=threads, gpu=cards[index % len(cards)]) for index in range(count)]
    count = workers or min(cores(), _MOST_WORKERS)
    threads = max(1, cores() // count)
    return [Share(device="cpu" if device == "auto" else device, threads=threads)] * count


class LocalEngine:
    """Starts workers, notices the ones that died, replaces them, and ends them all."""

    def __init__(self, spec: WorkerSpec, parts: Sequence[Share], logs: Path | None) -> None:
        self.spec, self.parts, self.logs = spec, list(parts), logs
        self.count, self.is_gpu = len(self.parts), any(part.gpu is not None for part in self.parts)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._is_stopping = False

    def start(self) -> None:
        """Start every worker."""
        for index in range(len(self.parts)):
            self._start(index)

    def _start(self, index: int) -> None:
        part = self.parts[index]
        spec = replace(self.spec, device=part.device, threads=part.threads, path=tuple(sys.path))
        output = self._log(self.logs, index) if self.logs else None
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, _ROOT],
            stdin=subprocess.PIPE,
            stdout=output or sys.stderr.fileno(),
            stderr=output or sys.stderr.fileno(),
            env=_environment(part),
            start_new_session=True,
        )
        if output:
            output.close()
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(spec)).encode() + b"\n")
        process.stdin.flush()
        self._processes[index] = process

    @staticmethod
    def _log(folder: Path, index: int) -> BinaryIO:
        path = folder / f"worker-{index}.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return os.fdopen(open_handle(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, within=folder.parent), "ab")
        except OSError as error:
            raise InputError(f"{path}: cannot open the log: {error.strerror}") from None

    def dead(self) -> list[tuple[str, str]]:
        """See `lrtune.search.workers.engine.Engine`; each worker that ended badly is replaced."""
        found = []
        for index, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            self._close(self._processes.pop(index))
            if code != 0:
                found.append((f"{machine_id()}:{process.pid}:", _how(code)))
                if not self._is_stopping:
                    self._start(index)
        return found

    def alive(self) -> int:
        """Workers that run now."""
        return sum(process.poll() is None for process in self._processes.values())

    def tail(self, lines: int = 5) -> str:
        """The last lines that any worker wrote, for an error message."""
        if self.logs is None or not self.logs.is_dir():
            return ""
        newest = max(self.logs.glob("worker-*.log"), key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            return ""
        with contextlib.suppress(OSError), open_file(newest, within=self.logs.parent) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 65_536))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
        return ""

    def ask_to_stop(self) -> None:
        """Let workers checkpoint at their next report and end."""
        self._is_stopping = True
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Wait for all workers to end; True when they have."""
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.alive()

    def kill(self) -> None:
        """End all workers now, with whatever they started."""
        self._is_stopping = True
        for process in self._processes.values():
            if process.poll() is None:
                with _ignoring_gone():
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._close(process)
        self._processes.clear()

    @staticmethod
    def _close(process: "subprocess.Popen[bytes]") -> None:
        with _ignoring_gone():
            os.killpg(process.pid, signal.SIGKILL)  # what the worker started and left behind
        if process.stdin is not None:
            with _ignoring_gone():
                process.stdin.close()


def make(
    *, url: str, study: str, workers: int | None, device: str, logs: Path | None, address: str | None = None
) -> LocalEngine:
    """See `lrtune.search.workers`."""
    return LocalEngine(WorkerSpec(url=url, study=study), shares(workers, device), logs)


def join(
    storage: str,
    study: str,
    *,
    workers: int | None = 1,
    device: str = "auto",
    threads: int | None = None,
    checkpoints: Path | None = None,
) -> int | None:
    """Train trials of a search that runs elsewhere, until it ends; returns the signal that stopped this, or None.

    Raises:
        InputError: there is no such study, or this machine's trainer or data are not those of the search.
        RunFailedError: the workers cannot work here.
    """
    spec = WorkerSpec(url=normalise(storage), study=study, checkpoints=str(checkpoints) if checkpoints else None)
    check_here(spec)
    parts = shares(workers, device)
    parts = parts if threads is None else [replace(part, threads=threads) for part in parts]
    engine = LocalEngine(spec, parts, None)
    with Stopping() as stopping:
        try:
            engine.start()
            lost = 0
            while not stopping.is_asked:
                lost += len(engine.dead())
                if lost > 5 * engine.count:
                    raise RunFailedError(f"workers: {lost} ended badly, the lines above say why")
                if not engine.alive():
                    break
                time.sleep(0.1)
            engine.ask_to_stop()
            while not engine.wait(0.1) and not stopping.is_now:
                pass
        finally:
            engine.kill()
        return stopping.signum


def _how(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


class _ignoring_gone:
    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, ProcessLookupError | PermissionError | BrokenPipeError)


def _environment(part: Share) -> Mapping[str, str]:
    environment = dict(os.environ)
    for name in _THREAD_VARIABLES:
        environment[name] = str(part.threads)
    if part.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = part.gpu
    environment["PYTHONUNBUFFERED"] = "1"
    return environment
