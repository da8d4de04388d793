"""How much compute until every width's learning rate is within 1% (0.5%) of its best loss? Ours beside others.

    python studies/benchmarks/search.py synthetic --seeds 20
    python studies/benchmarks/search.py recorded studies/pruning/records.jsonl
    python studies/benchmarks/search.py table sweep.csv --width width --rate lr --loss loss
    python studies/benchmarks/search.py synthetic --contenders ours --save before.json   # … and after a change:
    python studies/benchmarks/search.py synthetic --contenders ours --against before.json

Costs are shares of a √2 grid over the declared range 1e-4 … 1 at every width (27 rates, all trained to their ends).
A cell is the share from which on the median over seeds of the worst regret over widths stays under the bound; in
brackets, the percentage of seeds that came under it at all within the limit. Below each table a line for each of our
searches: what it said where it would have ended (or where the limit ended it), what it wanted, and what was true there.
"""

import argparse
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contenders import CONTENDERS
from surfaces import SHAPES, Problem, recorded, synthetic, table

BOUNDS = (0.01, 0.005)
AT = np.linspace(0.0, 1.0, 1001)
OURS = ("ours", "ours, 4 at once")
SLOW = ("GPSampler(4)", "GPSampler(10)")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One contender on one surface with one seed.

    Attributes:
        regrets: worst regret at each share of `AT`, by recommendation.
        ended: what it said where it would have ended; empty for contenders that say nothing.
    """

    name: str
    regrets: dict[str, np.ndarray]
    ended: str


def trace(task: tuple[dict[str, object], str, int, float]) -> Trace:
    """Let a contender run to its limit."""
    made, name, seed, limit = task
    problem = make(made, seed)
    limit *= problem.grid_cost
    steps: list[tuple[float, dict[str, float]]] = []
    ended = ""
    is_over = False
    for step in CONTENDERS[name](problem, seed):
        steps.append((step.cost / problem.grid_cost, {m: worst(problem, r) for m, r in step.rates.items()}))
        if math.isfinite(step.said) and not is_over:
            share, true = steps[-1][0], steps[-1][1]["model"]
            ended = f"said={step.said:.3%} wanted={step.wanted:.3%} true={true:.3%} share={share:.3f}"
            is_over = step.enough
        if step.cost > limit:
            break
    shares = np.array([share for share, _ in steps])
    last = np.searchsorted(shares, AT, side="right") - 1
    methods = steps[-1][1]
    regrets = {}
    for method in methods:
        values = np.array([found[method] for _, found in steps])
        regrets[method] = np.where(last >= 0, values[np.maximum(last, 0)], 1.0)
    return Trace(name=name, regrets=regrets, ended=f"{name} seed={seed}: {ended}" if ended else "")


def worst(problem: Problem, rates: Mapping[int, float]) -> float:
    """The worst regret over all widths; 1 where a width has no recommendation."""
    return max(problem.regret(w, rates[w]) if w in rates else 1.0 for w in problem.widths)


def make(made: dict[str, object], seed: int) -> Problem:
    """The problem that a description stands for; a synthetic one is drawn anew for each seed."""
    kind = made["kind"]
    if kind == "synthetic":
        shape = SHAPES[seed % len(SHAPES)] if made["shape"] == "each" else made["shape"]
        return synthetic(shape, made["exponent"], made["widths"], seed)  # type: ignore[arg-type]
    if kind == "recorded":
        return recorded(Path(str(made["path"])), arm=made["arm"], leave_out=made["leave_out"])
    return table(Path(str(made["path"])), **made["columns"])  # type: ignore[arg-type]


def reached(regrets: Sequence[np.ndarray], bound: float) -> tuple[float, float]:
    """(share from which on the median stays under the bound, or inf; part of the seeds that were ever under it)."""
    stack = np.stack(regrets)
    over = np.flatnonzero(np.median(stack, axis=0) > bound)
    first = over[-1] + 1 if len(over) else 0
    share = float(AT[first]) if first < len(AT) else math.inf
    return share, float(np.mean((stack <= bound).any(axis=1)))


Shares = dict[str, list[float]]  # by contender, the share from which on the median stays under each bound


def compare(made: dict[str, object], names: Sequence[str], args: argparse.Namespace) -> tuple[list[str], Shares]:
    """One row of the table a contender, then the lines of searches that say what they know; and the model's shares."""
    limits = {name: args.ours_limit if name in OURS else args.limit for name in names}
    counts = {name: min(args.seeds, args.slow_seeds) if name in SLOW else args.seeds for name in names}
    tasks = [(made, name, seed, limits[name]) for name in names for seed in range(counts[name])]
    collected: dict[str, list[dict[str, np.ndarray]]] = {}
    said = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for found in pool.map(trace, tasks, chunksize=2):
            collected.setdefault(found.name, []).append(found.regrets)
            said += [found.ended] if found.ended else []
    rows = []
    shares: Shares = {}
    for name, runs in collected.items():
        cells = []
        for bound in BOUNDS:
            by_method = {m: reached([run[m] for run in runs], bound) for m in runs[0]}
            text = {m: f"{share:.3f}" if math.isfinite(share) else "–" for m, (share, _) in by_method.items()}
            main = "model" if "model" in by_method else min(by_method, key=lambda m: by_method[m][0])
            others = ", ".join(f"{m} {t}" for m, t in text.items() if m != main)
            cells.append(f"{text[main]} ({by_method[main][1]:.0%}; {others})")
            shares.setdefault(name, []).append(by_method[main][0])
        rows.append(f"| {name} | {len(runs)} | {' | '.join(cells)} |")
    return [*rows, "", *said], shares


def paired(now: dict[str, Shares], before: dict[str, Shares]) -> list[str]:
    """The compute of each of our searches over that of another version, by surface; the geometric mean; the largest."""
    lines = ["| surface | contender | new over old, ≤ 1% | ≤ 0.5% |", "|---" * 4 + "|"]
    every: list[list[float]] = [[] for _ in BOUNDS]
    for title, shares in now.items():
        for name, new in shares.items():
            old = before.get(title, {}).get(name)
            if old is None or name not in OURS:
                continue
            ratios = [
                a / b if math.isfinite(a) and math.isfinite(b) else math.nan for a, b in zip(new, old, strict=True)
            ]
            lines.append(f"| {title} | {name} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
            for column, ratio in zip(every, ratios, strict=True):
                column += [ratio] if math.isfinite(ratio) else []
    means = [f"{math.exp(np.mean(np.log(column))):.2f} (most {max(column):.2f})" if column else "–" for column in every]
    return [*lines, f"| **geometric mean** | | {' | '.join(means)} |"]


def described(args: argparse.Namespace) -> list[tuple[str, dict[str, object]]]:
    """The surfaces that were asked for: a title and a description each."""
    widths = tuple(int(w) for w in args.widths.split(","))
    if args.surfaces == "synthetic":
        return [
            (
                f"{shape}, exponent {exponent:+g}",
                {"kind": "synthetic", "shape": shape, "exponent": exponent, "widths": widths},
            )
            for shape in args.shapes.split(",")
            for exponent in (float(e) for e in args.exponents.split(","))
        ]
    if args.surfaces == "recorded":
        leave_out = tuple(int(w) for w in args.leave_out.split(",") if w)
        return [
            (
                f"recorded {path}, {arm or 'most recorded arm'}",
                {"kind": "recorded", "path": path, "arm": arm or None, "leave_out": leave_out},
            )
            for path in args.path
            for arm in args.arms.split(",")
        ]
    columns = {"width": args.width, "rate": args.rate, "loss": args.loss, "maximize": args.maximize}
    columns["where"] = args.where
    return [(f"table {Path(path).name}", {"kind": "table", "path": path, "columns": columns}) for path in args.path]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("surfaces", choices=("synthetic", "recorded", "table"))
    parser.add_argument("path", nargs="*")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--slow-seeds", type=int, default=5, help="seeds of GPSampler, which is slow")
    parser.add_argument("--limit", type=float, default=0.8, help="share of the grid after which others end")
    parser.add_argument("--ours-limit", type=float, default=0.2, help="the same for ours")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--contenders", default=",".join(n.replace(", ", ";") for n in CONTENDERS if n not in SLOW))
    parser.add_argument("--widths", default="32,64,128")
    parser.add_argument("--shapes", default=",".join(SHAPES), help='by comma; "each": another one for each seed')
    parser.add_argument("--exponents", default="-2,-1,-0.5,0,0.5")
    parser.add_argument("--arms", default="", help="recorded arms, by comma")
    parser.add_argument("--where", default="", help="rows of the table to keep: column=value")
    parser.add_argument("--leave-out", default="", help="recorded widths to keep for the final run")
    parser.add_argument("--width", default="width")
    parser.add_argument("--rate", default="lr")
    parser.add_argument("--loss", default="loss")
    parser.add_argument("--maximize", action="store_true")
    parser.add_argument("--save", type=Path, help="write the shares there")
    parser.add_argument("--against", type=Path, help="shares saved before, with the same seeds")
    args = parser.parse_args()
    names = [name.replace(";", ", ") for name in args.contenders.split(",")]
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}\n")
    found: dict[str, Shares] = {}
    for title, made in described(args):
        problem = make(made, 0)
        noise = f"noise {problem.own:.2%} a run, {problem.shared:.2%} a seed"
        print(f"### {title}\n\nwidths {', '.join(map(str, problem.widths))}; {noise}\n")
        print("| contender | seeds | ≤ 1% | ≤ 0.5% |\n|---|---|---|---|")
        rows, found[title] = compare(made, names, args)
        print("\n".join(rows), "\n", flush=True)
    if args.save:
        args.save.write_text(json.dumps(found))
    if args.against:
        print("\n".join(paired(found, json.loads(args.against.read_text()))), "\n")
    used = os.times()
    print(f"{used.children_user + used.children_system:.0f} s of processor time")


if __name__ == "__main__":
    main()
