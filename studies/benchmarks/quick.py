"""The built-in search, whole: its time, whether each width's answer is supported, and what it costs.

    python studies/benchmarks/quick.py --out runs/quick-bench
    python studies/benchmarks/quick.py --out runs/quick-long --seeds 0,1 -- --budget 1h        other flags of the search
    python studies/benchmarks/quick.py --replays 24 --tolerance 0.005 --range 0.003,0.3      on the dense sweeps

``LRTUNE_CPU=avx2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2`` lets a newer processor stand in for one with AVX2
alone. On a machine with other work, read the processor seconds, and give a budget that other work cannot use up. Regret
is against `studies/quick/dense.jsonl`, of seeds that no search uses.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from lrtune.cli.settings import quick_study
from lrtune.compare.check import check_rule
from lrtune.records.jsonl import read_records
from lrtune.records.replay import replay_records
from lrtune.rule import load_rule
from lrtune.search.run import run_search
from lrtune.study.study import Budget

DENSE = Path(__file__).resolve().parents[1] / "quick" / "dense.jsonl"
STEP = {48: 0.0210, 64: 0.0259, 96: 0.0408, 128: 0.0613}  # seconds, one thread of an AMD EPYC (AVX-512 VNNI)


def searched(out: Path, flags: list[str]) -> tuple[float, float]:
    """Run a search; returns its seconds on the clock, and those of the processor, its workers' among them."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "lrtune", "search", "--quiet", "--out", str(out), *flags], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, used


def replayed(seeds: int, tolerance: float, low: float, high: float) -> None:
    """Searches by one worker on the surfaces of the dense sweeps; prints their runs and what their answers cost."""
    surfaces = replay_records(read_records(DENSE).records).surfaces
    found, runs, supported = [], [], 0
    for seed in range(seeds):
        study = replace(quick_study(), seed=seed, lr_min=low, lr_max=high, budget=Budget(tolerance=tolerance))
        study = replace(study, trainer="lrtune.records.replay:train", options={"records": str(DENSE)})
        with tempfile.TemporaryDirectory() as out:
            done = run_search(study, Path(out), engine="inline", write_rule=False)
        assert done.rule is not None
        answers = {width: done.rule.recommend(width) for width in study.widths}
        found.append(max(surfaces[width].regret(answer.learning_rate) for width, answer in answers.items()))
        steps = {width: sum(r.steps_done for r in done.records if r.hidden_size == width) for width in study.widths}
        runs.append((len(done.records), sum(STEP[width] * count for width, count in steps.items()) / 2))
        supported += all(answer.supported for answer in answers.values())
    counts, times = zip(*runs, strict=True)
    print(f"{seeds} replays to {tolerance:.1%} from {low} to {high}, {supported} supported at every width:")
    print(f"{statistics.median(counts):.1f} runs, at most {max(counts)}")
    print(f"steps of {statistics.median(times):.0f} s on two cores, at most {max(times):.0f}")
    print(f"the worst width's answer costs {statistics.median(found):.2%}, at most {max(found):.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--out", type=Path, default=Path("runs/quick-bench"), help="a folder for the runs")
    parser.add_argument("flags", nargs="*", help="of lrtune search, after --")
    parser.add_argument("--replays", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=0.01, help="of replays")
    parser.add_argument("--range", default="0.003,0.3", help="of replays")
    given = parser.parse_args()
    if given.replays:
        replayed(given.replays, given.tolerance, *map(float, given.range.split(",")))
        return
    dense = read_records(DENSE).records
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
