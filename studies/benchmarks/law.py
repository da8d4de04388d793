"""How good is the law? Coverage, width and error of its intervals on synthetic surfaces and on tables left out in turn.

    python studies/benchmarks/law.py                         # 500 synthetic surfaces
    python studies/benchmarks/law.py --time-records 5000
    python studies/benchmarks/law.py sweep.csv --lr lr --loss loss --scale hidden_size=width [--maximize] …

The synthetic surfaces share no code with `lrtune`: their curves and laws are drawn from families of which at least
half cannot be represented there (kinked and saturating laws, a wandering minimum, plateaus, cliffs, cusps).
"""

import argparse
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from lrtune.errors import LrtuneError
from lrtune.law.fit import fit_law
from lrtune.records.importers import Columns, read_sources
from lrtune.records.record import TrialRecord
from lrtune.rule.ask import recommend

LAWS = ("power", "power", "kinked", "curved", "wandering", "saturating")
CURVES = ("parabola", "exponentials", "skewed", "cusp", "plateau", "cliff")
PLACES = ("measured", "between", "2x", "4x")


@dataclass(frozen=True)
class Surface:
    """A synthetic truth: log2 of the best rate by width, and the runs that were made."""

    law: str
    curve: str
    optimum: Callable[[float], float]
    widths: tuple[int, ...]
    records: list[TrialRecord]


def draw_surface(seed: int) -> Surface:
    """One surface with its sweep: 3–8 widths, 4–12 rates, exponents −1.5 … +0.5."""
    rng = np.random.default_rng(seed)
    law, curve = LAWS[seed % len(LAWS)], CURVES[(seed // len(LAWS)) % len(CURVES)]
    count = int(rng.integers(3, 9))
    ratio = rng.choice([math.sqrt(2), 1.5, 2.0])
    widths = tuple(round(rng.choice([32, 64, 128, 256]) * ratio**i) for i in range(count))
    optimum = _draw_law(rng, law, widths)
    rise = _draw_curve(rng, curve)
    records = _sweep(rng, widths, optimum, rise)
    return Surface(law, curve, optimum, widths, records)


def _draw_law(rng: np.random.Generator, kind: str, widths: tuple[int, ...]) -> Callable[[float], float]:
    """log2 of the best rate as a function of width; z is log2 of width over the middle of those measured."""
    slope = rng.uniform(-1.5, 0.5)
    level = math.log2(10 ** rng.uniform(-3, -1.2))
    middle = float(np.mean(np.log2(widths)))
    span = math.log2(widths[-1] / widths[0])
    kink = rng.uniform(-0.3, 0.3) * span
    other = np.clip(slope + rng.choice([-1, 1]) * rng.uniform(0.2, 0.7), -1.7, 0.6)
    bend = rng.normal(0, 0.05)
    wave, phase, period = rng.uniform(0.05, 0.2), rng.uniform(0, 2 * math.pi), rng.uniform(1.0, 3.0)

    def optimum(width: float) -> float:
        z = math.log2(width) - middle
        if kind == "kinked":
            return level + (slope if z < kink else other) * (z - kink)
        if kind == "curved":
            return level + slope * z + bend * z * z
        if kind == "wandering":
            return level + slope * z + wave * math.sin(2 * math.pi * z / period + phase)
        if kind == "saturating":
            return level + slope * 2 * math.tanh(z / 2.5)
        return level + slope * z

    return optimum


def _draw_curve(rng: np.random.Generator, kind: str) -> Callable[[float], float]:
    """Relative rise of the loss at u octaves from the best, about 1–6% an octave away."""
    size = 10 ** rng.uniform(-2.0, -1.2)
    skew = rng.uniform(1.2, 4.0)

    def rise(u: float) -> float:
        if kind == "parabola":
            return size * u * u
        if kind == "exponentials":
            return size * (math.expm1(min(1.2 * u, 6)) / 1.2 - -math.expm1(max(-0.4 * u, -6)) / 0.4) / 0.8
        if kind == "skewed":
            return size * (skew if u > 0 else 1.0) * u * u / (1 + 0.3 * abs(u))
        if kind == "cusp":
            return size * (skew if u > 0 else 1.0) * abs(u) ** 1.2
        if kind == "plateau":
            return size * max(abs(u) - 0.4, 0.0) ** 2 * (skew if u > 0 else 1.0) + 0.02 * size * u * u
        return size * u * u + (5 * size * (u - 0.8) if u > 0.8 else 0.0)

    return lambda u: min(rise(u), 2.0)


def _sweep(
    rng: np.random.Generator, widths: tuple[int, ...], optimum: Callable[[float], float], rise: Callable[[float], float]
) -> list[TrialRecord]:
    """The runs: a grid of rates by width, noise shared between the rates of a seed, collapse on the high side."""
    count = int(rng.integers(4, 13))
    step = float(rng.choice([0.5, 0.75, 1.0])) if count > 5 else 1.0
    seeds = int(rng.choice([1, 1, 2, 3]))
    shared, own = 10 ** rng.uniform(-2.7, -2.0), 10 ** rng.uniform(-3.3, -2.5)
    edge, sharpness = rng.uniform(1.3, 3.0), rng.uniform(0.05, 0.3)
    growth, prunes = rng.normal(0, 0.15), rng.random() < 0.3
    offsets = rng.normal(0, shared, size=(len(widths), seeds))
    records = []
    for i, width in enumerate(widths):
        best = 3.0 * (width / widths[0]) ** -0.08
        start = optimum(width) - step * (count - 1) / 2 + rng.uniform(-0.8, 0.8)
        for j in range(count):
            x = start + step * j
            u = x - optimum(width)
            for seed in range(seeds):
                chance = 1 / (1 + math.exp(-max(min((u - edge) / sharpness, 50), -50)))
                relative = rise(u) * math.exp(growth * i) + offsets[i, seed] + rng.normal(0, own)
                status = "diverged" if rng.random() < chance else "finished"
                if status == "finished" and prunes and rise(u) > 0.04 and rng.random() < 0.6:
                    status = "beaten"
                loss = best * (1 + relative) if status == "finished" else None
                records.append(_record(len(records), width, 2.0**x, seed, status, loss))
    return records


def _record(number: int, width: int, rate: float, seed: int, status: str, loss: float | None) -> TrialRecord:
    return TrialRecord(
        trial=number,
        hidden_size=width,
        learning_rate=rate,
        seed=seed,
        status=status,  # type: ignore[arg-type]
        steps=1000,
        steps_done=1000,
        loss=loss,
    )


def score_surface(seed: int) -> list[tuple[str, str, str, float, float, bool, str]]:
    """(law, curve, place, error in octaves, width of the interval in octaves, held the optimum, form)."""
    surface = draw_surface(seed)
    rule = fit_law(surface.records).rule
    rows = []
    between = [math.sqrt(a * b) for a, b in zip(surface.widths, surface.widths[1:], strict=False)]
    asked = [("measured", w) for w in surface.widths] + [("between", w) for w in between]
    for place, width in [*asked, ("2x", 2 * surface.widths[-1]), ("4x", 4 * surface.widths[-1])]:
        truth = surface.optimum(width)
        found = recommend(width, rule=rule)
        low, middle, high = (math.log2(v) for v in (found.low, found.learning_rate, found.high))
        held = low <= truth <= high and (place in ("2x", "4x") or high - low <= 1.0)
        rows.append((surface.law, surface.curve, place, middle - truth, high - low, held, rule.form))
    return rows


def synthetic(draws: int, first: int, jobs: int) -> None:
    """Score so many surfaces and print the tables."""
    start = time.perf_counter()
    with ProcessPoolExecutor(jobs) as pool:
        rows = [row for part in pool.map(score_surface, range(first, first + draws), chunksize=4) for row in part]
    used = os.times()
    print(
        f"{draws} surfaces in {time.perf_counter() - start:.0f} s on {jobs} processes "
        f"({used.children_user + used.children_system:.0f} s of processor time)\n"
    )
    for title, key in (("all", None), ("law", 0), ("curve", 1), ("form chosen", 6)):
        groups: dict[str, list] = defaultdict(list)
        for row in rows:
            groups["all" if key is None else row[key]].append(row)
        print(f"| {title} | " + " | ".join(f"{p}: coverage | width | error" for p in PLACES) + " |")
        print("|---" * (1 + 3 * len(PLACES)) + "|")
        for name, group in sorted(groups.items()):
            cells = []
            for place in PLACES:
                here = [row for row in group if row[2] == place]
                errors = np.abs([row[3] for row in here])
                cells.append(f"{np.mean([row[5] for row in here]):.1%} | {np.median([row[4] for row in here]):.2f} | ")
                cells[-1] += f"{np.median(errors):.3f}"
            print(f"| {name} | " + " | ".join(cells) + " |")
        print()


def time_fit(count: int) -> None:
    """Processor time of one fit, intervals included, to so many records of ten widths."""
    rng = np.random.default_rng(0)
    widths = [48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    records = []
    for number in range(count):
        width, x = int(rng.choice(widths)), rng.uniform(-3.5, 3.5)
        status = "diverged" if x > 2.5 else "beaten" if abs(x) > 1 and rng.random() < 0.2 else "finished"
        loss = 3 * (1 + 0.02 * x * x * (1.5 if x > 0 else 1) + rng.normal(0, 0.005)) if status == "finished" else None
        records.append(_record(number, width, 2.0**x * 0.3 / width, int(rng.integers(5)), status, loss))
    start = time.process_time()
    fit_law(records)
    print(f"a fit to {count} records of {len(widths)} widths: {time.process_time() - start:.1f} s of processor time")


def left_out(path: str, columns: Columns) -> None:
    """Leave out each cell of a table in turn and score its prediction from the others."""
    imported = read_sources([path], columns)
    print("\n".join(imported.summary), "\n")
    names = imported.scales
    cells: dict[tuple[float, ...], list[TrialRecord]] = defaultdict(list)
    for record in imported.records:
        cells[tuple(record.scale(name) or 0.0 for name in names)].append(record)
    print("| left out | best | predicted | interval | error | regret | answered | right | form |")
    print("|---|---|---|---|---|---|---|---|---|")
    interior, edges = [], []
    for key, own in sorted(cells.items()):
        if len({record.learning_rate for record in own}) < 2:
            continue  # one rate has no best
        rest = [record for record in imported.records if record not in own]
        truth, side = _best(own)
        try:
            rule = fit_law(rest, scales=names).rule
            found = recommend(rule=rule, **dict(zip(names, key, strict=True)))
        except LrtuneError as error:
            print(f"| {key} | – | – | {error} | | | | | |")
            continue
        error = math.log2(found.learning_rate) - truth
        if side is None:
            right = found.low <= 2**truth <= found.high
            interior.append((abs(error), _regret(own, math.log2(found.learning_rate)), found.supported, right))
        else:
            right = found.high >= 2**truth if side == "above" else found.low <= 2**truth
            edges.append(right)
        regret = "" if side else f"{interior[-1][1]:.2%}"
        best = f"{2**truth:.3g}" if side is None else f"{side} {2**truth:.3g}"
        where = ", ".join(f"{value:g}" for value in key)
        interval = f"{found.low:.3g} … {found.high:.3g}"
        print(
            f"| {where} | {best} | {found.learning_rate:.3g} | {interval} | {error:+.2f} | {regret} | "
            f"{'yes' if found.supported else 'no'} | {'yes' if right else 'no'} | {rule.form} |"
        )
    if interior:
        error, regret, answered, right = (np.array(column, float) for column in zip(*interior, strict=True))
        print(
            f"\ninterior cells: {len(interior)}, median error {np.median(error):.2f} octave, median regret "
            f"{np.median(regret):.2%}, answered {answered.mean():.0%}, interval right {right.mean():.0%}"
        )
    if edges:
        print(f"cells at an edge: {len(edges)}, bound respected {np.mean(edges):.0%}")


def _best(own: list[TrialRecord]) -> tuple[float, str | None]:
    """log2 of the best rate: a parabola through the best three; where the best is at an edge, a bound.

    A best at the edge shows that the optimum lies beyond the middle between it and its neighbour, no more.
    """
    x, y = _means(own)
    i = int(np.argmin(y))
    if i in (0, len(x) - 1):
        return float((x[i] + x[abs(i - 1)]) / 2), "above" if i else "below"
    a, b, _ = np.polyfit(x[i - 1 : i + 2] - x[i], y[i - 1 : i + 2], 2)
    return float(x[i] - b / (2 * a)), None


def _means(own: list[TrialRecord]) -> tuple[np.ndarray, np.ndarray]:
    by_rate: dict[float, list[float]] = defaultdict(list)
    for record in own:
        by_rate[math.log2(record.learning_rate)].append(math.inf if record.status != "finished" else record.loss or 0.0)
    x = np.array(sorted(by_rate))
    return x, np.array([np.mean(by_rate[value]) for value in x])


def _regret(own: list[TrialRecord], at: float) -> float:
    """Relative loss above the best at a rate, straight between the sampled ones."""
    x, y = _means(own)
    finite = np.isfinite(y)
    return float((np.interp(at, x[finite], y[finite]) - y.min()) / abs(y.min()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="seed of the first surface")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--time-records", type=int, help="time one fit to so many records instead")
    parser.add_argument("--lr", default="lr")
    parser.add_argument("--loss", default="loss")
    parser.add_argument("--scale", action="append", default=[], metavar="NAME=COLUMN")
    parser.add_argument("--minimize-over", action="append", default=[])
    parser.add_argument("--maximize", action="store_true")
    parser.add_argument("--failed-when")
    given = parser.parse_args()
    if given.time_records:
        time_fit(given.time_records)
    elif not given.tables:
        synthetic(given.draws, given.first, given.jobs)
    columns = Columns(
        learning_rate=given.lr,
        loss=given.loss,
        scales=dict(text.split("=", 1) for text in given.scale),
        minimize_over=tuple(given.minimize_over),
        maximize=given.maximize,
        failed_when=given.failed_when,
    )
    for table in given.tables:
        left_out(table, columns)


if __name__ == "__main__":
    main()
