"""Python programs as forks of one process that has loaded the large libraries, so that each starts at once."""

import multiprocessing
import os
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
        "torch",
        "transformers",
        "altair",
        "vl_convert",
        "lrtune.cli.search",
        "lrtune.search.run",
        "lrtune.report.page",
    ]
)


def python(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What `python` does with `-m MODULE …` or `-c CODE` in a folder: its exit code and what it printed."""
    with tempfile.TemporaryDirectory() as printed:
        out, err = Path(printed, "out"), Path(printed, "err")
        program = _SERVER.Process(target=_run, args=(words, folder, environment, out, err))
        program.start()
        program.join(400)
        if program.is_alive():
            program.kill()
            raise TimeoutError(" ".join(words))
        assert program.exitcode is not None
        return subprocess.CompletedProcess(words, program.exitcode, out.read_text(), err.read_text())


def _run(words: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(folder))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words[:1]
        sys.modules["__main__"] = ModuleType("__main__")
        exec(words[1], vars(sys.modules["__main__"]))
