"""How good is the law? Coverage, width, score and error of its intervals on synthetic sweeps whose truth is known.

    python studies/benchmarks/law.py                         # 500 surfaces over one scale
    python studies/benchmarks/law.py --joint --draws 400     # sizes × tokens with an offset per size, sizes left out
    python studies/benchmarks/law.py --asymmetric --draws 20 # a trainer three times steeper above its best rate
    python studies/benchmarks/law.py --save before.json      # … and after a change of the law, on the same draws:
    python studies/benchmarks/law.py --against before.json

Errors, widths and scores in octaves. The score of a 90% interval is its width and 20 times what it misses by
(Gneiting & Raftery 2007, eq. 43): lower is better. With `--against`, the mean change of the score by draw, ± its
standard error. A row of "measured" and "between" whose interval is wider than an octave counts as missed.
"""

import argparse
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from drawn import asymmetric_loss, draw_asymmetric, draw_joint, draw_surface

from lrtune.cli.settings import quick_study
from lrtune.law.fit import fit_law
from lrtune.records.record import TrialRecord
from lrtune.rule import Rule, recommend
from lrtune.search.adaptive import AdaptiveDesign

PLACES = ("measured", "between", "2x", "4x")
OFFSETS = (0.0, 0.15, 0.3)
MISS = 20.0  # 2 / (1 − level) at a level of 90%


class Row(NamedTuple):
    """What a rule said at one place of one draw; rates in log2, `regret` NaN where it is not judged."""

    seed: int
    place: str
    at: float
    groups: tuple[str, ...]
    truth: float
    rate: float
    low: float
    high: float
    regret: float = math.nan
    said: float = math.nan

    @property
    def held(self) -> bool:
        wide = self.place in ("measured", "between") and self.high - self.low > 1.0
        return self.low <= self.truth <= self.high and not wide

    @property
    def score(self) -> float:
        missed = max(self.low - self.truth, self.truth - self.high, 0.0)
        return self.high - self.low + MISS * missed


def answer(rule: Rule, **scales: float) -> tuple[float, float, float]:
    """log2 of the rate and of its interval's ends."""
    found = recommend(rule=rule, **scales)
    return math.log2(found.learning_rate), math.log2(found.low), math.log2(found.high)


def score_surface(seed: int) -> list[Row]:
    """A surface over one scale, asked at its sizes, between, and beyond."""
    surface = draw_surface(seed)
    rule = fit_law(surface.records).rule
    between = [math.sqrt(a * b) for a, b in zip(surface.widths, surface.widths[1:], strict=False)]
    asked = [("measured", float(w)) for w in surface.widths] + [("between", w) for w in between]
    asked += [("2x", 2.0 * surface.widths[-1]), ("4x", 4.0 * surface.widths[-1])]
    groups = ("all", f"law: {surface.law}", f"curve: {surface.curve}")
    return [
        Row(seed, place, width, groups, surface.optimum(width), *answer(rule, hidden_size=width))
        for place, width in asked
    ]


def score_joint(seed: int, offset: float) -> list[Row]:
    """A law over sizes and tokens, fitted without one whole size, asked at that size's cells."""
    joint = draw_joint(seed, offset)
    sizes = sorted({place.width for place in joint.places})
    size = sizes[seed // 6 % len(sizes)]
    scales = ("hidden_size", "tokens")
    rule = fit_law([r for r in joint.records if r.hidden_size != size], scales=scales).rule
    said = said_left_out(joint.records, scales)
    where = "inner" if size in sizes[1:-1] else "outer"
    groups = (f"offset {offset:g}", f"offset {offset:g}, {where} size")
    rows = []
    for place in joint.places:
        if place.width == size:
            rate, low, high = answer(rule, hidden_size=size, **place.scales)
            regret = joint.rise(rate - place.best)
            rows.append(
                Row(seed, "left out", place.scales["tokens"], groups, place.best, rate, low, high, regret, said)
            )
    return rows


def said_left_out(records: Sequence[TrialRecord], scales: tuple[str, ...]) -> float:
    """The mean regret at sizes left out that a fit says of itself; NaN where it says none."""
    fit = fit_law(records, scales=scales)
    said = getattr(fit.rule, "left_out", None)  # rules of a model with several forms say it by form
    return fit.regrets.get(fit.rule.form, math.nan) if said is None else said


def score_asymmetric(seed: int) -> list[Row]:
    """A grid of 18 runs of the asymmetric trainer, and a search of at most as many."""
    surface = draw_asymmetric(seed)
    rows = []
    searched = search_asymmetric(seed, surface.optimum, surface.widths)
    for name, records in (("grid", surface.records), ("search", searched)):
        rule = fit_law(records).rule
        for width in surface.widths:
            truth = surface.optimum(width)
            rows.append(Row(seed, "measured", width, (f"asymmetric, {name}",), truth, *answer(rule, hidden_size=width)))
    return rows


def search_asymmetric(
    seed: int, optimum: Callable[[float], float], widths: tuple[int, ...], most: int = 18
) -> list[TrialRecord]:
    """The runs that an adaptive search makes, one at a time, until it knows enough or has made so many."""
    rng = np.random.default_rng([seed, 18])
    study = replace(quick_study(), widths=widths, seed=seed, lr_min=2.0**-10, lr_max=0.5)
    design = AdaptiveDesign(study)
    records: list[TrialRecord] = []
    while len(records) < most:
        task = design.propose(records, [], 1)
        if not task:
            break
        u = math.log2(task[0].learning_rate) - optimum(task[0].hidden_size)
        records.append(
            TrialRecord(
                trial=len(records),
                hidden_size=task[0].hidden_size,
                learning_rate=task[0].learning_rate,
                seed=task[0].seed,
                status="finished",
                steps=study.steps,
                steps_done=study.steps,
                loss=asymmetric_loss(u, rng),
            )
        )
    return records


def table(rows: Sequence[Row], old: dict[tuple[int, str, float, str], float]) -> list[str]:
    """A line for each group and place, with the change of the score where old scores are given."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        for name in row.groups:
            groups[name, row.place].append(row)
    lines = [
        "| group | place | draws, n | coverage | width | error | mean signed error ± | score |"
        + (" score less the old ± |" if old else "")
    ]
    lines.append("|---" * (9 if old else 8) + "|")
    order = {place: number for number, place in enumerate(PLACES)}
    for (name, place), part in sorted(groups.items(), key=lambda item: (item[0][0], order.get(item[0][1], 9))):
        signed = [row.rate - row.truth for row in part]
        mean, error = by_draw(part, signed)
        cells = [name, place, f"{len({row.seed for row in part})}, {len(part)}"]
        cells += [f"{np.mean([row.held for row in part]):.1%}", f"{np.median([r.high - r.low for r in part]):.2f}"]
        cells += [f"{np.median(np.abs(signed)):.3f}", f"{mean:+.3f} ± {error:.3f}"]
        cells += [f"{np.mean([row.score for row in part]):.3f}"]
        if old:
            both = [row for row in part if (row.seed, row.place, row.at, row.groups[0]) in old]
            change = [row.score - old[row.seed, row.place, row.at, row.groups[0]] for row in both]
            cells.append("{:+.3f} ± {:.3f}".format(*by_draw(both, change)) if both else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def by_draw(rows: Sequence[Row], values: Iterable[float]) -> tuple[float, float]:
    """The mean over draws of a draw's mean, and its standard error: the rows of a draw are not independent."""
    draws: dict[int, list[float]] = defaultdict(list)
    for row, value in zip(rows, values, strict=True):
        draws[row.seed].append(value)
    means = [float(np.mean(part)) for part in draws.values()]
    return float(np.mean(means)), float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 1 else math.nan


def regrets(rows: Sequence[Row]) -> list[str]:
    """What is lost at sizes left out, against what the rule says of them."""
    lines = []
    for name in sorted({row.groups[0] for row in rows}):
        part = [row for row in rows if row.groups[0] == name]
        said = [row.said for row in part if math.isfinite(row.said)]
        lost = float(np.mean([row.regret for row in part]))
        words = f"said {np.mean(said):.3%} (factor {lost / np.mean(said):.2f})" if said else "said nothing"
        median = np.median([row.regret for row in part])
        lines.append(f"{name}: regret at the size left out {lost:.3%} in the mean, {median:.3%} in the median; {words}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--joint", action="store_true")
    parser.add_argument("--asymmetric", action="store_true")
    parser.add_argument("--save", type=Path, help="write every row there")
    parser.add_argument("--against", type=Path, help="rows saved before, of the same draws")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.draws)
    tasks: list[Callable[[int], list[Row]]] = [score_asymmetric if given.asymmetric else score_surface]
    if given.joint:
        tasks = [partial(score_joint, offset=offset) for offset in OFFSETS]
    with ProcessPoolExecutor(given.jobs) as pool:
        rows = [row for task in tasks for part in pool.map(task, seeds, chunksize=4) for row in part]
    old = {}
    if given.against:
        saved = [Row(*values) for values in json.loads(given.against.read_text())]
        old = {(row.seed, row.place, row.at, row.groups[0]): row.score for row in saved}
    if given.save:
        given.save.write_text(json.dumps(rows))
    print("\n".join(table(rows, old)), "\n")
    if given.joint:
        print("\n".join(regrets(rows)))
    used = os.times()
    print(f"{given.draws} draws, {used.children_user + used.children_system:.0f} s of processor time")


if __name__ == "__main__":
    main()
