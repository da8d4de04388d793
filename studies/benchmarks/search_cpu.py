"""What a search costs beside its training: CPU seconds of its own process, and of the workers that it starts.

    python studies/benchmarks/search_cpu.py                 the quick search, its table drawn in a terminal of its own
    python studies/benchmarks/search_cpu.py --piped         the same, its lines written to a file
    python studies/benchmarks/search_cpu.py --rounds 3 -- --widths 32,64 --budget 1m      another search

It takes minutes. Each round runs in a temporary folder and is printed as a row; time on the clock depends on what else
the machine does, CPU seconds much less. Linux and macOS.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_ROWS, _COLUMNS = 40, 120
# Run in the process of the search: it says itself what it and its children used, when all is written.
_BOOT = """
import atexit, json, os, resource, runpy, sys

def say():
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    with open(os.environ.pop("LRTUNE_MEASURED"), "w") as file:
        json.dump([own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime], file)

atexit.register(say)
sys.argv[0] = "lrtune"
runpy.run_module("lrtune", run_name="__main__", alter_sys=True)
"""


@contextlib.contextmanager
def terminal() -> Iterator[int]:
    """The far end of a terminal whose output somebody reads and throws away."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            if select.select([near], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):
                    os.read(near, 2**16)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield far
    finally:
        ended.set()
        reader.join()
        os.close(near)
        os.close(far)


def measure(arguments: list[str], *, piped: bool) -> tuple[float, float, float, int]:
    """Run one search; returns CPU seconds of its process and of its children, seconds on the clock, and its runs."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        output: Any = stack.enter_context((folder / "output").open("w") if piped else terminal())
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "LRTUNE_MEASURED": str(folder / "cpu.json")}
        environment |= {} if piped else {"TERM": "xterm-256color"}
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", _BOOT, "search", "--out", "run", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )
        seconds = time.monotonic() - began
        own, children = json.loads((folder / "cpu.json").read_text())
        runs = len((folder / "run" / "records.jsonl").read_text().splitlines())
    return own, children, seconds, runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--piped", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("arguments", nargs="*", help="of lrtune search, after --")
    given = parser.parse_args()
    print("| output | runs | clock, s | the search, CPU s | its workers, CPU s | share |\n|---|---|---|---|---|---|")
    for _ in range(given.rounds):
        own, children, seconds, runs = measure(given.arguments, piped=given.piped)
        output, share = "file" if given.piped else "terminal", own / (own + children)
        print(f"| {output} | {runs} | {seconds:.0f} | {own:.1f} | {children:.1f} | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
