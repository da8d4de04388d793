"""Records a fixed list of runs in full, population by population, until they are all there or the time is up.

What is shared by the studies that ask for whole curves (no pruning, no sampler). Runs are named by what they are, so a
second call resumes the first: give it the records that are there with --have. Needs numpy, torch
and this repository alone; no database, no tokenizer.
"""

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrtune.errors import InputError
from lrtune.records.jsonl import read_records, to_json
from lrtune.records.record import TrialRecord
from lrtune.trainer.trial import Facts, Interrupted, Report, Trial

_BYTES_A_PARAMETER = 28  # weights, gradient, two moments, and what the forward pass keeps of them
_DIGITS = 5
_START = 10.0  # seconds until a fresh process trains


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run to record.

    Attributes:
        tokens: a prepared token folder. options: all else that the trainer is given.
        base: the options of its study; the record names the ones in which the run departs from them.
        knobs: values of other quantities that a search would choose.
    """

    arm: str
    hidden_size: int
    learning_rate: float
    seed: int
    steps: int
    report_every: int
    tokens: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, float] = field(default_factory=dict)

    @property
    def departures(self) -> dict[str, Any]:
        """The options in which the run departs from its study, with the name of its token folder."""
        own = {name: value for name, value in self.options.items() if self.base.get(name) != value}
        return {**own, "tokens": self.tokens.name}


def key_of(run: Run | TrialRecord) -> str:
    """What a run is, as text, the same for its record."""
    options = run.departures if isinstance(run, Run) else run.options
    parts = (run.arm, run.hidden_size, f"{run.learning_rate:.6g}", run.seed, run.steps, sorted(options.items()))
    return json.dumps((*parts, sorted(run.knobs.items())) if run.knobs else parts)


@dataclass(frozen=True)
class Cost:
    """What a group of runs of one shape is expected to take on a large GPU."""

    flops: float
    seconds: float
    memory: float


def cost(runs: Sequence[Run], *, step_floor: float = 0.004) -> Cost:
    """FLOPs, seconds and bytes of one population: launch-bound, or bound by arithmetic or by memory traffic."""
    run = runs[0]
    d, vocabulary = run.hidden_size, _vocabulary(run.tokens)
    ffn = run.options.get("ffn_size") or 4 * d
    layers = run.options.get("depth", 4) * (4 * d * d + 2 * d * ffn)
    batch = run.options.get("batch", 16) * run.options.get("context", 64)
    flops = 6.0 * (layers + vocabulary * d) * batch * len(runs)
    kept = 12.0 * batch * vocabulary + 1000.0 * batch * d
    memory = len(runs) * (_BYTES_A_PARAMETER * (layers + 2 * vocabulary * d) + kept)
    seconds = max(step_floor, flops / 6e13 + memory / 1.5e12)
    return Cost(flops * run.steps, seconds * run.steps * 1.1, memory)


def _vocabulary(tokens: Path) -> int:
    """From the folder where it is there, else from its name (``stdlib-1024``), so that a plan needs no data."""
    try:
        return int(json.loads((tokens / "meta.json").read_text())["vocabulary_size"])
    except (OSError, ValueError, KeyError):
        tail = tokens.name.rpartition("-")[2]
        return int(tail) if tail.isdigit() else 1024


def groups(runs: Iterable[Run], *, members: int, memory: float, mixed: bool) -> list[list[Run]]:
    """Runs of one shape and length together, at most `members` and `memory` bytes a group, in order of first need."""
    from bitnet.settings.options import PER_MEMBER

    found: dict[str, list[list[Run]]] = {}
    order: list[list[Run]] = []
    for run in runs:
        shape = {name: value for name, value in run.options.items() if not (mixed and name in PER_MEMBER)}
        seed = None if mixed else run.seed
        key = json.dumps([run.hidden_size, run.steps, run.report_every, str(run.tokens), seed, sorted(shape.items())])
        parts = found.setdefault(key, [])
        most = max(1, min(members, int(memory / cost([run]).memory)))
        if not parts or len(parts[-1]) >= most:
            parts.append([])
            order.append(parts[-1])
        parts[-1].append(run)
    return order


class _Log:
    """Collects what one trial reports; asks to stop only where the loss is no number or the time is up."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.reports: dict[int, Report] = {}
        self.facts = Facts()
        self.texts: dict[str, str] = {}

    def report(self, report: Report) -> bool:
        if time.time() > self.deadline:
            raise Interrupted
        self.reports[report.step] = report
        return math.isfinite(report.loss)

    def describe(self, facts: Facts) -> None:
        self.facts = facts

    def attach(self, name: str, text: str) -> None:
        self.texts[name] = text


def record_group(runs: Sequence[Run], numbers: Sequence[int], device: str, threads: int, deadline: float) -> list[str]:
    """Train one population to its end; its records as lines, or nothing where the deadline came first."""
    import torch

    from bitnet.train import train_population

    logs = [_Log(deadline) for _ in runs]
    trials = [
        Trial(
            hidden_size=run.hidden_size,
            learning_rate=run.learning_rate,
            steps=run.steps,
            report_every=run.report_every,
            seed=run.seed,
            knobs=run.knobs,
            options={**run.options, "tokens": str(run.tokens)},
            device=device,
            threads=threads,
            on_report=log.report,
            on_describe=log.describe,
            on_attach=log.attach,
        )
        for run, log in zip(runs, logs, strict=True)
    ]
    start = time.time()
    try:
        train_population(trials)
    except Interrupted:
        return []
    finally:
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    seconds = (time.time() - start) / len(runs)
    rows = zip(runs, numbers, logs, strict=True)
    return [to_json(_record(run, number, log, seconds, device, len(runs))) for run, number, log in rows]


def _record(run: Run, number: int, log: _Log, seconds: float, device: str, members: int) -> TrialRecord:
    reports = [log.reports[step] for step in sorted(log.reports)]
    names = dict.fromkeys(name for report in reports for name in report.numbers)
    curve: dict[str, list[float | None]] = {
        "step": [report.step for report in reports],
        "loss": [_short(report.loss) for report in reports],
        "diversity": [_short(report.diversity) for report in reports],
    }
    curve |= {name: [_short(report.numbers.get(name)) for report in reports] for name in names}
    done = reports[-1].step if reports else 0
    loss = _short(reports[-1].loss) if reports else None
    finished = done == run.steps and loss is not None
    return TrialRecord(
        trial=number,
        hidden_size=run.hidden_size,
        learning_rate=run.learning_rate,
        seed=run.seed,
        knobs=run.knobs,
        status="finished" if finished else "diverged",
        why="" if finished else f"loss is not finite at step {done}",
        steps=run.steps,
        steps_done=done,
        loss=loss,
        diversity=curve["diversity"][-1] if reports else None,
        tokens=run.steps * log.facts.tokens_per_step if log.facts.tokens_per_step else None,
        curve=curve,
        facts=log.facts,
        arm=run.arm,
        options=run.departures,
        plan={**log.facts.plan, "members": members},
        texts=log.texts,
        seconds=round(seconds, 2),
        device=device,
    )


def _short(value: float | None) -> float | None:
    """The value with as many digits as a loss is known to."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")


def arguments(description: str) -> argparse.ArgumentParser:
    """The flags that every recording script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tokens", type=Path, required=True, help="folder that holds the token folders, stdlib-1024 …")
    parser.add_argument("--out", type=Path, required=True, help="folder for records.jsonl: the new records alone")
    parser.add_argument("--have", type=Path, action="append", default=[], help="records that need not be made again")
    parser.add_argument("--seconds", type=float, default=math.inf, help="wall time to stop at")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--jobs", type=int, default=1, help="populations trained side by side, each in a process")
    parser.add_argument("--members", type=int, default=64, help="runs in one population, at most")
    parser.add_argument("--memory", type=float, default=60e9, help="bytes that all populations together may take")
    parser.add_argument("--uniform", action="store_true", help="one seed and one set of options per population")
    parser.add_argument("--tiny", action="store_true", help="a few small runs of every kind, to try the script")
    parser.add_argument("--dry-run", action="store_true", help="print what would be run and its cost, and stop")
    return parser


def tiny(runs: Sequence[Run]) -> list[Run]:
    """One short run of a small model for each arm and batch."""
    first = {(run.arm, run.options.get("batch")): run for run in runs[::-1]}
    small = {"context": 32, "depth": 1}
    return [
        replace(run, steps=20, report_every=5, hidden_size=32, options={**run.options, **small})
        for run in first.values()
    ]


def main(runs: Sequence[Run], flags: argparse.Namespace) -> int:
    """Record what is missing of `runs`, the most important first; returns how many records are still missing."""
    runs = tiny(runs) if flags.tiny else runs
    numbers = {key_of(run): number for number, run in enumerate(runs)}
    if len(numbers) < len(runs):
        raise InputError("runs: expected each run once")
    have = {key_of(record) for path in flags.have if path.exists() for record in read_records(path).records}
    todo = [run for run in runs if key_of(run) not in have]
    plan = groups(todo, members=flags.members, memory=flags.memory / flags.jobs, mixed=not flags.uniform)
    print(f"{len(runs)} runs, {len(runs) - len(todo)} there, {len(todo)} to do in {len(plan)} populations")
    print(*_table(plan, flags.jobs), sep="\n")
    if flags.dry_run:
        return len(todo)
    flags.out.mkdir(parents=True, exist_ok=True)
    made = 0
    with (flags.out / "records.jsonl").open("a", encoding="utf-8") as file:
        for lines in _lines(plan, numbers, flags):
            file.writelines(line + "\n" for line in lines)
            file.flush()
            made += len(lines)
    print(f"{made} records made, {len(todo) - made} still missing", flush=True)
    return len(todo) - made


def _table(plan: Sequence[Sequence[Run]], jobs: int) -> Iterator[str]:
    total = [cost(runs) for runs in plan]
    for runs, one in zip(plan, total, strict=True):
        arms = ", ".join(dict.fromkeys(run.arm for run in runs))
        yield (
            f"  {len(runs):3d} × hidden {runs[0].hidden_size:4d}, {runs[0].steps:5d} steps: "
            f"{one.flops:8.1e} FLOPs, {one.memory / 1e9:5.1f} GB, about {one.seconds:4.0f} s  {arms[:70]}"
        )
    seconds = sum(one.seconds for one in total) / jobs
    yield f"  in all {sum(one.flops for one in total):.1e} FLOPs, about {seconds:.0f} s on an H100 with {jobs} jobs"


def _lines(plan: Sequence[list[Run]], numbers: Mapping[str, int], flags: argparse.Namespace) -> Iterator[list[str]]:
    """The records of each population as it ends. Starts none that, by the pace so far, would not end in time."""
    start = time.time()
    deadline = start + flags.seconds
    threads = max(1, (multiprocessing.cpu_count() if flags.jobs > 1 else 1) // flags.jobs)
    queue, pace, failures = list(plan), 0.0, 0
    running: dict[Future[list[str]], tuple[list[Run], float]] = {}
    with ProcessPoolExecutor(flags.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        while queue or running:
            fits = [runs for runs in queue if time.time() + _START + pace * cost(runs).seconds < deadline]
            while fits and len(running) < flags.jobs:
                runs = fits.pop(0)
                queue.remove(runs)
                order = [numbers[key_of(run)] for run in runs]
                running[pool.submit(record_group, runs, order, flags.device, threads, deadline)] = (runs, time.time())
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                runs, since = running.pop(future)
                took = time.time() - since
                name = f"{len(runs)} × hidden {runs[0].hidden_size}, {runs[0].arm} …, {runs[0].steps} steps"
                if (error := future.exception()) is not None:
                    print(f"failed: {name}: {type(error).__name__}: {error}", flush=True)
                    failures += 1
                    if "OutOfMemory" in type(error).__name__ and len(runs) > 1:
                        queue[:0] = [runs[: len(runs) // 2], runs[len(runs) // 2 :]]
                    elif failures > 1 and not pace:
                        # Nothing has worked so far: the machine's time is worth more than further tries.
                        return
                    continue
                lines = future.result()
                pace = max(0.5 * pace, max(1e-9, took - _START) / cost(runs).seconds) if lines else pace
                print(f"{time.time() - start:6.0f} s: {name}: {took:.1f} s, {len(lines)} records", flush=True)
                yield lines
