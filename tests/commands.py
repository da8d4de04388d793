"""Commands of lrtune in this process, and whether a process that one started still runs."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Ran(NamedTuple):
    """One command: its exit code and what it printed."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not, where /proc tells."""
    with contextlib.suppress(OSError):  # it may end while it is read
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc/self").exists()
