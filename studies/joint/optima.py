"""The best rate of every cell of the joint grid, and how it moves with width, steps and batch.

    python -m studies.joint.optima [--figure studies/joint/optima.svg]

A cell's optimum is the minimum of a parabola through log loss over log2 rate, by least squares through the rates
within 1.25 octaves of the best. Its error comes from the two seeds: each cell is fitted again to rates and seeds drawn
with replacement (400 times, seed 0). The exponents are least squares through the optima, weighted by those errors and
a scatter of the cells around the line that is estimated with them. Nothing here uses lrtune's law: it is what a law is
held against.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

STUDIES = Path(__file__).parents[1]
REACH = 1.25  # octaves to either side of the best rate
DRAWS = 400
Cell = tuple[int, int, int]  # hidden size, steps, batch in tokens
Runs = list[tuple[float, float]]  # (log2 rate, log loss)


def cells() -> dict[Cell, Runs]:
    """Finished runs of the joint grid, with those of the same settings that were recorded before."""
    found: dict[Cell, Runs] = defaultdict(list)
    for path, arms in (
        ("joint/records.jsonl", ("joint",)),
        ("pruning/records.jsonl", ("adamw-two-stage",)),
        ("reference/held-out.jsonl", ("horizon",)),
    ):
        for line in (STUDIES / path).read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["arm"] in arms and record["status"] == "finished" and record["hidden_size"] <= 256:
                cell = (record["hidden_size"], record["steps"], round(record["facts"]["tokens_per_step"]))
                found[cell].append((np.log2(record["learning_rate"]), np.log(record["loss"])))
    return dict(sorted(found.items()))


def optimum(runs: Runs) -> float:
    """log2 of the best rate; nan where the parabola has no minimum within the rates it was fitted to."""
    x, y = np.array(runs).T
    rates = np.unique(x)
    mean = np.array([y[x == rate].mean() for rate in rates])
    near = np.abs(x - rates[mean.argmin()]) <= REACH
    if len(np.unique(x[near])) < 3:
        return np.nan
    a, b, _ = np.polyfit(x[near], y[near], 2)
    best = -b / (2 * a)
    return best if a > 0 and x[near].min() <= best <= x[near].max() else np.nan


def spread(runs: Runs, draw: np.random.Generator) -> float:
    """Standard error of `optimum`, in octaves."""
    drawn = [optimum([runs[i] for i in draw.integers(0, len(runs), len(runs))]) for _ in range(DRAWS)]
    return float(np.nanstd(drawn))


def exponents(design: np.ndarray, y: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Weighted least squares; the coefficients, their standard errors and the scatter of cells around the line."""
    scatter = 0.1
    for _ in range(50):
        weight = 1 / (error**2 + scatter**2)
        covariance = np.linalg.inv(design.T @ (weight[:, None] * design))
        coefficient = covariance @ design.T @ (weight * y)
        left = y - design @ coefficient
        excess = (left**2).sum() / (len(y) - design.shape[1]) - (error**2).mean()
        scatter = float(np.sqrt(max(excess, 1e-4)))
    return coefficient, np.sqrt(np.diag(covariance)), scatter


def laws(best: Mapping[Cell, tuple[float, float]]) -> Sequence[str]:
    """Rows: which cells, the exponent of each scale with its 90% interval."""
    rows = []
    at_fixed = {"steps": lambda h, s, b: s, "tokens": lambda h, s, b: s * b}
    for held, horizon in at_fixed.items():
        for name, chosen in (
            ("all", lambda c: True),
            ("hidden 32, 64", lambda c: c[0] <= 64),
            ("hidden 128, 256", lambda c: c[0] >= 128),
            ("batch 256, 1,024", lambda c: c[2] <= 1024),
            ("batch 1,024, 4,096", lambda c: c[2] >= 1024),
        ):
            use = [cell for cell in best if chosen(cell)]
            h, s, b = np.array(use, dtype=float).T
            scales = np.log2(np.stack([h, horizon(h, s, b), b], axis=1))
            design = np.column_stack([np.ones(len(use)), scales - scales.mean(axis=0)])
            y, error = np.array([best[cell] for cell in use]).T
            value, sd, scatter = exponents(design, y, error)
            ends = [
                f"{v:+.2f} ({v - 1.645 * e:+.2f} … {v + 1.645 * e:+.2f})"
                for v, e in zip(value[1:], sd[1:], strict=True)
            ]
            rows.append(f"| {held} | {name} | {len(use)} | {' | '.join(ends)} | {scatter:.2f} |")
    return rows


def figure(best: Mapping[Cell, tuple[float, float]], path: Path) -> None:
    """Best rate against batch, a panel for each width, a line for each number of steps."""
    import altair

    rows = [
        {"hidden": h, "steps": s, "batch": b, "rate": 2**x, "low": 2 ** (x - 1.645 * e), "high": 2 ** (x + 1.645 * e)}
        for (h, s, b), (x, e) in best.items()
    ]
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=altair.X("batch:Q", title="batch, tokens").scale(type="log", base=2, domain=[200, 5200]),
        color=altair.Color("steps:O", title="steps").scale(scheme="viridis"),
    )
    rate = altair.Y("rate:Q", title="best peak rate").scale(type="log", nice=False)
    lines = base.mark_line(point=True).encode(y=rate)
    bars = base.mark_rule(opacity=0.5).encode(y=altair.Y("low:Q"), y2="high:Q")
    chart = (
        (lines + bars).properties(width=170, height=220).facet(column=altair.Column("hidden:O", title="hidden size"))
    )
    chart.resolve_scale(y="independent").save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", type=Path)
    flags = parser.parse_args()
    draw = np.random.default_rng(0)
    best, found = {}, cells()
    print("| hidden | steps | batch tokens | runs | best rate | 90% interval |\n|---|---|---|---|---|---|")
    for cell, runs in found.items():
        x = optimum(runs)
        if np.isfinite(x):
            error = max(spread(runs, draw), 0.03)
            best[cell] = (x, error)
            interval = f"{2 ** (x - 1.645 * error):.3g} … {2 ** (x + 1.645 * error):.3g}"
            print(f"| {' | '.join(f'{value:,}' for value in cell)} | {len(runs)} | {2**x:.3g} | {interval} |")
        else:
            print(f"| {' | '.join(f'{value:,}' for value in cell)} | {len(runs)} | no minimum | |")
    print("\n| held fixed | cells | n | width | horizon | batch | scatter, octaves |\n|---|---|---|---|---|---|---|")
    print("\n".join(laws(best)))
    if flags.figure:
        figure(best, flags.figure)


if __name__ == "__main__":
    main()
