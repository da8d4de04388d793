"""The best pair of Muon's and AdamW's rate at each width, what leaving it costs, and how it moves with the width.

    python -m studies.muon.optima [--figure studies/muon/surface.svg]

A paraboloid in the two log2 rates is fitted by least squares to log loss, through the runs within two doublings of the
best pair of the grid. Nothing here uses lrtune's law: it is what a law of two knobs is held against.
"""

import argparse
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord

HERE = Path(__file__).parent
_HEADER = (
    "hidden",
    "runs",
    "best pair tried: Muon, AdamW",
    "its loss",
    "fitted best",
    "a doubling of Muon's costs",
    "of AdamW's",
    "coupling",
    "between seeds",
)
REACH = 2.01  # doublings to either side of the best pair


def sweeps() -> dict[int, list[TrialRecord]]:
    """The finished runs of each width."""
    found: dict[int, list[TrialRecord]] = defaultdict(list)
    for record in read_records(HERE / "records.jsonl").records:
        if record.status == "finished":
            found[record.hidden_size].append(record)
    return dict(sorted(found.items()))


def pair_of(record: TrialRecord) -> tuple[float, float]:
    """log2 of Muon's and AdamW's rate."""
    return math.log2(record.learning_rate), math.log2(record.knobs["adam_lr"])


def means(runs: list[TrialRecord]) -> dict[tuple[float, float], float]:
    """Mean loss of each pair over its seeds."""
    losses = defaultdict(list)
    for run in runs:
        losses[pair_of(run)].append(run.loss or math.nan)
    return {pair: float(np.mean(values)) for pair, values in losses.items()}


def paraboloid(runs: list[TrialRecord]) -> tuple[np.ndarray, np.ndarray] | None:
    """The pair of the least loss, and the second derivatives of log loss (2, 2); None without a minimum inside."""
    grid = means(runs)
    best = min(grid, key=lambda pair: grid[pair])
    near = [run for run in runs if all(abs(a - b) < REACH for a, b in zip(pair_of(run), best, strict=True))]
    x, y = (np.array([pair_of(run) for run in near]) - best).T
    design = np.stack([np.ones_like(x), x, y, x**2, y**2, x * y], axis=1)
    if np.linalg.matrix_rank(design) < 6:
        return None
    _, bx, by, cxx, cyy, cxy = np.linalg.lstsq(design, np.log([run.loss or math.nan for run in near]), rcond=None)[0]
    bend = np.array([[2 * cxx, cxy], [cxy, 2 * cyy]])
    if np.linalg.eigvalsh(bend).min() <= 0:
        return None
    off = -np.linalg.solve(bend, [bx, by])
    inside = x.min() <= off[0] <= x.max() and y.min() <= off[1] <= y.max()
    return (np.array(best) + off, bend) if inside else None


def noise(runs: list[TrialRecord]) -> float:
    """Standard deviation of log loss between seeds of one pair."""
    by_pair = defaultdict(list)
    for run in runs:
        by_pair[pair_of(run)].append(math.log(run.loss or math.nan))
    pairs = [values for values in by_pair.values() if len(values) > 1]
    return float(np.sqrt(np.mean([np.var(values, ddof=1) for values in pairs]))) if pairs else math.nan


def figure(found: dict[int, list[TrialRecord]], path: Path) -> None:
    """Loss above the best of each width, a panel for each."""
    import altair

    grids = {width: means(runs) for width, runs in found.items() if len(means(runs)) > 3}
    rows = [
        {"hidden": width, "muon": f"{2**m:.3g}", "adam": f"{2**a:.3g}", "above": loss / min(grid.values()) - 1}
        for width, grid in grids.items()
        for (m, a), loss in grid.items()
    ]
    muons, adams = ([f"{2**x:.3g}" for x in sorted({p[i] for grid in grids.values() for p in grid})] for i in (0, 1))
    above = altair.Color("above:Q", title="loss above best", legend=altair.Legend(format="%", orient="bottom"))
    chart = (
        altair.Chart(altair.Data(values=rows))
        .mark_rect()
        .encode(
            x=altair.X("muon:O", title="Muon's rate", sort=muons),
            y=altair.Y("adam:O", title="AdamW's rate", sort=adams[::-1]),
            color=above.scale(scheme="viridis", domain=[0, 0.1], clamp=True, reverse=True),
        )
        .properties(width=180, height=180)
        .facet(column=altair.Column("hidden:O", title="hidden size"))
    )
    chart.save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", type=Path)
    flags = parser.parse_args()
    found = sweeps()
    print(f"| {' | '.join(_HEADER)} |\n{'|---' * len(_HEADER)}|")
    for width, runs in found.items():
        grid = means(runs)
        m, a = min(grid, key=lambda pair: grid[pair])
        row = f"| {width} | {len(runs)} | {2**m:.3g}, {2**a:.3g} | {grid[m, a]:.3f} "
        fitted = paraboloid(runs)
        if fitted is None:
            print(f"{row}| no minimum | | | | {noise(runs):.2%} |")
            continue
        (x, y), bend = fitted
        coupling = bend[0, 1] / math.sqrt(bend[0, 0] * bend[1, 1])
        print(
            f"{row}| {2**x:.3g}, {2**y:.3g} | {bend[0, 0] / 2:.2%} | {bend[1, 1] / 2:.2%} | {coupling:+.2f} "
            f"| {noise(runs):.2%} |"
        )
    if flags.figure:
        figure(found, flags.figure)


if __name__ == "__main__":
    main()
