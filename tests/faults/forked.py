"""Python programs as forks of one process that has loaded the large libraries, so that each starts at once."""

import atexit
import multiprocessing
import os
import resource
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "pytest",
        "torch._dynamo",  # by the first optimizer
        "altair",
        "vl_convert",
        "optuna.storages._rdb.storage",
        "alembic.command",
        "lrtune.cli.search",
        "lrtune.search.run",
        "lrtune.law.fit",
        "lrtune.report.page",
        "lrtune.report.terminal.live",
    ]
)


class Program:
    """What `python` does with `-m MODULE …`, `-c CODE` or `SCRIPT …`, in a session of its own; see `subprocess.Popen`.

    Args:
        limit: the largest file that it may write, in bytes.
    """

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str], limit: int | None = None) -> None:
        self.words, self._printed = words, tempfile.TemporaryDirectory()
        self._streams = [Path(self._printed.name, name) for name in ("out", "err")]
        self._process = _SERVER.Process(target=_run, args=(words, folder, environment, self._streams, limit))
        self._process.start()
        atexit.register(self._process.kill)  # after a test that failed; else the interpreter waits for it
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def communicate(self, timeout: float) -> tuple[int, str, str]:
        """Wait for its end; its exit code and what it printed."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(" ".join(self.words))
        out, err = (path.read_text() if path.exists() else "" for path in self._streams)
        self._printed.cleanup()
        return self._process.exitcode, out, err


def python(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A program from its start to its end."""
    return subprocess.CompletedProcess(words, *Program(words, folder, environment).communicate(400))


def _run(words: list[str], folder: Path, environment: dict[str, str], streams: list[Path], limit: int | None) -> None:
    os.setsid()
    for stream, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.path.insert(0, str(folder))
    sys.argv = words[:1]
    if words[0] == "-c":
        sys.modules["__main__"] = ModuleType("__main__")
        exec(words[1], vars(sys.modules["__main__"]))
    elif words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
