"""How much more than its peers has a good run ever gained? The figures that the constants of *beaten* come from.

    python studies/benchmarks/pruning_margin.py

All on the half of the curves that constants are chosen on, of both sets. Three tables:

1. For every run that ends within 1% of its unit's best: the smallest `margin` with which no single finished peer cuts
   it at any report. The margin in use must leave room above these: a good run of the next study is not bound to need
   less than those seen.
2. For every pair of runs of a unit that both end within 6% of its best: what the one still gained as a multiple of
   what the other did, over reports from 40% to 90% of the steps, by the octaves between their rates.
3. What the two structural constants of `lrtune.search.pruning.beaten` do: compute saved, and the smallest `regret`
   with which no single peer cuts a good run, with each of them and without.
"""

import argparse
import bisect
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from pruning import RECORDS, WITHIN, Ours, Run, Unit, halves, load, score

from lrtune.search.pruning import beaten
from lrtune.search.pruning.verdict import verdict
from lrtune.study.study import PruningPolicy

PHASE4 = RECORDS.parents[1] / "phase4" / "records.jsonl"
MARGINS = tuple(0.025 * n for n in range(81))
REGRETS_NEEDED = tuple(0.001 * n for n in range(-80, 81))
SLOPES, GRACES, REGRETS = (0.05, 0.1, 0.15), (0.1, 0.2), (0.01, 0.02, 0.03)
NEAR = 0.06
VARIANTS = {
    "neither": {"_UNTIL": 1.0, "_GAIN_PER_OCTAVE": 0.0},
    "no verdict in the last tenth": {"_GAIN_PER_OCTAVE": 0.0},
    "more to gain above the peer's rate": {"_UNTIL": 1.0},
    "both": {"_UNTIL": 0.9, "_GAIN_PER_OCTAVE": 0.2},
}


def needed(run: Run, peers: Sequence[Run], policy: PruningPolicy, name: str, values: Sequence[float]) -> float:
    """The smallest of these values of a constant at which no single peer cuts the run."""

    def is_kept(value: float) -> bool:
        change: dict[str, Any] = {name: value}
        return not _cut(run, peers, replace(policy, **change))

    first = bisect.bisect_left(values, True, key=is_kept)
    return values[first] if first < len(values) else math.inf


def _cut(run: Run, peers: Sequence[Run], policy: PruningPolicy) -> bool:
    return any(
        verdict(run.upto(count), policy, [peer.curve]).kind == "beaten"
        for peer in peers
        for count in range(1, run.reports)
        if run.curve.steps[count - 1] >= policy.beaten_grace * run.curve.planned_steps
    )


def good(units: Sequence[Unit], within: float = WITHIN) -> Iterator[tuple[Run, list[Run]]]:
    """The runs that a search wants to keep, each with all others of its unit."""
    for unit in units:
        if not unit.is_hopeless:
            for run in unit.runs:
                if run.final <= unit.best * (1 + within):
                    yield run, [other for other in unit.runs if other is not run]


def gains(units: Sequence[Unit]) -> dict[int, list[float]]:
    """Octaves above the peer's rate → gain left as a multiple of the peer's, one figure a report."""
    found: dict[int, list[float]] = {}
    for unit in units:
        near = [run for run, _ in good([unit], NEAR)]
        for run, peer in itertools.permutations(near, 2):
            octaves = math.log2((run.curve.learning_rate or 1) / (peer.curve.learning_rate or 1))
            for point in run.curve.reports:
                there = peer.curve.loss_at(point.step)
                late = 0.4 <= point.step / run.curve.planned_steps <= 0.9
                learned = run.curve.unigram_entropy is None or (there or math.inf) < run.curve.unigram_entropy
                if late and learned and point.loss is not None and there is not None and there - peer.final > 0.02:
                    found.setdefault(round(octaves), []).append((point.loss - run.final) / (there - peer.final))
    return found


def _margins(runs: Sequence[tuple[Run, list[Run]]]) -> None:
    print("| per octave | grace | regret | mean | standard deviation | largest | mean + 4 deviations |")
    print("|---|---|---|---|---|---|---|")
    for slope, grace, regret in itertools.product(SLOPES, GRACES, REGRETS):
        policy = replace(PruningPolicy(), margin_per_octave=slope, beaten_grace=grace, regret=regret)
        found = [needed(run, peers, policy, "margin", MARGINS) for run, peers in runs]
        mean, spread = statistics.fmean(found), statistics.stdev(found)
        figures = f"{mean:.2f} | {spread:.2f} | {max(found):.2f} | {mean + 4 * spread:.2f}"
        print(f"| {slope} | {grace} | {regret} | {figures} |", flush=True)


def _gains(sets: dict[str, list[Unit]]) -> None:
    print("\n| curves | octaves above the peer | figures | 10% | median | 90% | median, per octave |")
    print("|---|---|---|---|---|---|---|")
    for name, units in sets.items():
        for octaves, values in sorted(gains(units).items()):
            if octaves > 0:
                cuts = statistics.quantiles(values, n=10)
                power = f"2^{math.log2(statistics.median(values)) / octaves:.2f}"
                row = (name, octaves, len(values), *(f"{cuts[i]:.2f}" for i in (0, 4, 8)), power)
                print(f"| {' | '.join(map(str, row))} |", flush=True)


def _structure(sets: dict[str, list[Unit]], runs: Sequence[tuple[Run, list[Run]]], orders: int) -> None:
    columns = " | ".join(f"saved, {name}" for name in sets)
    print(f"\n| in use | {columns} | regret needed: mean | largest |\n|---|{'---|' * (len(sets) + 2)}")
    ours: Callable[[Unit], Ours] = lambda unit: Ours(PruningPolicy())  # noqa: E731
    for name, change in VARIANTS.items():
        with mock.patch.multiple(beaten, **change):  # type: ignore[call-overload]
            saved = [f"{score(units, ours, orders).saved:.1%}" for units in sets.values()]
            found = [needed(run, peers, PruningPolicy(), "regret", REGRETS_NEEDED) for run, peers in runs]
        print(f"| {' | '.join([name, *saved])} | {statistics.fmean(found):.3f} | {max(found):.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="*", default=[RECORDS, PHASE4])
    parser.add_argument("--orders", type=int, default=20)
    flags = parser.parse_args()
    sets = {path.parent.name: halves(load([path]))[0] for path in flags.records}
    runs = [pair for units in sets.values() for pair in good(units)]
    print(f"{len(runs)} good runs of {sum(map(len, sets.values()))} units, the half that constants are chosen on\n")
    _margins(runs)
    _gains(sets)
    _structure(sets, runs, flags.orders)


if __name__ == "__main__":
    main()
