"""Commands of lrtune as forks of one process that has loaded the large libraries, so that each starts at once."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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


def lrtune(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One command in a folder: its exit code and what it printed."""
    with tempfile.TemporaryDirectory() as printed:
        out, err = Path(printed, "out"), Path(printed, "err")
        command = _SERVER.Process(target=_run, args=(words, folder, environment, out, err))
        command.start()
        command.join(400)
        if command.is_alive():
            command.kill()
            raise TimeoutError(f"lrtune {' '.join(words)}")
        assert command.exitcode is not None
        return subprocess.CompletedProcess(words, command.exitcode, out.read_text(), err.read_text())


def _run(words: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(folder))
    sys.argv = ["lrtune", *words]
    from lrtune.__main__ import main

    main()
