"""What the tuner itself costs: CPU milliseconds to ask, prune and tell with 10, 1,000 and 20,000 trials in the study.

    python studies/benchmarks/overhead.py

"first" is the first ask of a process, which reads all trials. The storage in memory shows the sampler's own cost;
SQLite is filled up to 1,000 trials only, since filling takes longer than measuring.
"""

import argparse
import math
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from lrtune.pruner import CollapsePruner
from lrtune.sampler import ScaleAwareSampler

WIDTHS = (32, 64, 128, 256)
SPACE = {"hidden_size": IntDistribution(1, 10**6), "learning_rate": FloatDistribution(1e-6, 10.0, log=True)}
REPORTS = 10
STEP = 50  # of 100: late enough for a verdict against peers


def fill(study: optuna.Study, count: int, rng: np.random.Generator) -> None:
    """Finished trials at random widths and rates of a surface with its optimum at 0.3 / width."""
    for _ in range(count):
        width, rate = int(rng.choice(WIDTHS)), float(10 ** rng.uniform(-4, 0))
        loss = 4.0 * math.exp(min(0.01 * math.log2(rate * width / 0.3) ** 2, 0.5) + 0.003 * rng.standard_normal())
        reports = {10 * k: loss * (1.6 - 0.06 * k) for k in range(1, REPORTS + 1)}
        params = {"hidden_size": width, "learning_rate": rate}
        study.add_trial(create_trial(params=params, distributions=SPACE, value=loss, intermediate_values=reports))


def measure(study: optuna.Study, rounds: int) -> list[float]:
    """Milliseconds: the first ask, then medians of ask, of report + should_prune, of tell."""
    times: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        start = time.process_time()
        trial = study.ask(SPACE)
        asked = time.process_time()
        trial.report(5.0, STEP)
        trial.should_prune()
        pruned = time.process_time()
        study.tell(trial, 4.2)
        times.append((asked - start, pruned - asked, time.process_time() - pruned))
    columns = np.array(times) * 1000
    return [columns[0, 0], *np.median(columns[1:], axis=0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one thread; CPU ms\n")
    print("| storage | trials | first ask | ask | report + prune | tell | all three |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for storage, counts in (("memory", (10, 1_000, 20_000)), ("SQLite", (10, 1_000))):
            for count in counts:
                url = None if storage == "memory" else f"sqlite:///{Path(folder) / f'{count}.db'}"
                sampler = ScaleAwareSampler(WIDTHS, lr_range=(1e-4, 1.0), search_space=SPACE, seed=0)
                study = optuna.create_study(storage=url, sampler=sampler, pruner=CollapsePruner(steps=100))
                fill(study, count, np.random.default_rng(0))
                first, ask, prune, tell = measure(study, rounds)
                row = (first, ask, prune, tell, ask + prune + tell)
                print(f"| {storage} | {count:,} | {' | '.join(f'{value:.1f}' for value in row)} |", flush=True)


if __name__ == "__main__":
    main()
