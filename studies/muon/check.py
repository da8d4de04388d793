"""Fits the rule from the recorded grid, and holds it against what it has not seen.

    python -m studies.muon.check [-o studies/muon/rule.json]

What a pair of rates costs is read off a paraboloid through the runs of its own width (`studies.muon.optima`): lrtune's
law has no part in it. Each width is predicted from the others too, by a rule fitted without its runs. At the widths of
`held-out.jsonl`, to which no rule was fitted, the recorded pair nearest to the answer is held against the best of nine.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lrtune.law.atoms import Array
from lrtune.law.fit import fit_law
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule import load_rule, save_rule
from lrtune.rule.data import Rule
from lrtune.rule.knob import Coordinate
from studies.muon.optima import HERE, means, paraboloid, sweeps

KNOBS = {"adam_lr": Coordinate()}
# At 256, twice the largest width, the answer lost more in held-out runs than the rule had said: with a tolerance of 1%
# it would call that answer supported.
TOLERANCE = 0.005
_HEADER = ("hidden", "asked", "Muon's rate", "AdamW's rate", "best pair", "costs", "said", "supported")


def fitted(runs: Sequence[TrialRecord]) -> Rule:
    """The rule of these runs, with the study that they are of."""
    provenance = {"study": "studies/muon: a grid of both rates, 300 steps"}
    rule = fit_law(runs, knobs=KNOBS, tolerance=TOLERANCE, provenance=provenance).rule
    return rule._replace(study=(HERE / "study.toml").read_text(encoding="utf-8"))


def row(rule: Rule, width: int, asked: str, best_and_cost: Callable[[Array], tuple[Array, float]]) -> str:
    """The rule's answer at a width, beside the best pair there and what the answer costs."""
    told = rule.recommend(width)
    adam = told.knobs["adam_lr"]
    best, cost = best_and_cost(np.log2([told.learning_rate, adam.value]))
    rates = ", ".join(f"{2**x:.3g}" for x in best)
    return (
        f"| {width} | {asked} | {told.learning_rate:.3g} ({told.low:.3g} … {told.high:.3g}) "
        f"| {adam.value:.3g} ({adam.low:.3g} … {adam.high:.3g}) | {rates} | {cost:.2%} "
        f"| {told.regret or math.nan:.2%}, more than {told.regret_90 or math.nan:.2%} in one case of ten "
        f"| {'yes' if told.supported else 'no'} |"
    )


def by_paraboloid(runs: list[TrialRecord], pair: Array) -> tuple[Array, float]:
    """The best pair in log2, and the cost of another, by the paraboloid through a width's runs."""
    found = paraboloid(runs)
    assert found is not None
    best, bend = found
    return best, float((pair - best) @ bend @ (pair - best)) / 2


def by_runs(runs: list[TrialRecord], pair: Array) -> tuple[Array, float]:
    """The best recorded pair in log2, and the cost of the recorded one that is nearest to another."""
    grid = means(runs)
    best = min(grid, key=lambda at: grid[at])
    nearest = min(grid, key=lambda at: math.dist(at, pair))
    return np.array(best), grid[nearest] / grid[best] - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path, help="where to write the rule")
    flags = parser.parse_args()
    found = sweeps()
    rule = fitted([run for runs in found.values() for run in runs])
    if flags.out:
        save_rule(rule, flags.out)
        load_rule(flags.out)
    print(f"{rule.reason}\n{rule.knobs['adam_lr'].rule.reason}\n\n| {' | '.join(_HEADER)} |\n{'|---' * len(_HEADER)}|")
    for width, runs in found.items():
        print(row(rule, width, "fitted to it too", partial(by_paraboloid, runs)))
    for width, runs in found.items():
        others = fitted([run for other, each in found.items() if other != width for run in each])
        print(row(others, width, "left out of the fit", partial(by_paraboloid, runs)))
    held = read_records(HERE / "held-out.jsonl").records
    for width in sorted({run.hidden_size for run in held}):
        runs = [run for run in held if run.hidden_size == width]
        print(row(rule, width, "recorded afterwards", partial(by_runs, runs)))


if __name__ == "__main__":
    main()
