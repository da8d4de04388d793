"""How long until an answer, a command and a search's first run are there?

    python studies/benchmarks/startup.py
    python studies/benchmarks/startup.py --searches 3

Programs take turns, each in a process of its own; the table gives medians and their ratio to ``python -c pass``, with
compiled modules. A search is the built-in one, with its text and kernels in the cache, stopped at its first report.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ANSWER = "from lrtune import get_learning_rate; get_learning_rate({}, rule={!r})"
FILE = str(Path(__file__).parents[1] / "reference" / "rule.json")  # the packaged rule as a file
PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "import collections, enum": ["-c", "import collections, enum"],
    "import json": ["-c", "import json"],
    "from lrtune import get_learning_rate": ["-c", "from lrtune import get_learning_rate"],
    "… and ask at a measured size": ["-c", ANSWER.format(64, "packaged")],
    "… and ask between sizes": ["-c", ANSWER.format(56, "packaged")],
    "… and ask a rule file at a measured size": ["-c", ANSWER.format(64, FILE)],
    "lrtune lr 256 --plain": ["-m", "lrtune", "lr", "256", "--plain"],
    "lrtune --help": ["-m", "lrtune", "--help"],
}


def seconds(program: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *program], check=True, capture_output=True)
    return time.perf_counter() - began


def first_run() -> tuple[float, float]:
    """Seconds from the command to the start of the first run, and to its first report."""
    with tempfile.TemporaryDirectory() as folder:
        began, started = time.monotonic(), 0.0
        search = [sys.executable, "-m", "lrtune", "search", "--json-lines", "--out", str(Path(folder, "run"))]
        with subprocess.Popen(search, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)["event"]
                if event == "trial_started" and not started:
                    started = time.monotonic() - began
                if event == "trial_reported":
                    reported = time.monotonic() - began
                    process.terminate()
                    process.stdout.read()
                    break
    return started, reported


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--searches", type=int, default=0, help="searches to start instead")
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for _ in range(given.searches):
        print("first run started after {:.1f} s, first report after {:.1f} s".format(*first_run()), flush=True)
    if given.searches:
        return
    for program in PROGRAMS.values():
        seconds(program)
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(given.rounds):
        for name, program in PROGRAMS.items():
            times[name].append(seconds(program))
    bare = statistics.median(times["python -c pass"])
    print("| program | ms | × python |\n|---|---|---|")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"| `{name}` | {1e3 * middle:.1f} | {middle / bare:.2f} |")


if __name__ == "__main__":
    main()
