"""The same question as `search.py`, asked of `lrtune search` itself: how much compute, and how good is its rule?

    python studies/benchmarks/public_entry.py studies/pruning/records.jsonl --arm adamw-two-stage --seeds 5

Each search replays recorded runs (`lrtune.records.replay`) over the declared range 1e-4 … 1, two workers, pruning on,
until it ends by itself: everything counts that a user would run. Cost is width² × steps trained, as a share of a √2
grid of 27 rates at every width; the rule that was written is held against the noise-free surface. Flags that are not
named here are handed on to `lrtune search`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from surfaces import GRID_RATES, HIGH, LOW

from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.records.replay import replay_records
from lrtune.rule import get_learning_rate, load_rule


def search(records: Path, arm: str, widths: list[int], seed: int, more: list[str], out: Path) -> str:
    """One search as a user starts it; the line on which it says why it ended."""
    command = [sys.executable, "-m", "lrtune", "search", "--trainer", "replay", "--steps", "800", "--workers", "2"]
    command += ["--widths", ",".join(map(str, widths)), "--lr-min", str(LOW), "--lr-max", str(HIGH)]
    command += ["--option", f"records={records.resolve()}", "--option", f"arm={arm}"]
    command += ["--seed", str(seed), "--out", str(out), *more]
    done = subprocess.run(command, cwd=out.parent, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return next((line for line in done.stderr.splitlines() if line.startswith("ended: ")), "")


def cost(records: list[TrialRecord], widths: list[int]) -> float:
    """Share of the grid."""
    spent = sum(r.hidden_size**2 * r.steps_done / r.steps for r in records)
    return float(spent / (GRID_RATES * sum(width**2 for width in widths)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--arm", default="")
    parser.add_argument("--seeds", type=int, default=5)
    args, more = parser.parse_known_args()  # the rest is for `lrtune search`
    surfaces = replay_records(read_records(args.records).records, args.arm or None).surfaces
    widths = sorted(surfaces)
    print(f"| seed | runs (cut) | share of the grid | regret of the rule at {', '.join(map(str, widths))} | worst |")
    print("|---|---|---|---|---|")
    shares, worsts = [], []
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            why = search(args.records, args.arm, widths, seed, more, out)
            records = read_records(out / "records.jsonl").records
            rule = load_rule(out / "rule.json")
        regrets = [surfaces[width].regret(get_learning_rate(width, rule=rule)) for width in widths]
        cut = sum(record.status != "finished" for record in records)
        shares.append(cost(records, widths))
        worsts.append(max(regrets))
        text = ", ".join(f"{regret:.2%}" for regret in regrets)
        print(f"| {seed} | {len(records)} ({cut}) | {shares[-1]:.3f} | {text} | {worsts[-1]:.2%} |", flush=True)
        print(f"{seed}: {why}", file=sys.stderr)
    print(f"| median | | {np.median(shares):.3f} | | {np.median(worsts):.2%} |")


if __name__ == "__main__":
    main()
