"""Trains the rates that a quick search returned again, on fresh seeds, beside a √2 sweep over an octave each way.

    python -m studies.quick.retrain RUN [--seeds 101,102] [--workers 2] [--out runs/retrain]

Prints, for each width, the mean loss over the seeds at every rate of the sweep, and by how much the returned rate (the
middle column) loses to the best of them.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from lrtune.rule import recommend
from lrtune.rulefile import load_rule
from lrtune.search import Task, run_fixed
from lrtune.study import load_study

HALF_OCTAVES = range(-2, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder of a finished search")
    parser.add_argument("--seeds", default="101,102")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/retrain"))
    flags = parser.parse_args()
    study, rule = load_study(flags.run / "study.toml"), load_rule(flags.run / "rule.json")
    answers = {width: recommend(width, rule=rule).learning_rate for width in study.widths}
    tasks = {
        (width, n, seed): Task(hidden_size=width, learning_rate=answer * 2 ** (n / 2), seed=int(seed))
        for seed in flags.seeds.split(",")
        for width, answer in answers.items()
        for n in HALF_OCTAVES
    }
    whole = replace(study, name="retrain", pruner="none")
    records = run_fixed(whole, tasks.values(), flags.out, workers=flags.workers).records
    found = {(r.hidden_size, r.learning_rate, r.seed): r.loss for r in records}
    print("| hidden | returned | " + " | ".join(f"2^({n}/2)" for n in HALF_OCTAVES) + " | regret |")
    print("|---" * (len(HALF_OCTAVES) + 3) + "|")
    for width, answer in answers.items():
        losses: dict[int, list[float]] = defaultdict(list)
        for (w, n, _), task in tasks.items():
            loss = found.get((task.hidden_size, task.learning_rate, task.seed))
            if w == width and loss is not None:
                losses[n].append(loss)
        means = {n: fmean(values) for n, values in losses.items()}
        regret = f"{means[0] / min(means.values()) - 1:.2%}" if 0 in means else "–"
        cells = " | ".join(f"{means[n]:.3f}" if n in means else "–" for n in HALF_OCTAVES)
        print(f"| {width} | {answer:.4g} | {cells} | {regret} |")


if __name__ == "__main__":
    main()
