"""The built-in search, whole: its time, whether each width's answer is supported, and what it costs.

    python studies/benchmarks/quick.py --out runs/quick-bench
    python studies/benchmarks/quick.py --out runs/quick-long --seeds 0,1 -- --budget 1h        other flags of the search

``LRTUNE_CPU=avx2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2`` lets a newer processor stand in for one with AVX2
alone. On a machine with other work, read the processor seconds, and give a budget that other work cannot use up. Regret
is against `studies/quick/dense.jsonl`, of seeds that no search uses.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from lrtune.compare.check import check_rule
from lrtune.records.jsonl import read_records
from lrtune.rule import load_rule

ROOT = Path(__file__).resolve().parents[2]


def searched(out: Path, flags: list[str]) -> tuple[float, float]:
    """Run a search; returns its seconds on the clock, and those of the processor, its workers' among them."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "lrtune", "search", "--quiet", "--out", str(out), *flags], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("flags", nargs="*", help="of lrtune search, after --")
    given = parser.parse_args()
    dense = read_records(ROOT / "studies" / "quick" / "dense.jsonl").records
    print("| seed | runs | clock, s | processor, s | a core, s | load | supported | regret at each width |")
    print("|---|---|---|---|---|---|---|---|")
    for seed in given.seeds.split(","):
        out = given.out / seed
        clock, used = searched(out, ["--seed", seed, *given.flags])
        runs = len(read_records(out / "records.jsonl").records)
        rows = check_rule(load_rule(out), dense).rows
        supported = f"{sum(row.supported for row in rows)} of {len(rows)}"
        regrets = ", ".join(f"{row.regret:.2%}" for row in rows)
        each, load = used / len(os.sched_getaffinity(0)), os.getloadavg()[0]
        print(
            f"| {seed} | {runs} | {clock:.0f} | {used:.0f} | {each:.0f} | {load:.0f} | {supported} | {regrets} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
