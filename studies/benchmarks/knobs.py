"""Is the law of two knobs right, and does it know when it is not?

    python studies/benchmarks/knobs.py --draws 40                    # synthetic surfaces
    python studies/benchmarks/knobs.py --records studies/muon/records.jsonl --knob adam_lr

A surface has a curve along each knob (those of `drawn.py`), an optimum that moves by a power of the width along each,
and a coupling κ·s(u)·s(v) with s(u) = 2 tanh(u / 2), in units of the geometric mean of both heights an octave off. The
second knob is a ratio to the first. Runs are placed at random, or along one knob at a time through a point up to an
octave off the best. *Ended early* is at random too; runs beyond an edge of either knob diverge, and of those that lose
more than 4% six in ten are beaten. *Alone* is the fit that takes the second knob's effect for noise.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from drawn import CURVES, draw_curve, make_record

from lrtune.law.fit import fit_law
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule import recommend
from lrtune.rule.knob import Coordinate

RATIO = {"second": Coordinate(times="learning_rate")}
RUNS = 14  # a width
DESIGNS = ("random", "one by one", "ended early")
REACH = 2.5  # octaves to either side that the runs span
NOISE = 0.003


@dataclass(frozen=True)
class Surface:
    """A truth over two knobs: log2 of both optima by width, the relative rise off them, and runs."""

    optima: dict[int, tuple[float, float]]
    rise: Callable[[float, float], float]
    records: list[TrialRecord]


def draw(seed: int, coupling: float, design: str) -> Surface:
    """One surface with its runs; draws of one seed differ in nothing but the coupling and the design."""
    rng = np.random.default_rng([seed, 77])
    widths = [32, 64, 128, 256][: int(rng.integers(3, 5))]
    first, second = (draw_curve(rng, CURVES[int(rng.integers(len(CURVES)))]) for _ in range(2))
    heights = [(curve(1.0) + curve(-1.0)) / 2 for curve in (first, second)]
    kappa = coupling * float(rng.choice([-1, 1])) * math.sqrt(heights[0] * heights[1])
    levels = math.log2(10 ** rng.uniform(-3, -1.2)), rng.uniform(-3, 1)
    slopes = rng.uniform(-1.5, 0.5), rng.uniform(-0.6, 0.6)

    def rise(u: float, v: float) -> float:
        return first(u) + second(v) + kappa * 4 * math.tanh(u / 2) * math.tanh(v / 2)

    edges = np.random.default_rng([seed, 78]).uniform(1.3, 3.0, 2)
    optima: dict[int, tuple[float, float]] = {}
    records: list[TrialRecord] = []
    for width in widths:
        z = math.log2(width / widths[0])
        best = levels[0] + slopes[0] * z, levels[1] + slopes[1] * z
        centre = best[0] + rng.uniform(-1, 1), best[1] + rng.uniform(-1, 1)
        optima[width] = best
        random = rng.uniform(-REACH, REACH, size=(RUNS, 2))
        line = np.linspace(-REACH, REACH, RUNS // 2)
        one_by_one = np.concatenate([np.stack([line, 0 * line], 1), np.stack([0 * line, line], 1)])
        for du, dv in one_by_one if design == "one by one" else random:
            x, r = centre[0] + du, centre[1] + dv
            off = x - best[0], r - best[1]
            y, status = rise(*off) + rng.normal(0, NOISE), "finished"
            if design == "ended early":
                status = "beaten" if y > 0.04 and rng.random() < 0.6 else status
                status = "diverged" if off[0] > edges[0] or off[1] > edges[1] else status
            loss = 3 * math.exp(y) if status == "finished" else None
            run = make_record(len(records), width, 2.0**x, 0, status, loss)
            records.append(replace(run, knobs={"second": 2.0 ** (x + r)}))
    return Surface(optima, rise, records)


def row(coupling: float, design: str, draws: int) -> str:
    """Errors, coverage and regret over the widths of all draws."""
    errors: list[list[float]] = [[], []]
    held: list[list[bool]] = [[], []]
    alone, said, true, supported = [], [], [], []
    start = time.process_time()
    for seed in range(draws):
        surface = draw(seed, coupling, design)
        rule, plain = fit_law(surface.records, knobs=RATIO).rule, fit_law(surface.records).rule
        for width, best in surface.optima.items():
            found = recommend(width, rule=rule)
            one = found.knobs["second"]
            rate = found.learning_rate
            told = (rate, found.low, found.high), tuple(v / rate for v in (one.value, one.low, one.high))
            off = [math.log2(told[k][0]) - best[k] for k in range(2)]
            for k in range(2):
                errors[k].append(abs(off[k]))
                held[k].append(told[k][1] <= 2.0 ** best[k] <= told[k][2])
            alone.append(abs(math.log2(recommend(width, rule=plain).learning_rate) - best[0]))
            said.append(found.regret or 0.0)
            true.append(max(surface.rise(*off), 0.0))
            supported.append(found.supported)
    seconds = (time.process_time() - start) / draws
    cells = [f"{coupling:g}", design, str(draws), *(f"{np.median(e):.2f}" for e in errors), f"{np.median(alone):.2f}"]
    cells += [*(f"{np.mean(h):.0%}" for h in held), f"{np.mean(said):.2%}", f"{np.mean(true):.2%}"]
    sure = np.array(supported)
    cells += [f"{np.mean(sure):.0%}", f"{np.mean(np.array(true)[sure]):.2%}", f"{seconds:.1f}"]
    return "| " + " | ".join(cells) + " |"


def fitted(path: Path, name: str, coordinate: Coordinate) -> str:
    """The laws of recorded runs with a second rate, as it is or as a ratio."""
    records = [r for r in read_records(path).records if name in r.knobs]
    found = fit_law(records, knobs={name: coordinate})
    lines = [found.rule.reason, found.rule.knobs[name].rule.reason]
    for cell in found.cells:
        told = recommend(rule=found.rule, **cell.scales)
        one = told.knobs[name]
        place = ", ".join(f"{scale} {value:g}" for scale, value in cell.scales.items())
        lines.append(f"{place}: {told.learning_rate:.3g} ({told.low:.3g} … {told.high:.3g}), {name} {one.value:.3g} ")
        lines[-1] += f"({one.low:.3g} … {one.high:.3g}), may cost {told.regret:.2%}"
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--design", choices=DESIGNS, action="append", help="of the runs; default: each")
    parser.add_argument("--records", type=Path, help="fit these runs instead")
    parser.add_argument("--knob", default="adam_lr", help="their second knob")
    given = parser.parse_args()
    if given.records:
        for coordinate in (Coordinate(), RATIO["second"]):
            print(fitted(given.records, given.knob, coordinate) + "\n")
        return
    head = ["coupling", "design", "draws", "error, first", "second", "first alone", "held, first", "second"]
    head += ["said", "true", "supported", "true there", "s a draw"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for design in given.design or DESIGNS:
        for coupling in (0.0, 0.6):
            print(row(coupling, design, given.draws), flush=True)


if __name__ == "__main__":
    main()
