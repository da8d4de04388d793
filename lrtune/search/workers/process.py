"""A worker in its own process. Its supervisor ends it and its child processes when the engine ends."""

import faulthandler
import functools
import json
import signal
import sys
import threading
import time
from dataclasses import asdict

from lrtune.errors import LrtuneError, redact
from lrtune.search.workers.training import explain, leave
from lrtune.search.workers.worker import Worker, WorkerSpec
from lrtune.trainer import supervisor

TIMED_OUT = 75
_LEAVE_SECONDS = 5.0
OVER = 76  # exit code when the search is over; every other code, 0 included, means an early end


def to_json(spec: WorkerSpec) -> str:
    """A worker's specification as one line for its pipe."""
    return json.dumps(asdict(spec))


def from_json(text: str) -> WorkerSpec:
    """The specification from `to_json`; puts its folders at the front of ``sys.path``."""
    data = json.loads(text)
    spec = WorkerSpec(**{**data, "path": tuple(data["path"])})
    sys.path[:] = [*spec.path, *(folder for folder in sys.path if folder not in spec.path)]
    return spec


def main(pipe: str) -> int:
    """Run one worker; `pipe` is the descriptor of the pipe with its specification."""
    supervisor.end_with_supervisor()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with open(int(pipe)) as reading:
            spec = from_json(reading.read())
        worker = Worker(spec, stop, give_up)
        threading.Thread(target=_end_when_stuck, args=(worker.lease_seconds,), daemon=True).start()
        code = OVER if worker.run() else 0
        threading.Thread(target=_leave, args=(code,), daemon=True).start()
        return code
    except LrtuneError as error:
        print(f"error: {redact(error)}", file=sys.stderr, flush=True)
        return error.exit_code
    except Exception as error:
        print(explain(error), file=sys.stderr, flush=True)
        return 1


give_up = functools.partial(leave, TIMED_OUT)  # ends this process at once, from any thread


def _leave(code: int) -> None:
    """End a process that still waits for its trainer's threads and processes."""
    time.sleep(_LEAVE_SECONDS)
    leave(code)


def _end_when_stuck(seconds: float) -> None:
    """End the process with a traceback if no thread has run for the length of a lease."""
    while True:
        faulthandler.dump_traceback_later(seconds, exit=True)
        time.sleep(seconds / 6)
