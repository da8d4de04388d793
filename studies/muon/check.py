"""Fits the rule from the recorded grid, and holds it against what it has not seen.

    python -m studies.muon.check [-o studies/muon/rule.json]

What a pair of rates costs is read off a paraboloid through the runs of its own width (`studies.muon.optima`): lrtune's
law has no part in it. Each width is predicted from the others too, by a rule fitted without its runs.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lrtune.law.fit import fit_law
from lrtune.records.record import TrialRecord
from lrtune.rule import load_rule, save_rule
from lrtune.rule.data import Rule
from lrtune.rule.knob import Coordinate
from studies.muon.optima import HERE, paraboloid, sweeps

KNOBS = {"adam_lr": Coordinate()}
_HEADER = ("hidden", "asked", "Muon's rate", "AdamW's rate", "best pair", "costs", "said", "supported")


def fitted(runs: Sequence[TrialRecord]) -> Rule:
    """The rule of these runs, with the study that they are of."""
    rule = fit_law(runs, knobs=KNOBS, provenance={"study": "studies/muon: a grid of both rates, 300 steps"}).rule
    return rule._replace(study=(HERE / "study.toml").read_text(encoding="utf-8"))


def row(rule: Rule, width: int, runs: list[TrialRecord], asked: str) -> str:
    """The rule's answer at a width beside the best pair of the width's own runs."""
    told = rule.recommend(width)
    adam = told.knobs["adam_lr"]
    own = paraboloid(runs)
    best, cost = "no minimum", "–"
    if own is not None:
        off = np.log2([told.learning_rate, adam.value]) - own[0]
        best, cost = ", ".join(f"{2**x:.3g}" for x in own[0]), f"{off @ own[1] @ off / 2:.2%}"
    return (
        f"| {width} | {asked} | {told.learning_rate:.3g} ({told.low:.3g} … {told.high:.3g}) "
        f"| {adam.value:.3g} ({adam.low:.3g} … {adam.high:.3g}) | {best} | {cost} "
        f"| {told.regret or math.nan:.2%}, {told.regret_90 or math.nan:.2%} in one case of ten "
        f"| {'yes' if told.supported else 'no'} |"
    )


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
        print(row(rule, width, runs, "fitted to it too"))
    for width, runs in found.items():
        others = fitted([run for other, each in found.items() if other != width for run in each])
        print(row(others, width, runs, "left out of the fit"))


if __name__ == "__main__":
    main()
