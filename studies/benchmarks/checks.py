"""Does one run that goes on after its verdict *beaten* show whether the verdict fits the trainer? And what then?

    python studies/benchmarks/checks.py [--orders 10] [--draws 60]

Recorded curves (BitNet, four sets), and made ones under three schedules: 16 rates half an octave apart, 8 of them in a
random order, loss = 2.5 + 2 / √(1 + 5 · rate · progress) + noise · rate · (schedule) + a rise above 0.04. `noise` is
the share of loss at a rate of 0.01, which decays with the schedule.

found       share of sweeps in which the first beaten run above the best rate ended within 2% of the best finished run;
            of those in which one was beaten
costs       steps that this run trains after its verdict, as a share of a run, mean
saved, wrong
            steps not trained, and cut runs that end within 1% of their sweep's best per sweep: by the usual verdicts,
            with a double margin, and by peers at the run's rate or above it alone
"""

import argparse
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pruning import Run, load

from lrtune.search.pruning.check import judges
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import verdict
from lrtune.study.study import PruningPolicy

STUDIES = Path(__file__).parents[1]
SETS = ("pruning/records", "pruning/fresh", "phase4/records", "reference/held-out")
POLICY = PruningPolicy()
USUAL, DOUBLE, ABOVE = "usual", "double margin", "peers above alone"
STEPS, EVERY = 400, 20


@dataclass
class Tally:
    """The sweeps of one row."""

    sweeps: int = 0
    checks: int = 0
    found: int = 0
    costs: float = 0.0
    saved: dict[str, list[float]] = field(default_factory=lambda: {USUAL: [], DOUBLE: [], ABOVE: []})
    wrong: dict[str, int] = field(default_factory=lambda: {USUAL: 0, DOUBLE: 0, ABOVE: 0})

    def add(self, runs: Sequence[Run]) -> None:
        """One sweep, its runs in this order."""
        self.sweeps += 1
        best = min(run.final for run in runs)
        for mode in self.saved:
            finished: list[Curve] = []
            is_checked = mode != USUAL
            for run in runs:
                count, kind = cut(run, finished, mode)
                self.saved[mode].append(1 - run.curve.steps[count - 1] / run.curve.steps[-1])
                if count == run.reports:
                    finished += [run.curve] if math.isfinite(run.final) else []
                    continue
                self.wrong[mode] += run.final <= best * 1.01
                peer = min(finished, key=lambda curve: curve.final_loss or math.inf, default=None)
                if peer is not None and kind == "beaten" and not is_checked and is_above(run.curve, peer):
                    is_checked = True
                    self.checks += 1
                    self.costs += 1 - run.curve.steps[count - 1] / run.curve.steps[-1]
                    self.found += run.final <= (peer.final_loss or math.inf) * (1 + POLICY.regret)

    def row(self, name: str) -> str:
        costs = f"{self.costs / self.checks:.0%}" if self.checks else "–"
        saved = [f"{sum(values) / len(values):.1%}" for values in self.saved.values()]
        wrong = [f"{count / self.sweeps:.2f}" for count in self.wrong.values()]
        return f"| {' | '.join([name, f'{self.found} of {self.checks}', costs, *saved, *wrong])} |"


def is_above(curve: Curve, peer: Curve) -> bool:
    """Whether the run's rate is higher than its peer's."""
    return (curve.learning_rate or 0.0) > (peer.learning_rate or math.inf)


def cut(run: Run, finished: Sequence[Curve], mode: str) -> tuple[int, str]:
    """After how many reports the run is cut, and by which verdict; all of them if it is not."""
    policy = replace(POLICY, margin=2 * POLICY.margin) if mode == DOUBLE else POLICY
    peers = judges(run.curve, finished) if mode == ABOVE else finished
    for count in range(1, run.reports):
        found = verdict(run.upto(count), policy, peers)
        if found.is_cut:
            return count, found.kind
    return run.reports, "keep"


def recorded(path: Path, orders: int) -> Iterator[list[Run]]:
    """The runs of each recorded search at one width, in random orders."""
    for unit in load([path]):
        for seed in range(0 if unit.is_hopeless else orders):
            runs = list(unit.runs)
            random.Random(f"{unit.name} {seed}").shuffle(runs)
            yield runs


def left(schedule: str, done: float) -> float:
    """The share of the peak rate after this share of the steps."""
    if schedule == "constant, then decay":
        return min(1.0, 1 - 0.95 * (done - 0.8) / 0.2)
    return 0.05 + 0.475 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1 - 0.95 * done


def made(schedule: str, noise: float, seed: int) -> list[Run]:
    """Eight runs in a random order."""
    draw, runs = random.Random(seed), []
    for k in range(-7, 9):
        rate, progress, losses = 0.01 * 2 ** (k / 2), 0.0, []
        for step in range(STEPS + 1):
            now = left(schedule, step / STEPS)
            if step % EVERY == 0:
                loss = 2.5 + 2 / math.sqrt(1 + 5 * rate * progress) + draw.gauss(0, 0.004)
                loss += noise * rate / 0.01 * now * min(1.0, progress * rate / 0.3)
                losses.append(loss + 0.02 * max(0.0, math.log2(rate / 0.04)) ** 2)
            progress += now
        curve = Curve(steps=range(0, STEPS + 1, EVERY), losses=losses, planned_steps=STEPS, learning_rate=rate)
        runs.append(Run(curve, [None] * len(losses), losses[-1]))
    return draw.sample(runs, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=10)
    parser.add_argument("--draws", type=int, default=60)
    given = parser.parse_args()
    print(f"| curves | found | costs | saved: {USUAL} | {DOUBLE} | {ABOVE} | wrong: {USUAL} | {DOUBLE} | {ABOVE} |")
    print("|---" * 9 + "|")
    for name in SETS:
        tally = Tally()
        for runs in recorded(STUDIES / f"{name}.jsonl", given.orders):
            tally.add(runs)
        print(tally.row(name), flush=True)
    for schedule in ("constant, then decay", "cosine", "linear"):
        for noise in (0.02, 0.05, 0.1, 0.2):
            tally = Tally()
            for seed in range(given.draws):
                tally.add(made(schedule, noise, seed))
            print(tally.row(f"{schedule}, noise {noise:g}"), flush=True)


if __name__ == "__main__":
    main()
