"""Sweeps that no search and no rule has seen: five rates √2 apart around the joint search's answer, on two fresh seeds.

    python -m studies.reference.fresh [--workers 2] [--out runs/fresh]

One cell inside what `search-joint.jsonl` trained, and one beyond it in width, in steps and in batch. A second call
resumes the first. All three at once would take about 20 minutes a run on two cores; studies/joint has that sweep.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

from lrtune.law.fit import fit_run
from lrtune.records.jsonl import read_records
from lrtune.rule import recommend
from lrtune.search.run import run_fixed
from lrtune.study.task import Task
from lrtune.study.toml import load_study

HERE = Path(__file__).parent
CELLS = ((96, 800, 512), (256, 800, 1024), (64, 800, 4096), (64, 3200, 1024))  # hidden size, steps, tokens of a step
SEEDS = (101, 102)
CONTEXT = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/fresh"))
    flags = parser.parse_args()
    rule = fit_run(read_records(HERE / "search-joint.jsonl").records).rule
    tasks = []
    for hidden_size, steps, batch in CELLS:
        answer = recommend(hidden_size, rule=rule, steps=steps, batch_tokens=batch).learning_rate
        middle = round(2 * math.log2(answer))
        tasks += [
            Task(
                hidden_size=hidden_size,
                learning_rate=2 ** ((middle + n) / 2),
                seed=seed,
                scales={"steps": float(steps), "batch": batch / CONTEXT},
            )
            for seed in SEEDS
            for n in range(-2, 3)
        ]
    study = replace(load_study(HERE / "study-joint.toml"), name="fresh", pruner="none")
    run_fixed(study, tasks, flags.out, workers=flags.workers)


if __name__ == "__main__":
    main()
