"""How far does a law found at small sizes reach? Fitted to searches and sweeps up to 256, judged at up to 1,024.

    python studies/benchmarks/extrapolate.py
    python studies/benchmarks/extrapolate.py --largest 128 --draws 20

Fitted are the runs of lrtune's own search at hidden 32 to 256, the dense sweep of the same sizes, and sweeps with an
octave between rates whose noise is drawn, as large as the dense sweep shows it. The truth is what the sweep of the
size asked for says by itself (see `sweeps.py`), two seeds a rate.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence

import numpy as np
from surfaces import Problem
from sweeps import STUDIES, Truth, own_sweeps

from lrtune.law.fit import fit_law
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.records.replay import replay_records
from lrtune.records.surface import Surface
from lrtune.rule import recommend

SIZES = (128, 192, 256, 384, 512, 1024)


def smoothed() -> dict[int, Surface]:
    """The smoothed sweeps by width, 800 steps."""
    held = replay_records(read_records(STUDIES / "reference" / "held-out.jsonl").records, "width").surfaces
    short = replay_records(read_records(STUDIES / "pruning" / "records.jsonl").records, "adamw-two-stage").surfaces
    return dict(sorted({**held, **short}.items()))


def noisy_sweep(surfaces: dict[int, Surface], largest: int, seed: int) -> list[TrialRecord]:
    """A sweep of the smoothed surfaces up to a size, an octave between rates, their own noise drawn by seed."""
    problem = Problem(
        name="recorded",
        widths=tuple(w for w in surfaces if w <= largest),
        height=lambda w, x: math.inf if x >= surfaces[w].dead else float(surfaces[w].log_loss(x)) - surfaces[w].best_y,
        floor={w: s.best_y for w, s in surfaces.items()},
        shared=float(np.median([s.shared for s in surfaces.values()])),
        own=float(np.median([s.own for s in surfaces.values()])),
    )
    rng = np.random.default_rng(seed)
    records: list[TrialRecord] = []
    for width in problem.widths:
        start = surfaces[width].best_x - 2.5 + rng.uniform(-0.5, 0.5)
        for x in start + np.arange(6):
            loss = problem.final(width, 2.0**x, seed)
            lost = math.isnan(loss)
            records.append(
                TrialRecord(
                    trial=len(records),
                    hidden_size=width,
                    learning_rate=2.0**x,
                    seed=seed,
                    status="diverged" if lost else "finished",
                    steps=800,
                    steps_done=800,
                    loss=None if lost else loss,
                )
            )
    return records


def judged(records: Sequence[TrialRecord], truth: Mapping[int, Truth]) -> dict[int, tuple[float, ...]]:
    """By size: rate, low, high, octaves off, regret, whether the interval held, whether the answer was supported."""
    rule = fit_law(records).rule
    found: dict[int, tuple[float, ...]] = {}
    for width in SIZES:
        said, best = recommend(width, rule=rule), truth[width].best
        off = math.log2(said.learning_rate) - best
        held = said.low <= 2**best <= said.high
        regret = truth[width].curve.regret(math.log2(said.learning_rate))
        found[width] = (said.learning_rate, said.low, said.high, off, regret, held, said.supported)
    return found


def measured(truth: Truth) -> str:
    return f"{2**truth.best:.3g} ± {truth.error:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=256, help="size up to which runs are fitted")
    parser.add_argument("--draws", type=int, default=20, help="noisy sweeps to average over")
    given = parser.parse_args()
    surfaces = smoothed()
    dense = own_sweeps()[0]
    truth = {int(key[0]): found for key, found in dense.truths().items()}
    fitted = {
        "search-800.jsonl": read_records(STUDIES / "reference" / "search-800.jsonl").records,
        "dense sweep": list(dense.records),
    }
    print("| fitted to | runs | hidden | found | interval | measured | octaves off | regret | held | supported |")
    print("|---" * 10 + "|")
    for name, records in fitted.items():
        used = [r for r in records if r.hidden_size <= given.largest]
        for width, (rate, low, high, off, regret, held, supported) in judged(used, truth).items():
            cells = [name, str(len(used)), str(width), f"{rate:.3g}", f"{low:.3g} … {high:.3g}"]
            cells += [measured(truth[width]), f"{off:+.2f}", f"{regret:.2%}"]
            print("| " + " | ".join([*cells, "yes" if held else "no", "yes" if supported else "no"]) + " |")
    draws = [judged(noisy_sweep(surfaces, given.largest, seed), truth) for seed in range(given.draws)]
    for width in SIZES if draws else ():
        rates, lows, highs, offs, regrets, holds, supports = np.array([d[width] for d in draws]).T
        cells = [f"{len(draws)} noisy sweeps", "", str(width), f"{np.exp(np.log(rates).mean()):.3g}"]
        cells += [f"width {np.median(np.log2(highs / lows)):.2f}", measured(truth[width])]
        cells += [f"{offs.mean():+.2f}, sd {offs.std(ddof=1):.2f}", f"{regrets.mean():.2%}, most {regrets.max():.2%}"]
        print("| " + " | ".join([*cells, f"{holds.mean():.0%}", f"{supports.mean():.0%}"]) + " |")
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()
