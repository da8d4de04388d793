"""Runs one program, and ends it with all that it started once the process that asked for it is gone.

Started as a script, ``python guard.py GRACE PROGRAM…``, with a pipe from its starter as standard input. The pipe closes
when the starter closes it or ends, even by a kill; then the program's group gets SIGTERM, GRACE seconds, and SIGKILL.
SIGTERM to the guard goes to the program alone. What the program leaves behind is ended too: on Linux also what left its
process group, elsewhere the group.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_LEFT_GRACE = 2.0  # between SIGTERM and SIGKILL for what a program that has ended left behind
_SET_CHILD_SUBREAPER = 36
_NOT_RUN = 126


def start(arguments: Sequence[str], *, grace: float, **more: Any) -> "subprocess.Popen[bytes]":
    """Start a program under a guard; its exit code is the guard's, 128 + the signal's number where one ended it."""
    command = [sys.executable, "-I", "-S", __file__, str(grace), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, **more)


def end(guard: "subprocess.Popen[bytes]", seconds: float) -> None:
    """End a program with its guard and return when they are gone, after `seconds` at most by force."""
    assert guard.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        guard.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        guard.wait(seconds)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(guard.pid, signal.SIGKILL)  # what is left of the group
    guard.wait()


def how_it_ended(code: int) -> str:
    """The exit code of a guard, or of a process without one, in words."""
    number = -code if code < 0 else code - 128
    if 0 < number < 32:
        with contextlib.suppress(ValueError):
            return signal.Signals(number).name
    return f"code {code}"


def main(grace: float, arguments: Sequence[str]) -> int:
    """Run the program to its end, then end what it left behind; returns its exit code."""
    is_linux = sys.platform == "linux"
    if is_linux:  # orphans of the program become children of this process
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        program = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, close_fds=False)
    except OSError as error:
        print(f"{arguments[0]}: {error.strerror}", file=sys.stderr)
        return _NOT_RUN
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: None if ending.is_set() else _send(program.pid, number))
    threading.Thread(target=_watch, args=(grace, ending, is_linux), daemon=True).start()
    while (ended := os.waitpid(-1, 0))[0] != program.pid:
        pass
    if is_linux:
        _end_children(signal.SIGTERM, _LEFT_GRACE)
        _end_children(signal.SIGKILL, 60.0)
    code = os.waitstatus_to_exitcode(ended[1])
    return code if code >= 0 else 128 - code


def _watch(grace: float, ending: threading.Event, is_linux: bool) -> None:
    """End everything once the starter is gone."""
    while os.read(0, 1024):
        pass
    if grace:
        ending.set()
        os.killpg(0, signal.SIGTERM)
        time.sleep(grace)
    if is_linux:
        _kill_descendants()
    os.killpg(0, signal.SIGKILL)


def _kill_descendants() -> None:
    """SIGKILL for every child until there is none; the main thread waits for them."""
    while children := _children():
        for child in children:
            _send(child, signal.SIGKILL)
        time.sleep(0.005)


def _end_children(number: int, seconds: float) -> None:
    """Send a signal to every child, orphans that come in meanwhile included, until there is none or time is up."""
    deadline = time.monotonic() + seconds
    told: set[int] = set()
    while time.monotonic() < deadline:
        for child in _children() - told:
            _send(child, number)
            told.add(child)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _children() -> set[int]:
    """The children of this process, where /proc tells; one counts until it is waited for.

    A process of several threads looks dead before all have ended, and only then are its own children handed on.
    """
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
