"""How good is the law on sweeps that were really run? Each whole size left out in turn, beside a straight line.

    python studies/benchmarks/tables.py --data FOLDER            # public tables, and this project's own sweeps
    python studies/benchmarks/tables.py sweep.csv --lr lr --loss loss --scale hidden_size=width [--maximize] …

The truth is what the left-out size's own rates say: the mean of a parabola through the best three, and of a quadratic
and a cubic through the best five, in log2 of the rate; its error is their standard deviation. Where the best rate
stands at an edge or beside a failure there are only bounds. The other side is the straight line in log–log through each
other size's own optimum, in whichever of eight ways of reading these does best over all public tables.
"""

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sweeps import LINES, SIZE, Key, Line, Sweep, Truth, own_sweeps, public_sweeps

from lrtune.errors import LrtuneError
from lrtune.law.fit import fit_law
from lrtune.records.columns import Columns
from lrtune.records.importers import read_sources
from lrtune.rule import recommend, transfer_learning_rate


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One cell of a left-out size: what is true, what the law said, what each line said; rates in log2."""

    sweep: Sweep
    key: Key
    truth: Truth
    rate: float
    low: float
    high: float
    supported: bool
    lines: dict[Line, float]

    @property
    def error(self) -> float:
        return self.rate - self.truth.best

    @property
    def held(self) -> bool:
        return self.low <= self.truth.best <= self.high

    @property
    def nearly_held(self) -> bool:
        return self.low - self.truth.error <= self.truth.best <= self.high + self.truth.error

    @property
    def bound_held(self) -> bool:
        return self.low <= self.truth.high and self.high >= self.truth.low


def leave_out(sweep: Sweep) -> list[Scored]:
    """Fit to all sizes but one, and ask for each cell of that one, for every size in turn."""
    truths = sweep.truths()
    scored = []
    for size in sweep.sizes():
        rest = [record for record in sweep.records if record.scale(SIZE) != size]
        seen = {key: truth for key, truth in truths.items() if key[0] != size}
        try:
            rule = fit_law(rest, scales=sweep.scales).rule
        except LrtuneError:
            rule = None
        for key, truth in truths.items():
            if key[0] != size:
                continue
            rate = low = high = math.nan
            supported = False
            try:
                if rule is not None:
                    asked = {n: v for n, v in zip(sweep.scales, key, strict=True) if n in rule.scales}
                    found = recommend(rule=rule, **asked)
                    rate, low, high = (math.log2(v) for v in (found.learning_rate, found.low, found.high))
                    supported = found.supported
            except LrtuneError:
                pass
            lines = {line: line.predict(seen, key) for line in LINES}
            scored.append(
                Scored(
                    sweep=sweep, key=key, truth=truth, rate=rate, low=low, high=high, supported=supported, lines=lines
                )
            )
    return scored


def best_line(scored: Sequence[Scored]) -> Line:
    """The way of reading that errs least: the other side at its best."""
    inner = [s for s in scored if s.truth.is_interior]
    return min(LINES, key=lambda line: np.nanmedian([abs(s.lines[line] - s.truth.best) for s in inner]))


def row(name: str, scored: Sequence[Scored], line: Line) -> str:
    """One line of the table; errors are medians in octaves, over the cells that both sides answer."""
    inner = [s for s in scored if s.truth.is_interior]
    both = [s for s in inner if math.isfinite(s.rate) and math.isfinite(s.lines[line])]
    edges = [s.bound_held for s in scored if not s.truth.is_interior and math.isfinite(s.rate)]
    ours, theirs = (np.array([s.error for s in both]), np.array([s.lines[line] - s.truth.best for s in both]))
    ours_lost = np.array([s.truth.curve.regret(s.rate) for s in both])
    theirs_lost = np.array([s.truth.curve.regret(s.lines[line]) for s in both])
    held, nearly = sum(s.held for s in both), sum(s.nearly_held for s in both)

    def of(values: np.ndarray, form: str, how: str = "median") -> str:
        return format(getattr(np, how)(values), form) if len(values) else "–"

    cells = [
        name,
        f"{len({(s.sweep.name, s.key[0]) for s in scored})}, {len(both)}",
        of(np.array([s.truth.error for s in both]), ".2f"),
        f"{of(abs(ours), '.2f')} ({of(ours, '+.2f', 'mean')})",
        f"{of(abs(theirs), '.2f')} ({of(theirs, '+.2f', 'mean')})",
        of(abs(ours) < abs(theirs), ".0%", "mean"),
        f"{of(ours_lost, '.2%')}, {of(ours_lost, '.2%', 'mean')}",
        f"{of(theirs_lost, '.2%')}, {of(theirs_lost, '.2%', 'mean')}",
        f"{held} ({held / len(both):.0%}); {nearly} ({nearly / len(both):.0%})" if both else "–",
        of(np.array([s.high - s.low for s in both]), ".2f"),
        of(np.array([s.supported for s in both]), ".0%", "mean"),
        f"{sum(edges)} of {len(edges)}",
        f"{sum(not math.isfinite(s.rate) for s in scored)}",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| sweep | sizes, interior cells | truth ± | error (mean signed) | line | nearer than the line "
    "| regret: median, mean | line | held; with the truth's error | width | supported | bounds held | no answer |"
)


def slope(sweep: Sweep) -> str:
    """The exponent of the size from least to largest, with its interval: the ratio that the rule carries a rate by."""
    rule = fit_law(sweep.records, scales=sweep.scales).rule
    low, high = sweep.sizes()[0], sweep.sizes()[-1]
    found = transfer_learning_rate(1.0, low, high, rule=rule)
    values = [math.log(v) / math.log(high / low) for v in (found.ratio, found.ratio_low, found.ratio_high)]
    inner = {key: truth.best for key, truth in sweep.truths().items() if truth.is_interior}
    own = np.polyfit(np.log2([key[0] for key in inner]), list(inner.values()), 1)[0]
    law = f"{values[0]:+.2f} ({values[1]:+.2f} … {values[2]:+.2f})"
    return f"exponent of the size in {sweep.name}: {law}; a line through the sizes' own optima: {own:+.2f}"


def listing(scored: Sequence[Scored], line: Line) -> list[str]:
    rows = ["| sweep | left out | truth ± | law | interval | error | line's | held |", "|---" * 8 + "|"]
    for s in scored:
        where = ", ".join(f"{value:g}" for value in s.key)
        truth = f"{2**s.truth.best:.3g} ± {s.truth.error:.2f}" if s.truth.is_interior else ""
        truth = truth or f"{2**s.truth.low:.3g} … {2**s.truth.high:.3g}"
        held = s.held if s.truth.is_interior else s.bound_held
        rows.append(
            f"| {s.sweep.name} | {where} | {truth} | {2**s.rate:.3g} | {2**s.low:.3g} … {2**s.high:.3g} "
            f"| {s.error:+.2f} | {s.lines[line] - s.truth.best:+.2f} | {'yes' if held else 'no'} |"
        )
    return [*rows, ""]


def report(sweeps: Sequence[Sweep], cells: bool) -> None:
    scored = {sweep.name: leave_out(sweep) for sweep in sweeps}
    flat = [s for part in scored.values() for s in part]
    line = best_line([s for s in flat if not s.sweep.own] or flat)
    if cells:
        print("\n".join(listing(flat, line)))
    print(HEAD)
    print("|---" * 13 + "|")
    for name, part in scored.items():
        scales = len(part[0].sweep.scales)
        print(row(name if scales == 1 else f"{name} ({scales} scales)", part, line))
    for own, whose in ((False, "public"), (True, "own")):
        for several, what in ((False, "one scale"), (True, "several scales")):
            part = [s for s in flat if s.sweep.own is own and (len(s.sweep.scales) > 1) is several]
            if part:
                print(row(f"**{whose}, {what}**", part, line))
    part = [s for s in flat if not s.sweep.own]
    if part:
        print(row("**public, all**", part, line))
    edges = "edges as they stand" if line.edges else "edges left out"
    print(f"\nthe line's best way: {line.reading}, {edges}")
    print("\n".join(slope(sweep) for sweep in sweeps if sweep.name == "mup"))
    used = os.times()
    print(f"{used.user + used.system:.0f} s of processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--data", type=Path, help="folder of the public tables")
    parser.add_argument("--only", default="", help="sweeps whose name begins so")
    parser.add_argument("--cells", action="store_true", help="list every cell first")
    parser.add_argument("--lr", default="lr")
    parser.add_argument("--loss", default="loss")
    parser.add_argument("--scale", action="append", default=[], metavar="NAME=COLUMN")
    parser.add_argument("--minimize-over", action="append", default=[])
    parser.add_argument("--maximize", action="store_true")
    parser.add_argument("--failed-when")
    given = parser.parse_args()
    columns = Columns(
        learning_rate=given.lr,
        loss=given.loss,
        scales=dict(text.split("=", 1) for text in given.scale),
        minimize_over=tuple(given.minimize_over),
        maximize=given.maximize,
        failed_when=given.failed_when,
    )
    sweeps = []
    for path in given.tables:
        found = read_sources([path], columns)
        sweeps.append(Sweep(name=Path(path).stem, scales=found.scales, records=found.records))
    if not given.tables:
        sweeps = [*(public_sweeps(given.data) if given.data else []), *own_sweeps()]
    report([sweep for sweep in sweeps if sweep.name.startswith(given.only)], given.cells)


if __name__ == "__main__":
    main()
