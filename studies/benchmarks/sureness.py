"""Is a search as right as it says? Replays searches at the quick study's sizes and noise, until each ends by itself.

    python studies/benchmarks/sureness.py dense.jsonl --searches 20
    python studies/benchmarks/sureness.py synthetic --noise 0.017 --searches 20

Two runs at a time, cut by lrtune's pruner as in a search, ended by the sampler's word that the worst regret of all
widths is under 1% with 90% confidence; then the true regret of what it found. Dense records come from
`studies.quick.dense`; synthetic surfaces are those of `search.py`, with the courses of real runs.
"""

import argparse
import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from surfaces import SHAPES, synthetic

from lrtune.cli.settings import quick_study
from lrtune.errors import LrtuneError
from lrtune.law.fit import fit_run
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.records.replay import replay_records
from lrtune.rule.ask import get_learning_rate
from lrtune.search.adaptive import AdaptiveDesign
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import verdict
from lrtune.search.sampling.assessment import Assessment
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.trainer.trial import Facts

Final = Callable[[int, float, int], float]  # width, rate, seed → final loss
Regret = Callable[[int, float], float]
BOUND = 0.01
MOST = 90  # runs
_START, _PACE = 6.95, 0.25  # loss at the start of a course, and the share of the steps in which it falls by a factor e


def search(study: Study, final: Final, *, at_once: int = 2) -> tuple[list[TrialRecord], Assessment]:
    """One search on a surface: its records, and what it knows at the end."""
    design = AdaptiveDesign(study)
    records: list[TrialRecord] = []
    running: list[tuple[float, TrialRecord, Task]] = []
    now = 0.0
    while len(records) < MOST:
        tasks = design.propose(records, [task for _, _, task in running], at_once)
        if design.verdict(records, []) is not None:
            break
        for task in tasks:
            record = _run(study, task, final, records)
            running.append((now + record.steps_done * _seconds(task.hidden_size), record, task))
        running.sort(key=lambda run: run[0])
        now, record, _ = running.pop(0)
        records.append(replace(record, trial=len(records)))
    known = design.searches[0].assessment
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
        part = {"step": steps[:reports], "loss": course[:reports]}
        so_far = replace(record, curve=part, steps_done=steps[reports - 1], loss=course[reports - 1])
        said = verdict(Curve.from_record(so_far), study.pruning, peers)
        if said.is_cut:
            return replace(so_far, status=said.kind)
    return record


def _left(share: float) -> float:
    """The part of the descent that is still ahead after a share of the steps."""
    return math.exp(-share / _PACE) - share * math.exp(-1 / _PACE)


def dense(path: Path) -> tuple[Final, Regret, str]:
    """The surface smoothed from dense records, with their own noise."""
    replay = replay_records(read_records(path).records)
    surfaces = replay.surfaces
    noise = "; ".join(f"{w}: {s.own:.1%} a run, {s.shared:.1%} a seed" for w, s in surfaces.items())
    return replay.final, lambda w, r: surfaces[w].regret(r), noise


def drawn(noise: float, seed: int, widths: tuple[int, ...]) -> tuple[Final, Regret]:
    """A synthetic surface near the quick study's rates, of another shape for each seed."""
    shape = SHAPES[seed % len(SHAPES)]
    problem = replace(synthetic(shape, -1.5, widths, seed), own=noise, shared=0.0)
    return problem.final, problem.regret


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one search ended: the worst true regret of its advice and of its rule (NaN: not fitted), and what it said."""

    worst: float
    by_rule: float
    said: float
    enough: bool
    runs: int
    cut: int
    cost: float

    def __str__(self) -> str:
        why = "enough" if self.enough else "not enough"
        return (
            f"{self.runs} runs, {self.cut} cut, {self.cost:.1f} runs a width; said {self.said:.2%}, {why}; "
            f"true {self.worst:.2%}, rule {self.by_rule:.2%}"
        )


def one(study: Study, final: Final, regret: Regret, rule: bool) -> Ended:
    """One search, judged."""
    records, known = search(study, final)
    by_rule = math.nan
    if rule:
        with contextlib.suppress(LrtuneError):
            fitted = fit_run(records).rule
            by_rule = max(regret(w, get_learning_rate(w, rule=fitted)) for w in study.widths)
    cost = sum(_seconds(r.hidden_size) * r.steps_done / r.steps for r in records)
    return Ended(
        worst=max(regret(k.hidden_size, k.learning_rate) for k in known.known),
        by_rule=by_rule,
        said=known.regret_90,
        enough=known.enough,
        runs=len(records),
        cut=sum(r.status != "finished" for r in records),
        cost=cost / sum(map(_seconds, study.widths)),
    )


def summary(ended: Sequence[Ended]) -> str:
    """One line over all searches."""
    worst, said = np.array([e.worst for e in ended]), np.array([e.said for e in ended])
    runs, cost = [e.runs for e in ended], [e.cost for e in ended]
    rule = [e.by_rule > BOUND for e in ended if math.isfinite(e.by_rule)]
    parts = [
        f"worst regret over 1% in {np.mean(worst > BOUND):.0%}",
        f"over what was said in {np.mean(worst > said):.0%}",
        f"median {np.median(worst):.2%}, 90% quantile {np.quantile(worst, 0.9):.2%} (said {np.median(said):.2%})",
        f"{np.median(runs):g} runs, at most {max(runs)}, {np.median(cost):.1f} a width",
        f"{np.mean([e.enough for e in ended]):.0%} ended by themselves",
    ]
    return f"{len(ended)} searches: " + "; ".join(parts + ([f"rule over 1% in {np.mean(rule):.0%}"] if rule else []))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("surface", help='"synthetic", or the path of dense records')
    parser.add_argument("--noise", type=float, default=0.017, help="of synthetic surfaces: sd of a run's log loss")
    parser.add_argument("--searches", type=int, default=40)
    parser.add_argument("--rule", action="store_true", help="fit the rule too, and judge it: slow")
    args = parser.parse_args()
    quick = quick_study()
    if args.surface != "synthetic":
        final, regret, noise = dense(Path(args.surface))
        print(f"noise at {noise}")
    ended = []
    for seed in range(args.searches):
        if args.surface == "synthetic":
            final, regret = drawn(args.noise, seed, quick.widths)
        ended.append(one(replace(quick, seed=seed), final, regret, args.rule))
        print(f"{seed}: {ended[-1]}", flush=True)
    print(f"\n{summary(ended)}")


if __name__ == "__main__":
    main()
