"""How much more than its peers has a good run ever gained? The figures that the constants of *beaten* come from.

    python -m studies.benchmarks.pruning_margin

For every run that ends within 1% of its unit's best, on the half of the curves that constants are chosen on: the
smallest `margin` with which no single finished peer cuts it at any report (see `lrtune.pruning`). The margin in use
must leave room above these: a good run of the next study is not bound to need less than those seen.
"""

import argparse
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lrtune.pruning import verdict
from lrtune.study import PruningPolicy
from studies.benchmarks.pruning import RECORDS, WITHIN, Run, Unit, halves, load

PHASE4 = RECORDS.parents[1] / "phase4" / "records.jsonl"
MARGINS = tuple(0.025 * n for n in range(81))
SLOPES, GRACES, REGRETS = (0.05, 0.1, 0.15), (0.1, 0.2), (0.01, 0.02, 0.03)


def needed(run: Run, peers: Sequence[Run], policy: PruningPolicy) -> float:
    """The smallest margin of `MARGINS` at which no single peer cuts the run."""
    return next(
        (margin for margin in MARGINS if not _cut(run, peers, replace(policy, margin=margin))),
        math.inf,
    )


def _cut(run: Run, peers: Sequence[Run], policy: PruningPolicy) -> bool:
    return any(
        verdict(run.upto(count), policy, [peer.curve]).kind == "beaten"
        for peer in peers
        for count in range(1, run.reports)
        if run.curve.steps[count - 1] >= policy.beaten_grace * run.curve.planned_steps
    )


def good(units: Sequence[Unit]) -> Iterator[tuple[Run, list[Run]]]:
    """The runs that a search wants to keep, each with all others of its unit."""
    for unit in units:
        if not unit.is_hopeless:
            for run in unit.runs:
                if run.final <= unit.best * (1 + WITHIN):
                    yield run, [other for other in unit.runs if other is not run]


def main() -> None:
    parser = argparse.ArgumentParser(description="The margins that good runs need.")
    parser.add_argument("records", type=Path, nargs="*", default=[RECORDS, PHASE4])
    flags = parser.parse_args()
    chosen, _ = halves(load(flags.records))
    runs = list(good(chosen))
    print(f"{len(runs)} good runs of {len(chosen)} units, the half that constants are chosen on\n")
    print("| per octave | grace | regret | mean | standard deviation | largest | mean + 4 deviations |")
    print("|---|---|---|---|---|---|---|")
    for slope, grace, regret in itertools.product(SLOPES, GRACES, REGRETS):
        policy = replace(PruningPolicy(), margin_per_octave=slope, beaten_grace=grace, regret=regret)
        found = [needed(run, peers, policy) for run, peers in runs]
        mean, spread = statistics.fmean(found), statistics.stdev(found)
        figures = f"{mean:.2f} | {spread:.2f} | {max(found):.2f} | {mean + 4 * spread:.2f}"
        print(f"| {slope} | {grace} | {regret} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
