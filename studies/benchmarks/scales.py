"""Does one search over several scales cost less than one search for each value? And a search for a target beyond them?

    python studies/benchmarks/scales.py two three --seeds 10
    python studies/benchmarks/scales.py recorded --seeds 10
    python studies/benchmarks/scales.py target --seeds 10

"two" is a drawn law over width × steps, "three" one over width × steps × batch, both with a deviation at each cell;
"recorded" the reference sweeps at 800 and 3,200 steps. The joint search and the separate ones, one for each value, run
until they end; compute is width² × steps × batch, once up to where the true regret at all cells stays under 1%, once up
to the end. "Target" wants the rate at four
times the largest width and the largest steps; the other side is one search per value and one at the target.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from drawn import make_record
from surfaces import Problem, from_surfaces
from sweeps import STUDIES

from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.records.replay import replay_records
from lrtune.search.adaptive import AdaptiveDesign
from lrtune.study.study import Budget, Study
from lrtune.study.task import cells

Scales = Mapping[str, float]
BOUND = 0.01
MOST = 150  # runs of one search
NOISE = 0.003


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A study and its true relative height above the best at (width, scales, log2 rate)."""

    study: Study
    height: Callable[[int, Scales, float], float]


def drawn(seed: int, scales: Mapping[str, tuple[float, ...]]) -> Surface:
    """A power law in every scale with a deviation of 0.1 octave (sd) at each cell; steeper above the best."""
    rng = np.random.default_rng([seed, len(scales)])
    slopes = {"hidden_size": rng.normal(-1.0, 0.3), "steps": rng.normal(-0.3, 0.2), "batch": rng.normal(0.5, 0.2)}
    low, ratio = 0.012 * math.exp(rng.normal(0, 0.4)), math.exp(rng.normal(0.7, 0.4))
    place = rng.uniform(-6, -4)
    own: dict[tuple[float, ...], float] = {}

    def height(width: int, at: Scales, x: float) -> float:
        best = place + slopes["hidden_size"] * math.log2(width / 64)
        best += sum(slopes[name] * math.log2(value / scales[name][0]) for name, value in at.items())
        key = (width, *at.values())
        if key not in own:
            own[key] = float(np.random.default_rng([seed, *map(int, key)]).normal(0, 0.1))
        z = x - best - own[key]
        return min(low * z * z * (ratio if z > 0 else 1.0), 0.5)

    study = Study(
        widths=(32, 64, 128), lr_min=1e-3, lr_max=0.3, scales=scales, seed=seed, budget=Budget(tolerance=BOUND)
    )
    return Surface(study=study, height=height)


@cache
def _reference(steps: int) -> Problem:
    files = ("search-800.jsonl", "search-3200.jsonl", "held-out.jsonl")
    runs = [run for name in files for run in read_records(STUDIES / "reference" / name).records if run.steps == steps]
    return from_surfaces(f"{steps} steps", replay_records(runs).surfaces)


def reference(seed: int) -> Surface:
    """The reference sweeps at the widths that have both step counts."""
    widths = tuple(sorted(set(_reference(800).widths) & set(_reference(3200).widths)))

    def height(width: int, at: Scales, x: float) -> float:
        return min(_reference(int(at["steps"])).height(width, x), 0.5)

    study = Study(
        widths=widths,
        lr_min=1e-3,
        lr_max=0.3,
        scales={"steps": (800.0, 3200.0)},
        seed=seed,
        budget=Budget(tolerance=BOUND),
    )
    return Surface(study=study, height=height)


def searched(surface: Surface, study: Study, fixed: Scales) -> tuple[list[float], list[float]]:
    """Compute spent and worst true regret at the study's targets after each run; `fixed`: scales that it lacks."""
    design, records, spent, regrets = AdaptiveDesign(study), list[TrialRecord](), [0.0], [1.0]
    rng = np.random.default_rng([study.seed, 7])
    while len(records) < MOST and design.verdict(records, []) is None:
        for task in design.propose(records, [], 1):
            at = {**fixed, **task.scales}
            loss = 3 * math.exp(
                surface.height(task.hidden_size, at, math.log2(task.learning_rate)) + rng.normal(0, NOISE)
            )
            records.append(
                make_record(
                    len(records), task.hidden_size, task.learning_rate, task.seed, "finished", loss, dict(task.scales)
                )
            )
            spent.append(spent[-1] + task.hidden_size**2 * math.prod(at.values()))
        design.propose(records, [], 0)  # takes in the record
        known = design.assessment.known if design.assessment is not None else ()
        regrets.append(max((true_regret(surface, k.scales, k.learning_rate, fixed) for k in known), default=1.0))
    return spent, regrets


def true_regret(surface: Surface, scales: Scales, rate: float, fixed: Scales) -> float:
    at = {name: value for name, value in {**fixed, **scales}.items() if name != "hidden_size"}
    return math.expm1(surface.height(int(scales["hidden_size"]), at, math.log2(rate)))


def reached(spent: Sequence[float], regrets: Sequence[float]) -> float:
    """Compute from which on the regret stays under the bound."""
    over = [i for i, regret in enumerate(regrets) if regret > BOUND]
    last = over[-1] + 1 if over else 0
    return spent[last] if last < len(spent) else math.inf


def one(task: tuple[str, int]) -> tuple[float, float, float]:
    """Compute of the joint search over the separate ones, to the bound and to the end, and true regret at the end.

    To the bound, it is infinite where the joint search ends above it, 0 where one of the others does, NaN if both do.
    """
    kind, seed = task
    steps = {"steps": (300.0, 1200.0)}
    scales = {**steps, "batch": (8.0, 32.0)} if kind == "three" else steps
    surface = reference(seed) if kind == "recorded" else drawn(seed, scales)
    study = surface.study
    if kind == "target":
        far = {"hidden_size": 512.0, "steps": 4800.0}
        study = replace(study, targets=(far,), budget=Budget(tolerance=2 * BOUND))
    spent, regrets = searched(surface, study, {})
    apart, bound = 0.0, 0.0
    for _, at in cells(replace(surface.study, widths=surface.study.widths[:1])):
        alone = searched(surface, replace(surface.study, scales={}), at)
        apart, bound = apart + alone[0][-1], bound + reached(*alone)
    if kind == "target":
        there = replace(surface.study, widths=(512,), scales={})
        apart += searched(surface, there, {"steps": 4800.0})[0][-1]
        return math.nan, spent[-1] / apart, regrets[-1]
    return reached(spent, regrets) / bound, spent[-1] / apart, regrets[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=["two", "three", "recorded", "target"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    print("| surface | searches | compute to 1%, joint over separate | to the end | true regret at the end, most |")
    print("|---" * 5 + "|", flush=True)
    with ProcessPoolExecutor(args.jobs) as pool:
        for kind in args.kinds:
            found = list(pool.map(one, [(kind, seed) for seed in range(args.seeds)]))
            bound, end, regret = (np.array(column) for column in zip(*found, strict=True))
            ratios = " | ".join(
                "–" if np.isnan(r).all() else f"{np.nanmedian(r):.2f} ({np.nanmin(r):.2f} … {np.nanmax(r):.2f})"
                for r in (bound, end)
            )
            print(f"| {kind} | {len(found)} | {ratios} | {np.median(regret):.2%}, {regret.max():.2%} |", flush=True)
    used = os.times()
    print(f"\n{used.children_user + used.children_system:.0f} s of processor time")


if __name__ == "__main__":
    main()
