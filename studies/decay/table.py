"""Loss by weight decay and rate, the best decay at each rate, and the best rate at each decay.

    python -m studies.decay.table [--figure studies/decay/surface.svg]

rate × decay × steps is the share of a weight that decays over a run at the peak rate: 1 and more forget its start.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from lrtune.records.jsonl import read_records

HERE = Path(__file__).parent
Grid = dict[tuple[float, float], list[float]]  # (decay, rate) → losses, by seed


def grids() -> dict[int, Grid]:
    """The losses of each width."""
    found: dict[int, Grid] = defaultdict(lambda: defaultdict(list))
    for record in sorted(read_records(HERE / "records.jsonl").records, key=lambda record: record.seed):
        loss = np.inf if record.status != "finished" or record.loss is None else record.loss
        found[record.hidden_size][record.knobs["weight_decay"], record.learning_rate].append(loss)
    return dict(sorted(found.items()))


def table(grid: Grid) -> list[str]:
    """Mean losses, a row for each decay and a column for each rate; the lowest of a row and of a column are marked."""
    decays, rates = (sorted({pair[i] for pair in grid}) for i in (0, 1))
    mean = {pair: float(np.mean(losses)) for pair, losses in grid.items()}
    lines = [f"| decay | {' | '.join(f'rate {rate:g}' for rate in rates)} |", "|---" * (len(rates) + 1) + "|"]
    for decay in decays:
        row = []
        for rate in rates:
            here = mean.get((decay, rate), np.nan)
            is_row = here == min(mean.get((decay, other), np.inf) for other in rates)
            is_column = here == min(mean.get((other, rate), np.inf) for other in decays)
            row.append(f"{'**' if is_row else ''}{here:.3f}{'**' if is_row else ''}{' ↕' if is_column else ''}")
        lines.append(f"| {decay:g} | {' | '.join(row)} |")
    return lines


def spread(grid: Grid) -> float:
    """Relative standard deviation between seeds."""
    pairs = [losses for losses in grid.values() if len(losses) > 1 and np.isfinite(losses).all()]
    return float(np.sqrt(np.mean([np.var(np.log(losses), ddof=1) for losses in pairs]))) if pairs else np.nan


def figure(found: dict[int, Grid], path: Path) -> None:
    """Loss above the best of a width against the rate, a line for each decay, a panel for each width."""
    import altair

    best = {width: min(np.mean(losses) for losses in grid.values()) for width, grid in found.items()}
    rows = [
        {"hidden": width, "decay": f"{decay:g}", "rate": rate, "above": float(np.mean(losses) / best[width] - 1)}
        for width, grid in found.items()
        for (decay, rate), losses in grid.items()
        if np.mean(losses) / best[width] < 1.2
    ]
    decays = [f"{decay:g}" for decay in sorted({pair[0] for grid in found.values() for pair in grid})]
    chart = (
        altair.Chart(altair.Data(values=rows))
        .mark_line(point=True)
        .encode(
            x=altair.X("rate:Q", title="peak rate").scale(type="log", nice=False),
            y=altair.Y("above:Q", title="loss above best").axis(format="%"),
            color=altair.Color(
                "decay:O", title="weight decay", sort=decays, legend=altair.Legend(orient="bottom")
            ).scale(scheme="viridis"),
        )
        .properties(width=260, height=220)
        .facet(column=altair.Column("hidden:O", title="hidden size"))
    )
    chart.resolve_scale(x="independent").save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", type=Path)
    flags = parser.parse_args()
    found = grids()
    for width, grid in found.items():
        print(f"hidden {width}, {sum(map(len, grid.values()))} runs, {spread(grid):.2%} between seeds\n")
        print(*table(grid), "", sep="\n")
    if flags.figure:
        figure(found, flags.figure)


if __name__ == "__main__":
    main()
