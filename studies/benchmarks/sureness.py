"""Is a search as right as it says? Replays searches, until each ends by itself; what it said against what is true.

    python studies/benchmarks/sureness.py dense synthetic recorded --searches 20
    python studies/benchmarks/sureness.py --shapes kinked,cliff,drifting
    python studies/benchmarks/sureness.py sweep.csv --width width --rate lr --loss loss [--maximize]

Two runs at a time, cut by lrtune's pruner as in a search, ended by its rule's word that the worst regret of all
widths is under the study's tolerance with 90% confidence; then the true regret of what it found. "Dense" is the quick
study's own sweep, "recorded" the four widths of `studies/pruning`, another path records or a table; synthetic surfaces
are those of `search.py` with the quick study's widths and noise.
"""

import argparse
import contextlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from surfaces import HIGH, LOW, SHAPES, Problem, recorded, synthetic, table
from sweeps import STUDIES

from lrtune.cli.settings import quick_study
from lrtune.errors import LrtuneError
from lrtune.law.fit import fit_run
from lrtune.records.record import TrialRecord
from lrtune.rule import get_learning_rate
from lrtune.search.adaptive import AdaptiveDesign
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import verdict
from lrtune.search.sampling.assessment import Assessment
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.trainer.trial import Facts

Final = Callable[[int, float, int], float]  # width, rate, seed → final loss
BOUND = 0.01
MOST = 22.5  # runs a width
_START, _PACE = 6.95, 0.25  # loss at the start of a course, and the share of the steps in which it falls by a factor e


def search(study: Study, final: Final, *, at_once: int = 2) -> tuple[list[TrialRecord], Assessment]:
    """One search on a surface: its records, and what it knows at the end."""
    design = AdaptiveDesign(study)
    records: list[TrialRecord] = []
    running: list[tuple[float, TrialRecord, Task]] = []
    now = 0.0
    while len(records) < MOST * len(study.widths):
        tasks = design.propose(records, [task for _, _, task in running], at_once)
        if design.verdict(records, []) is not None:
            break
        for task in tasks:
            record = _run(study, task, final, records)
            running.append((now + record.steps_done * _seconds(task.hidden_size), record, task))
        running.sort(key=lambda run: run[0])
        now, record, _ = running.pop(0)
        records.append(replace(record, trial=len(records)))
    known = design.assessment
    assert known is not None
    return records, known


def _seconds(width: int) -> float:
    """How long a run takes at a width, in any unit, as measured at 48 to 128."""
    return width**1.05


def _run(study: Study, task: Task, final: Final, records: list[TrialRecord]) -> TrialRecord:
    """A run whose course falls to its final loss, cut where the pruner says so."""
    end = final(task.hidden_size, task.learning_rate, task.seed)
    peers = [Curve.from_record(r) for r in records if r.hidden_size == task.hidden_size and r.status == "finished"]
    steps = list(range(0, study.steps + 1, study.report_every))
    course = [end + (_START - end) * _left(step / study.steps) for step in steps]
    record = TrialRecord(
        trial=-1,
        hidden_size=task.hidden_size,
        learning_rate=task.learning_rate,
        seed=task.seed,
        scales=task.scales,
        status="finished",
        steps=study.steps,
        steps_done=study.steps,
        loss=end,
        curve={"step": steps, "loss": course},
        facts=Facts(unigram_entropy=6.0),
    )
    for reports in range(2, len(steps)):
        part: dict[str, list[Any]] = {"step": steps[:reports], "loss": course[:reports]}
        so_far = replace(record, curve=part, steps_done=steps[reports - 1], loss=course[reports - 1])
        said = verdict(Curve.from_record(so_far), study.pruning, peers)
        if said.is_cut:
            return replace(so_far, status=said.kind)  # type: ignore[arg-type]
    return record


def _left(share: float) -> float:
    """The part of the descent that is still ahead after a share of the steps."""
    return math.exp(-share / _PACE) - share * math.exp(-1 / _PACE)


@dataclass(frozen=True, kw_only=True)
class Named:
    """A surface by its name: a kind of synthetic ones, a file of records, or a table with its columns."""

    name: str
    noise: float = 0.0
    path: Path | None = None
    columns: tuple[tuple[str, object], ...] = ()
    tolerance: float = quick_study().budget.tolerance

    def draw(self, seed: int) -> tuple[Study, Problem]:
        """The study and the surface of one search."""
        budget = replace(quick_study().budget, tolerance=self.tolerance)
        quick = replace(quick_study(), budget=budget, seed=1000 * seed)  # no two searches share a run's noise
        if self.path is None:
            shape = SHAPES[seed % len(SHAPES)] if self.name == "synthetic" else self.name
            problem = synthetic(shape, -1.5, quick.widths, seed)
            return quick, replace(problem, own=self.noise, shared=0.0)
        problem = _read(self.path, self.columns)
        if problem.widths == quick.widths:
            return quick, problem
        return replace(quick, widths=problem.widths, lr_min=LOW, lr_max=HIGH), problem


@cache
def _read(path: Path, columns: tuple[tuple[str, object], ...]) -> Problem:
    return recorded(path) if path.suffix == ".jsonl" else table(path, **dict(columns))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one search ended: the worst true regret of its advice and of its rule (NaN: not fitted), what it said, and
    the bound of its model, which may be lower than what it said."""

    surface: str
    seed: int
    worst: float
    by_rule: float
    said: float
    model: float
    wanted: float
    enough: bool
    runs: int
    cut: int
    cost: float

    def __str__(self) -> str:
        rule = f" rule={self.by_rule:.3%}" if math.isfinite(self.by_rule) else ""
        judged = f"said={self.said:.3%} model={self.model:.3%} wanted={self.wanted:.3%} true={self.worst:.3%}{rule}"
        ended = f"cut={self.cut} cost={self.cost:.1f} enough={'yes' if self.enough else 'no'}"
        return f"{self.surface} seed={self.seed}: {judged} runs={self.runs} {ended}"


def one(task: tuple[Named, int, bool]) -> Ended:
    """One search, judged."""
    surface, seed, rule = task
    study, problem = surface.draw(seed)
    records, known = search(study, problem.final)
    by_rule = math.nan
    if rule:
        with contextlib.suppress(LrtuneError):
            fitted = fit_run(records).rule
            by_rule = max(problem.regret(w, get_learning_rate(w, rule=fitted)) for w in study.widths)
    cost = sum(_seconds(r.hidden_size) * r.steps_done / r.steps for r in records)
    return Ended(
        surface=surface.name,
        seed=seed,
        worst=max(problem.regret(k.hidden_size, k.learning_rate) for k in known.known),
        by_rule=by_rule,
        said=known.bound,
        model=known.regret_90,
        wanted=study.budget.tolerance,
        enough=known.enough,
        runs=len(records),
        cut=sum(r.status != "finished" for r in records),
        cost=cost / sum(map(_seconds, study.widths)),
    )


HEAD = (
    "| surface | searches | over what was said | over 1% | over its model's bound | true: median, 90% quantile, most "
    "| model's bound, median | ended by itself | runs (most) | cost in runs a width | rule over 1% |"
)


def row(name: str, ended: Sequence[Ended]) -> str:
    """One line over all searches of a surface."""
    worst, said, model = (np.array([getattr(e, what) for e in ended]) for what in ("worst", "said", "model"))
    runs = [e.runs for e in ended]
    rule = [e.by_rule > BOUND for e in ended if math.isfinite(e.by_rule)]
    cells = [
        name,
        str(len(ended)),
        f"{np.mean(worst > said):.0%}",
        f"{np.mean(worst > BOUND):.0%}",
        f"{np.mean(worst > model):.0%}",
        f"{np.median(worst):.2%}, {np.quantile(worst, 0.9):.2%}, {worst.max():.2%}",
        f"{np.median(model):.2%}",
        f"{np.mean([e.enough for e in ended]):.0%}",
        f"{np.median(runs):g} ({max(runs)})",
        f"{np.median([e.cost for e in ended]):.1f}",
        f"{np.mean(rule):.0%}" if rule else "–",
    ]
    return "| " + " | ".join(cells) + " |"


def named(args: argparse.Namespace) -> list[Named]:
    """The surfaces that were asked for."""
    columns = {"width": args.width, "rate": args.rate, "loss": args.loss, "maximize": args.maximize}
    known = {"dense": STUDIES / "quick" / "dense.jsonl", "recorded": STUDIES / "pruning" / "records.jsonl"}
    found = []
    for name in [*args.surfaces, *(shape for shape in args.shapes.split(",") if shape)]:
        if name == "synthetic" or name in SHAPES:
            found.append(Named(name=name, noise=args.noise, tolerance=args.tolerance))
        else:
            path = known.get(name, Path(name))
            title = name if name in known else path.stem
            found.append(Named(name=title, path=path, columns=tuple(columns.items()), tolerance=args.tolerance))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("surfaces", nargs="*", help="dense, synthetic, recorded, or the path of records or of a table")
    parser.add_argument("--shapes", default="", help=f"synthetic surfaces of one shape each, of {', '.join(SHAPES)}")
    parser.add_argument("--noise", type=float, default=0.017, help="of synthetic surfaces: sd of a run's log loss")
    parser.add_argument("--searches", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--tolerance", type=float, default=Named.tolerance, help="the regret at which a search may end")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rule", action="store_true", help="fit the rule too, and judge it: slow")
    parser.add_argument("--width", default="width", help="column of a table")
    parser.add_argument("--rate", default="lr", help="column of a table")
    parser.add_argument("--loss", default="loss", help="column of a table")
    parser.add_argument("--maximize", action="store_true")
    args = parser.parse_args()
    surfaces = named(args)
    seeds = range(args.first, args.first + args.searches)
    tasks = [(surface, seed, args.rule) for surface in surfaces for seed in seeds]
    ended = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for found in pool.map(one, tasks):
            ended.append(found)
            print(found, flush=True)
    print(f"\n{HEAD}\n{'|---' * 11}|")
    for surface in surfaces:
        print(row(surface.name, [e for e in ended if e.surface == surface.name]))
    if len(surfaces) > 1:
        print(row("**all**", ended))
    used = os.times()
    print(f"\n{used.children_user + used.children_system:.0f} s of processor time")


if __name__ == "__main__":
    main()
