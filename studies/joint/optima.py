"""The best rate of every cell of the joint grid, and how it moves with width, steps and batch.

    python -m studies.joint.optima [--figures studies/joint]

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
from typing import Any

import numpy as np

STUDIES = Path(__file__).parents[1]
REACH = 1.25  # octaves to either side of the best rate
DRAWS = 400
BASE = (64, 800, 1024)  # hidden size, steps and batch to which the figures relate the best rates
Cell = tuple[int, int, int]  # hidden size, steps, batch in tokens
Runs = list[tuple[float, float]]  # (log2 rate, log loss)
Best = Mapping[Cell, tuple[float, float]]  # log2 of the best rate, and its standard error


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


def means(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """The log2 rates of a sweep, rising, and the mean log loss of each."""
    x, y = np.array(runs).T
    rates = np.unique(x)
    return rates, np.array([y[x == rate].mean() for rate in rates])


def near(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """log2 rates and log losses of the runs within `REACH` of the best rate."""
    x, y = np.array(runs).T
    rates, mean = means(runs)
    chosen = np.abs(x - rates[mean.argmin()]) <= REACH
    return x[chosen], y[chosen]


def optimum(runs: Runs) -> float:
    """log2 of the best rate; nan where the parabola has no minimum within the rates it was fitted to."""
    x, y = near(runs)
    if len(np.unique(x)) < 3:
        return np.nan
    a, b, _ = np.polyfit(x, y, 2)
    best = -b / (2 * a)
    return best if a > 0 and x.min() <= best <= x.max() else np.nan


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


def laws(best: Best) -> Sequence[str]:
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


def changes(best: Best, scale: int, *, fixed_tokens: bool = False) -> list[dict[str, Any]]:
    """How the best rate changes along one scale: a row a cell, against the cell of its line with the scale's `BASE`.

    Cells of one line agree in the other scales; with `fixed_tokens`, in hidden size and tokens.
    """

    def line(cell: Cell) -> tuple[int, ...]:
        return (cell[0], cell[1] * cell[2]) if fixed_tokens else cell[:scale] + cell[scale + 1 :]

    base = {line(cell): x for cell, (x, _) in best.items() if cell[scale] == BASE[scale]}
    return [
        {
            "value": cell[scale],
            "ratio": 2 ** (x - base[line(cell)]),
            "line": str(line(cell)),
            "hidden": cell[0],
            "batch": cell[2],
        }
        for cell, (x, _) in best.items()
        if line(cell) in base
    ]


def figure(
    rows: Sequence[dict[str, Any]], slopes: Mapping[str, float], *, base: float, title: str, colour: tuple[str, str]
) -> Any:
    """The best rate as a multiple of that at `base`, a line for the cells that differ in this scale alone.

    Args:
        slopes: published exponents, drawn dashed. colour: the row's name that colours a line, and its title.
    """
    import altair

    values = sorted({row["value"] for row in rows})
    published = [
        {"value": value, "ratio": (value / base) ** slope, "name": name}
        for name, slope in slopes.items()
        for value in (values[0], values[-1])
    ]
    x = altair.X("value:Q", title=title, axis=altair.Axis(values=values, format=",d")).scale(type="log", base=2)
    y = altair.Y("ratio:Q", title=f"best rate / best rate at {base:,}").scale(type="log", base=2)
    key = altair.Color(f"{colour[0]}:O", title=colour[1], legend=altair.Legend(orient="bottom"))
    drawn = altair.Chart(altair.Data(values=list(rows))).mark_line(point=True, opacity=0.8)
    measured = drawn.encode(x=x, y=y, detail="line:N", color=key.scale(scheme="viridis"))
    lines = altair.Chart(altair.Data(values=published))
    dashed = lines.mark_line(strokeDash=[5, 4], color="#c0392b").encode(x=x, y=y, detail="name:N")
    ends = lines.transform_filter(altair.datum.value == values[-1])
    names = ends.mark_text(align="left", dx=6, color="#c0392b").encode(x=x, y=y, text="name:N")
    return (dashed + measured + names).properties(width=360, height=260)


def figures(best: Best, folder: Path) -> None:
    """One picture for each scale: `width.svg`, `batch.svg`, `steps.svg`, with published exponents beside."""
    batch, hidden = ("batch", "batch, tokens"), ("hidden", "hidden size")
    width = {"1/width (µP)": -1.0, "nanochat": -0.5, "Marin": -0.37, "Step Law": -1.43}
    figure(changes(best, 0), width, base=BASE[0], title="hidden size", colour=batch).save(folder / "width.svg")
    power = {"batch": 1.0, "√batch": 0.5}
    at_steps = figure(changes(best, 2), power, base=BASE[2], title="batch, tokens (steps fixed)", colour=hidden)
    at_tokens = figure(
        changes(best, 2, fixed_tokens=True), power, base=BASE[2], title="batch, tokens (tokens fixed)", colour=hidden
    )
    (at_steps | at_tokens).save(folder / "batch.svg")
    horizon = {"Bjorck et al.": -0.32, "Marin": -0.28, "Step Law": 0.31}
    figure(changes(best, 1), horizon, base=BASE[1], title="steps (batch fixed)", colour=hidden).save(
        folder / "steps.svg"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figures", type=Path, help="the folder for width.svg, batch.svg and steps.svg")
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
    if flags.figures:
        figures(best, flags.figures)


if __name__ == "__main__":
    main()
