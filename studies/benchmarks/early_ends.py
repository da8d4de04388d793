"""What is lost by cutting runs that their peers have beaten? Sparse sweeps over recorded curves, fitted cut and uncut.

    python -m studies.benchmarks.early_ends [--sweeps 200]

A sweep takes four neighbouring sizes, 5–8 of each one's recorded rates within 2.6 octaves of a point up to 0.8 octaves
off its best, and runs them in random order under the pruner. The truth is the optimum by all recorded runs.
"""

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lrtune.law import observations
from lrtune.law.fit import fit_law
from lrtune.law.forecast import forecast
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule import recommend
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import verdict
from lrtune.study.study import PruningPolicy

STUDIES = Path(__file__).parents[1]
SOURCES = {STUDIES / "pruning" / "records.jsonl": "adamw-two-stage", STUDIES / "reference" / "held-out.jsonl": "width"}
SIZES, SPAN, SHIFT = 4, 2.6, 0.8


def prune(order: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The runs of one size and seed as a search would have left them, one after the other."""
    policy = PruningPolicy()
    finished: list[Curve] = []
    left: list[TrialRecord] = []
    for record in order:
        curve = Curve.from_record(record)
        for end in range(1, len(curve.steps)):
            sofar = replace(
                curve,
                steps=curve.steps[:end],
                losses=curve.losses[:end],
                diversities=curve.diversities and curve.diversities[:end],
            )
            found = verdict(sofar, policy, finished)
            if found.is_cut:
                kept = {name: column[:end] for name, column in record.curve.items()}
                ended: dict[str, Any] = {
                    "status": found.kind,
                    "loss": None,
                    "steps_done": curve.steps[end - 1],
                    "curve": kept,
                }
                left.append(replace(record, **ended))
                break
        else:
            finished.append(curve)
            left.append(record)
    return left


def sweep(
    by_size: dict[int, list[TrialRecord]], optima: dict[float, float], rng: random.Random
) -> list[list[TrialRecord]]:
    """Of each size, some of its runs in the order in which they are made."""
    orders = []
    for size, records in by_size.items():
        seed, shift = rng.choice([0, 1]), rng.uniform(-SHIFT, SHIFT)
        near = [
            record
            for record in records
            if record.seed == seed and abs(math.log2(record.learning_rate) - optima[size] - shift) < SPAN
        ]
        orders.append(rng.sample(near, min(len(near), rng.choice([5, 6, 7, 8]))))
    return orders


def row(name: str, sweeps: Sequence[tuple[list[TrialRecord], int | None]], optima: dict[float, float]) -> str:
    """One line: errors, intervals and coverage at the sizes that were run and at the next one."""
    text = [name]
    answers: dict[bool, list[tuple[float, float, bool]]] = {False: [], True: []}
    for records, further in sweeps:
        rule = fit_law(records).rule
        for size in sorted({record.hidden_size for record in records} | ({further} if further else set())):
            found, truth = recommend(size, rule=rule), optima[size]
            low, middle, high = (math.log2(v) for v in (found.low, found.learning_rate, found.high))
            answers[size == further].append((abs(middle - truth), high - low, low <= truth <= high))
    for group in answers.values():
        error, width, held = (np.array(column, float) for column in zip(*group, strict=True))
        text.append(f"{held.mean():.1%} | {width.mean():.2f} | {np.median(error):.3f} | {error.mean():.3f}")
    return "| " + " | ".join(text) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=200)
    given = parser.parse_args()
    records = [r for path, arm in SOURCES.items() for r in read_records(path).records if r.arm == arm]
    records = [record for record in records if record.steps == 800 and record.status == "finished"]
    optima = {cell.scales["hidden_size"]: math.log2(cell.learning_rate) for cell in fit_law(records).cells}
    sizes = sorted({record.hidden_size for record in records})
    whole, cut = [], []
    for seed in range(given.sweeps):
        rng = random.Random(seed)
        first = rng.randrange(len(sizes) - SIZES)
        own = {size: [r for r in records if r.hidden_size == size] for size in sizes[first : first + SIZES]}
        orders = sweep(own, optima, rng)
        whole.append(([record for order in orders for record in order], sizes[first + SIZES]))
        cut.append(([record for order in orders for record in prune(order)], sizes[first + SIZES]))
    held(whole, cut)
    print("| runs | measured: coverage | width | median error | mean | next size: coverage | width | median | mean |")
    print("|---" * 9 + "|")
    print(row("all to their end", whole, optima))
    print(row("beaten ones cut, bounds by forecast", cut, optima))
    observations.forecast = lambda record, finished: None  # type: ignore[attr-defined]
    print(row("beaten ones cut, 1% above the best", cut, optima))


def held(
    whole: Sequence[tuple[list[TrialRecord], int | None]], cut: Sequence[tuple[list[TrialRecord], int | None]]
) -> None:
    """How often a run that was cut would have ended above the bound that is claimed for it."""
    right, rises = [], []
    for (ends, _), (runs, _) in zip(whole, cut, strict=True):
        for end, run in zip(ends, runs, strict=True):
            finished = [r for r in runs if r.hidden_size == run.hidden_size and r.status == "finished"]
            heading = forecast(run, finished) if run.status == "beaten" else None
            if heading is not None and end.loss is not None:
                best = min(record.loss or math.inf for record in finished)
                right.append(end.loss - best >= max(0.5 * (heading - best), 0.01 * best))
                rises.append((end.loss - best) / best)
    total = sum(len(runs) for runs, _ in cut)
    print(f"{total} runs, {len(right)} of them beaten; {np.mean(right):.1%} of these end above their bound ", end="")
    print(f"(median rise {np.median(rises):.1%})\n")


if __name__ == "__main__":
    main()
