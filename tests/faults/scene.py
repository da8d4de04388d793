"""One search as a process of its own, to be killed, and what may be compared of its records.

Run as a script it is that search: ``python scene.py OUT SETTINGS`` with the settings as JSON.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from forked import Program

from lrtune.errors import LrtuneError
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.search.run import run_fixed, run_search
from lrtune.search.workers.leases import Lease, Leases
from lrtune.search.workers.owner import is_gone
from lrtune.search.workers.storage import open_engine, sqlite_url
from lrtune.study.study import Budget, PruningPolicy, Study
from lrtune.study.task import Task

HERE = Path(__file__).resolve().parent
_INCIDENTAL = ("trial", "worker", "attempt", "seconds")
CALM = PruningPolicy(beaten=False)


def study(trainer: str = "fast", **changes: Any) -> Study:
    """A fixed design of 15 or more runs, none of which is judged by its peers."""
    settings: dict[str, Any] = {"name": "faults", "widths": (16, 32, 64), "points": 5, "steps": 40, "report_every": 4}
    settings |= {"trainer": f"trainers:{trainer}", "design": "grid", "pruning": CALM}
    return Study(**settings | changes)


def environment() -> dict[str, str]:
    """That of a process which is to find this tree's lrtune and the fault suite's trainers."""
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def start(
    out: Path, trainer: str = "fast", *, script: str = "scene.py", limit: int | None = None, **settings: Any
) -> Program:
    """Start a search; `limit` is the largest file it may write, in bytes."""
    words = [str(HERE / script), str(out), json.dumps({"trainer": trainer, **settings})]
    return Program(words, HERE, environment(), limit)


def finish(search: Program, timeout: float = 120) -> tuple[int, str]:
    """Wait for the end; exit code and what it said."""
    code, out, err = search.communicate(timeout)
    return code, out + err


def until(condition: Callable[[], Any], seconds: float = 30, what: str = "it") -> Any:
    """Wait for a condition; fails when it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def records(out: Path) -> list[TrialRecord]:
    path = out / "records.jsonl"
    return read_records(path).records if path.exists() else []


def running(out: Path) -> list[Lease]:
    """The trials that a living worker has now."""
    if not (out / "study.toml").exists():
        return []
    leases = Leases(open_engine(sqlite_url(out)), "faults")
    try:
        return [lease for lease in leases.running() if not is_gone(lease.owner)]
    finally:
        leases.close()


def essence(found: Iterable[TrialRecord]) -> list[str]:
    """Records without what is incidental, in an order of their own; doubles stay doubles."""
    rows = []
    for record in found:
        data = {name: value for name, value in asdict(record).items() if name not in _INCIDENTAL}
        rows.append(json.dumps(data, sort_keys=True))
    return sorted(rows)


@cache
def untouched() -> list[str]:
    """What a search leaves to which nothing is done."""
    with tempfile.TemporaryDirectory() as folder:
        code, said = finish(start(Path(folder, "run")))
        assert code == 0, said
        found = records(Path(folder, "run"))
    assert len(found) == 21
    return essence(found)


def workers_of(parent: int) -> list[int]:
    """Process ids of a search's workers."""
    try:
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:
        listed = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True)
        text = listed.stdout
    return [int(pid) for pid in text.split()]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def main() -> int:
    out, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    changes = settings.pop("study", {})
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    kinds = {"pruning": PruningPolicy, "budget": Budget}
    changes |= {name: kind(**changes[name]) for name, kind in kinds.items() if name in changes}
    asked = study(settings.pop("trainer"), **changes)
    tasks = [Task(**task) for task in settings.pop("tasks", [])]
    settings = {"workers": 2, "write_rule": False, **settings}
    try:
        result = run_fixed(asked, tasks, out, **settings) if tasks else run_search(asked, out, **settings)
    except LrtuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(result.stop_reason)
    return 0 if result.interrupted is None else 128 + result.interrupted


if __name__ == "__main__":
    sys.exit(main())
