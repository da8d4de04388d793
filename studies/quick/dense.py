"""Records dense sweeps at the sizes and steps of the quick study, on seeds that no search uses.

    python -m studies.quick.dense [--seeds 101,102,103,104] [--workers 2] [--out runs/dense]

`studies.quick.regret` measures rules against them. A second call resumes the first.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from lrtune.cli.settings import quick_study
from lrtune.search.run import run_fixed
from lrtune.study.task import Task

# hidden size → the sweep's ends in half octaves, an octave or more around what searches return
HALF_OCTAVES = {48: (-12, -5), 64: (-13, -6), 96: (-15, -8), 128: (-17, -10)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="101,102,103,104")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/dense"))
    flags = parser.parse_args()
    tasks = [
        Task(hidden_size=width, learning_rate=2 ** (n / 2), seed=int(seed))
        for seed in flags.seeds.split(",")
        for width, (low, high) in HALF_OCTAVES.items()
        for n in range(low, high + 1)
    ]
    run_fixed(replace(quick_study(), name="dense", pruner="none"), tasks, flags.out, workers=flags.workers)


if __name__ == "__main__":
    main()
