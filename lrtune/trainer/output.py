"""The output of a running program: its lines as they come, and its last words for messages."""

import contextlib
import os
import queue
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lrtune.errors import plain

_MAX_LINE = 1 << 20
_MOST_LINES = 10_000  # of one batch
_SHOWN_LINES, _SHOWN_WIDTH = 20, 1000
_POLL_SECONDS = 0.05
_LAST_WORDS_SECONDS = 0.5


class Output:
    """The lines of a program's stdout, of a file that it may write, and on request of its stderr.

    Args:
        process: the program, with a pipe as stdout.
        file: a file that it may write; a folder there does not count.
        errors: the file that is its stderr.
        with_errors: whether lines of stderr count too.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", file: Path, errors: IO[bytes], *, with_errors: bool = False
    ) -> None:
        self.process, self.file, self.errors, self.with_errors = process, file, errors, with_errors
        self.has_ended = False
        self._last: deque[str] = deque(maxlen=_SHOWN_LINES)

    def batches(self) -> Iterator[list[str]]:
        """The new lines, in batches that may be empty, until the program has ended.

        It does not wait for stdout to close: a background child of the program may hold it open forever.
        """
        assert self.process.stdout is not None
        printed: queue.SimpleQueue[str] = queue.SimpleQueue()
        pump = threading.Thread(target=_pump, args=(self.process.stdout, printed), daemon=True)
        pump.start()
        with contextlib.ExitStack() as stack:
            tails = [_Tail(_reading(self.errors))] if self.with_errors else []
            is_open = False
            while not self.has_ended:
                self.has_ended = self.process.poll() is not None
                if self.has_ended:  # its last output may still be in the pipe
                    pump.join(_LAST_WORDS_SECONDS)
                lines = _taken(printed, wait=0.0 if self.has_ended else _POLL_SECONDS)
                self._last.extend(line[:_SHOWN_WIDTH] for line in lines)
                if not is_open and self.file.is_file():
                    is_open = True
                    tails.append(_Tail(stack.enter_context(self.file.open("rb")).read))
                yield lines + [line for tail in tails for line in tail.lines(is_last=self.has_ended)]

    def tail(self) -> str:
        """The last lines of stderr, or of stdout if stderr is empty."""
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - 4000))
        lines = self.errors.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:] or list(self._last)
        return "; it last wrote:\n" + plain("\n".join(lines)) if lines else ""


class _Tail:
    """Splits what `read` returns since the last call into lines."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self.read, self.rest = read, b""

    def lines(self, *, is_last: bool) -> list[str]:
        *lines, self.rest = re.split(rb"[\r\n]+", self.rest + self.read())
        if is_last and self.rest.strip():
            lines, self.rest = [*lines, self.rest], b""
        return [line.decode(errors="replace") for line in lines]


def _reading(file: IO[bytes]) -> Callable[[], bytes]:
    """Reads on from its own offset: the program shares the file's."""
    offset = 0

    def read() -> bytes:
        nonlocal offset
        data = os.pread(file.fileno(), _MAX_LINE, offset)
        offset += len(data)
        return data

    return read


def _taken(lines: "queue.SimpleQueue[str]", wait: float) -> list[str]:
    """The lines in the queue; waits up to `wait` seconds for the first."""
    taken: list[str] = []
    with contextlib.suppress(queue.Empty):
        if wait:
            taken.append(lines.get(timeout=wait))
        while len(taken) < _MOST_LINES or not wait:
            taken.append(lines.get_nowait())
    return taken


def _pump(stream: IO[bytes], lines: "queue.SimpleQueue[str]") -> None:
    with stream, contextlib.suppress(OSError):
        while raw := stream.readline(_MAX_LINE):
            for part in re.split(r"[\r\n]+", raw.decode(errors="replace")):  # a progress bar is one line to readline
                if part:
                    lines.put(part)
