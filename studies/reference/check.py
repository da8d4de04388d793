"""Holds rules against sweeps: the packaged one, fitted here without the held-out cells, published ones, the searches'.

    python -m studies.reference.check [-o rule.json]

Kept out of the packaged rule: hidden 192 (between fitted sizes), 1,024 (twice the largest), and 256 at 3,200 steps with
every batch. Each search (`study*.toml`) is held against every sweep that it did not train on. Prints Markdown tables.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lrtune.law.fit import fit_law, fit_run
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule import load_rule, recommend
from lrtune.rule.advice import Recommendation
from lrtune.rule.data import Rule
from lrtune.rule.opinions import published_rates
from lrtune.rule.written import save_rule
from studies.joint.optima import Cell
from studies.reference.truth import STUDIES, Measured, cell_of, compute, measured, records_of

SCALES = ("hidden_size", "tokens", "batch_tokens")
HELD_OUT = {(192, 800, 1024), (1024, 800, 1024), (256, 3200, 256), (256, 3200, 1024), (256, 3200, 4096)}
USUAL = {"tokens": 3_276_800.0, "steps": 3200.0, "batch_tokens": 1024.0}  # what a question without them means
DEPTH = 4
WIDTHS = (32, 64, 128, 256)  # of the grid of width, steps and batch


def ask(rule: Rule, cell: Cell) -> Recommendation:
    """The rule's answer at a cell, by the scales that it has."""
    hidden_size, steps, batch = cell
    given = {"tokens": steps * batch, "batch_tokens": batch}
    if "batch_tokens" not in rule.scales:
        del given["batch_tokens"]
    return recommend(hidden_size, rule=rule, **given)


def rivals(rule: Rule, cell: Cell) -> dict[str, float]:
    """Peak rates that one would have used instead: 1/width from the smallest width's best, and published rules."""
    hidden_size, steps, batch = cell
    smallest = int(rule.scales["hidden_size"].low)
    base = ask(rule, (smallest, steps, batch)).learning_rate
    found = {"1/width from the smallest": base * smallest / hidden_size}
    opinions = published_rates(hidden_size, tokens=steps * batch, batch_tokens=batch, depth=DEPTH).opinions
    return found | {each.name: each.learning_rate for each in opinions if each.learning_rate is not None}


def held_out_table(rule: Rule, sweeps: Iterable[Measured]) -> list[str]:
    """One row for each candidate: distance in octaves and regret at each cell."""
    sweeps = list(sweeps)
    answers = [ask(rule, sweep.cell) for sweep in sweeps]
    others = [rivals(rule, sweep.cell) for sweep in sweeps]
    rows = [
        "| | " + " | ".join(_name(sweep.cell) for sweep in sweeps) + " |",
        "|---" * (len(sweeps) + 1) + "|",
        "| measured | " + " | ".join(_interval(2**sweep.best, sweep.low, sweep.high) for sweep in sweeps) + " |",
        "| the rule | " + " | ".join(_interval(each.learning_rate, each.low, each.high) for each in answers) + " |",
    ]
    candidates = {"**the rule**": [each.learning_rate for each in answers]}
    for name in others[0]:
        candidates[name] = [other.get(name, math.nan) for other in others]
    for name, rates in candidates.items():
        rows.append(f"| {name} | {' | '.join(_cost(*pair) for pair in zip(sweeps, rates, strict=True))} |")
    return rows


def _name(cell: Cell) -> str:
    return f"{cell[0]} × {cell[1]:,} × {cell[2]:,}"


def _interval(rate: float, low: float, high: float) -> str:
    return f"{rate:.3g} ({low:.3g} … {high:.3g})"


def _cost(sweep: Measured, rate: float) -> str:
    """Regret, with the distance from the best rate in octaves."""
    if not math.isfinite(rate):
        return "–"
    regret = sweep.regret(rate)
    return f"{'beyond' if math.isnan(regret) else f'{regret:.2%}'} ({math.log2(rate) - sweep.best:+.2f})"


def where(rule: Rule, cell: Cell) -> str:
    """How a cell lies to what a search trained: trained range, or the scales in which it lies beyond."""
    hidden_size, steps, batch = cell
    times = {
        name: value / rule.scales[scale].high
        for name, scale, value in (
            ("width", "hidden_size", hidden_size),
            ("steps", "steps", steps),
            ("batch", "batch_tokens", batch),
        )
        if scale in rule.scales
    }
    return ", ".join(f"{name} {factor:g}×" for name, factor in times.items() if factor > 1) or "within"


def covers(rule: Rule, found: Sequence[TrialRecord], cell: Cell) -> bool:
    """Whether the cell agrees with the search's runs in the scales that its rule does not have."""
    trained = {cell_of(record) for record in found}
    fixed = [index for index, name in ((1, "steps"), (2, "batch_tokens")) if name not in rule.scales]
    return all(cell[index] in {each[index] for each in trained} for index in fixed)


def search_table(rule: Rule, sweeps: Iterable[Measured]) -> list[str]:
    """A search's rule at every swept cell: one row for each way in which cells lie beyond what it trained."""
    groups: dict[str, list[tuple[Measured, Recommendation]]] = defaultdict(list)
    for sweep in sweeps:
        groups[where(rule, sweep.cell)].append((sweep, ask(rule, sweep.cell)))
    rows = [
        "| where | cells | octaves off, median | regret, median | regret, worst | intervals that hold | supported |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, pairs in sorted(groups.items(), key=lambda item: (item[0].count("×"), item[0])):
        off = [abs(math.log2(found.learning_rate) - sweep.best) for sweep, found in pairs]
        regret = [sweep.regret(found.learning_rate) for sweep, found in pairs]
        held = sum(found.low <= sweep.high and sweep.low <= found.high for sweep, found in pairs)
        supported = sum(found.supported for _, found in pairs)
        rows.append(
            f"| {name} | {len(pairs)} | {np.median(off):.2f} | {np.median(regret):.2%} | {max(regret):.2%} "
            f"| {held} | {supported} |"
        )
    return rows


def cells_table(rule: Rule, sweeps: Iterable[Measured]) -> list[str]:
    """A rule's answer at each swept cell."""
    rows = [
        "| hidden | steps | batch tokens | answer | 90% interval | measured | octaves off | regret |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for sweep in sweeps:
        found = ask(rule, sweep.cell)
        mark = "" if found.supported else ", not supported"
        rows.append(
            f"| {' | '.join(f'{each:,}' for each in sweep.cell)} | {found.learning_rate:.3g} "
            f"| {found.low:.3g} … {found.high:.3g}{mark} | {2**sweep.best:.3g} ({sweep.low:.3g} … {sweep.high:.3g}) "
            f"| {math.log2(found.learning_rate) - sweep.best:+.2f} | {sweep.regret(found.learning_rate):.2%} |"
        )
    return rows


def describe(name: str, found: Sequence[TrialRecord], sweeps: Sequence[TrialRecord]) -> str:
    """Runs, time, and compute as a share of the sweeps of the same cells and of all sweeps of the joint grid."""
    cells = {cell_of(record) for record in found}
    same = compute(found) / compute([record for record in sweeps if cell_of(record) in cells])
    every = compute(found) / compute([record for record in sweeps if record.hidden_size in WIDTHS])
    minutes = sum(record.seconds for record in found) / 60
    return (
        f"`{name}`: {len(found)} runs, {minutes:.0f} minutes of training, {same:.1%} of the compute of the sweeps "
        f"of the same cells, {every:.1%} of that of the whole grid"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="where to write the packaged rule")
    flags = parser.parse_args()
    sweeps = records_of()
    searches = {path.name: read_records(path).records for path in sorted(STUDIES.glob("reference/search-*.jsonl"))}
    pool = [*sweeps, *(record for found in searches.values() for record in found)]
    fit = fit_law(
        [record for record in pool if cell_of(record) not in HELD_OUT],
        scales=SCALES,
        provenance={"study": "studies/reference: three searches, and dense sweeps"},
    )
    rule = fit.rule._replace(horizon=USUAL)
    if flags.out:
        save_rule(rule, flags.out)
        load_rule(flags.out)
    fresh = read_records(STUDIES / "reference" / "fresh.jsonl").records
    truth = {sweep.cell: sweep for sweep in measured(sweeps)}
    new = {sweep.cell: sweep for sweep in measured(fresh)}
    prose = list(measured(records_of("prose")))
    print(
        *(
            f"prose, {_name(sweep.cell)}: {2**sweep.best:.3g}, {sweep.best - truth[sweep.cell].best:+.2f} octaves"
            for sweep in prose
        ),
        sep="\n",
        end="\n\n",
    )
    print(f"packaged rule, {rule.provenance['runs']} runs: {fit.rule.reason}\n")
    print(*held_out_table(rule, [truth[cell] for cell in sorted(HELD_OUT)]), sep="\n", end="\n\n")
    for name, found in searches.items():
        own = fit_run(found).rule
        print(describe(name, found, sweeps), end="\n\n")
        answered = [sweep for sweep in truth.values() if covers(own, found, sweep.cell)]
        print(*search_table(own, answered), sep="\n", end="\n\n")
        if "batch_tokens" in own.scales:
            print(*held_out_table(own, new.values()), sep="\n", end="\n\n")
        print(*cells_table(own, answered), sep="\n", end="\n\n")


if __name__ == "__main__":
    main()
