"""How far does the answer at twice the largest size move when nothing but the noise is another?

    python studies/benchmarks/redraw.py --draws 20                          # the recorded sweep, hidden 32 to 256
    python studies/benchmarks/redraw.py --fmnist fmnist_inr.csv             # and a table

The smoothed losses of a sweep at its own rates, with noise drawn as large as the sweep shows it. A 90% interval
around an answer promises that answers differ by about its width over 3.29 in sd: one that moves by more jumps.
"""

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from surfaces import Problem, recorded, table
from sweeps import STUDIES, Sweep, own_sweeps, public_sweeps

from lrtune.law.fit import fit_law
from lrtune.records.record import TrialRecord
from lrtune.rule import recommend

DEVIATIONS = 2 * 1.645  # sd in the width of a 90% interval
LARGEST = 256  # of the recorded sweep


def redrawn(sweep: Sweep, problem: Problem, seed: int) -> list[TrialRecord]:
    """The sweep's own runs, those that failed as they are, with losses of the smoothed surface and noise by seed."""
    records = []
    for record in sweep.records:
        run_seed = 1000 * (seed + 1) + record.seed
        loss = problem.final(record.hidden_size, record.learning_rate, run_seed)
        kept = record.status == "finished" and math.isfinite(loss)
        records.append(
            replace(record, curve={}, loss=loss if kept else None, status="finished" if kept else "diverged")
        )
    return records


def line(name: str, sweep: Sweep, problem: Problem, draws: int) -> str:
    """One row: the spread of the answers and the width of their printed intervals."""
    at = 2 * problem.widths[-1]
    answers, widths, supported = [], [], []
    for seed in range(draws):
        found = recommend(at, rule=fit_law(redrawn(sweep, problem, seed)).rule)
        answers.append(math.log2(found.learning_rate))
        widths.append(math.log2(found.high / found.low))
        supported.append(found.supported)
    moved, promised = float(np.std(answers, ddof=1)), float(np.median(widths)) / DEVIATIONS
    low, high = np.quantile(answers, [0.05, 0.95])
    cells = [name, f"{problem.own:.2%} a run, {problem.shared:.2%} a seed", str(draws), str(at)]
    cells += [f"{2 ** np.median(answers):.3g}", f"{moved:.2f}", f"{high - low:.2f}", f"{promised:.2f}"]
    cells += [f"{moved / promised:.2f}", f"{np.mean(supported):.0%}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--fmnist", type=Path, help="the table fmnist_inr.csv")
    given = parser.parse_args()
    print("| sweep | noise | draws | asked at | median answer | sd | 5% to 95% | sd promised | ratio | supported |")
    print("|---" * 10 + "|")
    whole = own_sweeps()[0]
    small = tuple(r for r in whole.records if r.hidden_size <= LARGEST and r.arm == "adamw-two-stage")
    problem = recorded(STUDIES / "pruning" / "records.jsonl", arm="adamw-two-stage")
    print(line("recorded, 32 to 256", replace(whole, records=small), problem, given.draws), flush=True)
    # One rate in two and one seed: what somebody with a quarter of the runs would have.
    rates = sorted({r.learning_rate for r in small})[::2]
    thin = tuple(r for r in small if r.seed == 0 and r.learning_rate in rates)
    print(line("a quarter of its runs", replace(whole, records=thin), problem, given.draws), flush=True)
    if given.fmnist:
        sweep = next(s for s in public_sweeps(given.fmnist.parent) if s.name == "fmnist")
        surface = table(given.fmnist, width="width", rate="lr", loss="psnr_db", maximize=True)
        print(line("fmnist", sweep, surface, given.draws), flush=True)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()
