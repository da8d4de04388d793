"""Runs one program, and kills it with its child processes when its starter ends.

Runs as a script, ``python supervisor.py GRACE PROGRAM…``, with a pipe from its starter as standard input. The pipe
closes when the starter closes it, ends or is killed. The supervisor then sends SIGTERM to the process group, waits
GRACE seconds and sends SIGKILL. It forwards a SIGTERM to the program alone. After the program ends, the supervisor ends
the rest of the process group, and on Linux also the descendants that left the group.

If the supervisor itself is killed, its starter ends the group. If both are killed, lrtune's own programs (GRACE 0) end
by themselves (`end_with_supervisor`), and other programs by Linux's parent-death signal.
"""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_LEFT_GRACE = 2.0  # seconds between SIGTERM and SIGKILL for processes that outlive the program
_LOOK_SECONDS = 1.0
_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36
_NOT_RUN = 126


def start(arguments: Sequence[str], *, grace: float, **more: Any) -> "subprocess.Popen[bytes]":
    """Start a program under a supervisor, which exits with the program's code, or 128 + the signal that ended it."""
    command = [sys.executable, "-I", "-S", __file__, str(grace), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, **more)


def end(supervisor: "subprocess.Popen[bytes]", seconds: float) -> None:
    """End a program with its supervisor and wait for both; kill them after `seconds`."""
    assert supervisor.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        supervisor.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        supervisor.wait(seconds)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(supervisor.pid, signal.SIGKILL)
    supervisor.wait()


def end_with_supervisor() -> None:
    """From now on, end this process and its process group if its supervisor is killed; for lrtune's own programs."""

    supervisor = os.getpgrp()  # it leads the group

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(_LOOK_SECONDS)
        for child in _children() if sys.platform == "linux" else ():
            _send(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(supervisor, signal.SIGKILL)
        _send(os.getpid(), signal.SIGKILL)  # if the program left the group

    threading.Thread(target=watch, daemon=True).start()


def how_it_ended(code: int) -> str:
    """The exit code of a supervisor or of a bare process, in words."""
    number = -code if code < 0 else code - 128
    if 0 < number < 32:
        with contextlib.suppress(ValueError):
            return signal.Signals(number).name
    return f"code {code}"


def main(grace: float, arguments: Sequence[str]) -> int:
    """Run the program to its end, then end the processes that it left; returns its exit code."""
    is_linux = sys.platform == "linux"
    prepare = None
    if is_linux:
        prctl = ctypes.CDLL(None).prctl
        prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of the program become children of this process
        if grace:
            prepare = functools.partial(prctl, _SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    try:
        program = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, close_fds=False, preexec_fn=prepare)
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
    """End everything when the starter is gone."""
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
    """Send SIGKILL to every child until none is left; the main thread waits for them."""
    while children := _children():
        for child in children:
            _send(child, signal.SIGKILL)
        time.sleep(0.005)


def _end_children(number: int, seconds: float) -> None:
    """Send a signal to every child, and to new orphans, until none is left or time is up."""
    deadline = time.monotonic() + seconds
    signalled: set[int] = set()
    while time.monotonic() < deadline:
        for child in _children() - signalled:
            _send(child, number)
            signalled.add(child)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _children() -> set[int]:
    """The children of this process from /proc, including dead ones until the supervisor waits for them.

    A process with several threads looks dead before its last thread ends, and only then do we inherit its children.
    """
    children = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                children.add(int(stat.parent.name))
    return children


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
