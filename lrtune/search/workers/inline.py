"""One worker in a thread of the search's process: to debug a trainer, or where no process can start.

The trainer's output and a debugger's prompt appear in this terminal. A trainer that hangs keeps its thread until its
next report; meanwhile its trial ends and another worker continues with the other trials.
"""

import secrets
import threading
from dataclasses import replace
from pathlib import Path

from lrtune.errors import plain, redact
from lrtune.search.workers.engine import Engine
from lrtune.search.workers.machine import shares
from lrtune.search.workers.worker import Worker, WorkerSpec


class _Member:
    """A worker with its thread. `has_left` is set when it takes no more trials."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = replace(spec, token=secrets.token_hex(4))
        self.stop = threading.Event()
        self.has_left = threading.Event()
        self.how = "it ended"
        self.worker: Worker | None = None
        threading.Thread(target=self._run, name="lrtune-worker", daemon=True).start()

    def _run(self) -> None:
        try:
            self.worker = Worker(self.spec, self.stop, self.give_up)
            self.worker.run()
        except BaseException as error:
            self.how = plain(redact(error)) or type(error).__name__
        finally:
            self.has_left.set()

    def give_up(self) -> None:
        """Leave a trainer that hangs."""
        self.how = "its trainer hangs"
        self.has_left.set()


class InlineEngine(Engine):
    """See `lrtune.search.workers.engine.Engine`."""

    count = 1

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec, self.is_gpu = spec, spec.device.startswith("cuda")
        self._member: _Member | None = None
        self._is_stopping = False
        self._last = ""

    def start(self) -> None:
        """Start the worker."""
        self._member = _Member(self.spec)

    def replace_dead(self) -> list[tuple[str, str]]:
        member = self._member
        if member is None or not member.has_left.is_set():
            return []
        self._last = member.how
        self._member = None if self._is_stopping else _Member(self.spec)
        return [(f":{member.spec.token}", member.how)]

    def end(self, owner: str) -> None:
        if self._member is not None and owner.endswith(f":{self._member.spec.token}"):
            self._member.give_up()

    def ask_to_stop(self) -> None:
        self._is_stopping = True
        if self._member is not None:
            self._member.stop.set()

    def wait(self, seconds: float) -> bool:
        return self._member is None or self._member.has_left.wait(seconds)

    def kill(self) -> None:
        self.ask_to_stop()
        if self._member is not None and self._member.worker is not None:
            self._member.worker.abandon()
        self._member = None

    def alive(self) -> int:
        return int(self._member is not None and not self._member.has_left.is_set())

    def tail(self) -> str:
        return self._last


def make(url: str, study: str, workers: int | None, device: str, logs: Path | None, address: str | None) -> Engine:
    """See `lrtune.search.workers.engine.make_engine`."""
    (part,) = shares(1, device)
    return InlineEngine(WorkerSpec(url=url, study=study, device=part.device, threads=part.threads))
