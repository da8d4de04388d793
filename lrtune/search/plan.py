"""Plans a search: its runs and their cost, and whether a budget or a range of rates can be enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, counted
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule.doubt import cost_text
from lrtune.search.cost import StepCost, span, step_cost
from lrtune.search.foresight import foresee, foresee_grid
from lrtune.search.options import SearchOptions
from lrtune.search.target import FACTORS, Remaining, affordable
from lrtune.search.workers.machine import shares
from lrtune.study.study import Study
from lrtune.study.task import LR_FLOOR, Task, cells, place_name, steps_of, targets, task_at

_LOST_AT_THE_LOWEST = 5
_LEAST = 3  # runs for each knob, the learning rate among them: a curve with a lowest point has three coefficients


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """The runs at one width and combination of scales.

    Attributes:
        hidden_size, scales: the width and the other scales.
        runs, done: expected runs, and how many of them are done.
        steps: of one run.
        compute: of one run, in tokens × parameters if known, else in steps × hidden_size².
        seconds: of one run: measured, or from the cost of a step at other places; None if unknown.
    """

    hidden_size: int
    scales: Mapping[str, float]
    runs: int
    done: int
    steps: int
    compute: float
    seconds: float | None

    @property
    def left(self) -> int:
        """How many runs are left."""
        return max(0, self.runs - self.done)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs and the cost of a search.

    Attributes:
        rows: one per width and combination of scales.
        design, how: the design, and the method of the count.
        runs, done: over all rows; `runs` is a cautious number.
        least: runs in all where losses are smooth.
        tokens: of the remaining runs; None before a run reports its tokens per step.
        compute: of the remaining runs, in `unit`.
        unit: ``tokens × parameters`` if known, else ``steps × hidden_size²``.
        seconds: expected wall time of the remaining runs; None if the cost of a row is unknown.
        regret, regret_90: relative loss that the advice costs at the worst target at the end of a simulated search, and
            its 90% quantile; None if unknown.
        short_of: what ends that search before it knows enough; empty if nothing does.
        workers: how many workers `seconds` assumes.
        notes: further lines for the user.
    """

    study: str
    rows: tuple[PlanRow, ...]
    design: str
    how: str
    runs: int
    least: int
    done: int
    tokens: float | None
    compute: float
    unit: str
    seconds: float | None
    regret: float | None
    regret_90: float | None
    short_of: str
    tolerance: float
    workers: int
    notes: tuple[str, ...]

    @property
    def expected(self) -> str:
        """The number of runs in words: ``12 to 21 runs``."""
        return f"{self.least} to {self.runs} runs" if self.least < self.runs else counted(self.runs, "run")

    @property
    def estimate(self) -> str:
        """The runs that are to come, and what they achieve, in words."""
        if self.design == "grid":
            return f"estimate: {self.expected}"
        if self.short_of:
            return f"estimate: about {self.expected}, after which the rule may not be good enough ({self.short_of})"
        return f"estimate: about {self.expected} until the rule is good enough, more if losses are noisy"

    def __str__(self) -> str:
        is_range = self.least < self.runs  # which `how` explains, except of a grid
        how = f" ({self.how})" if self.how and (is_range or self.design == "grid") else ""
        lines = [f"study {self.study}: {self.expected}{how}, {self.done} done"]
        for row in self.rows:
            place = place_name({"hidden_size": row.hidden_size, **row.scales})
            time = f", about {span(row.seconds)} each" if row.seconds is not None else ""
            steps = "" if "steps" in row.scales else f" of {row.steps} steps"
            lines.append(f"  {place}: {counted(row.runs, 'run')}{steps}{time}")
        tokens = f"{self.tokens:.3g} tokens, " if self.tokens is not None else ""
        lines.append(f"  remaining: {tokens}compute {self.compute:.3g} ({self.unit})")
        if self.seconds is not None:
            hours = self.seconds * self.workers / 3600
            lines.append(f"  about {hours:.2g} device-hours: {span(self.seconds)} with {self.workers} workers")
        if self.regret is not None and self.regret_90 is not None:
            costs = cost_text(self.regret, self.regret_90)
            wanted = f"wanted: {self.tolerance * 100:.3g}%" + (f"; {self.short_of}" if self.short_of else "")
            lines.append(f"  at its end the worst answer costs about {costs} ({wanted})")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def plan(study: Study, out: Path | None = None, *, noisy: bool = True, **options: Any) -> Plan:
    """Count and cost the runs of a study; `out` may already hold some of them.

    Args:
        noisy: whether to count for noisy losses too, which takes seconds; else `runs` are those of smooth losses.

    Raises:
        InputError: the study or the options are invalid.
    """
    from lrtune.trainer.complete import complete
    from lrtune.trainer.find import trainer_of

    given = SearchOptions(**options)
    study = complete(study, trainer_of(study))
    path = None if out is None else out / "records.jsonl"
    records = read_records(path, within=out).records if path is not None and path.exists() else []
    workers, cost = given.workers or len(shares(None, given.device)), step_cost(records)
    foreseen = foresee_grid(study) if study.design == "grid" else foresee(study, cost, workers, noisy=noisy)
    rows = tuple(_row(study, width, scales, foreseen.counts, records, cost) for width, scales in cells(study))
    timed = [row.seconds * row.left for row in rows if row.seconds is not None]
    per_step = next((r.facts.tokens_per_step for r in records if r.facts.tokens_per_step), None)
    notes = [f"budget: {text}" for text in _budget(study)]
    if len(timed) < len(rows):
        notes.append("time: unknown before the first runs at two sizes; the search then shows it")
    if study.verify_at_target:
        # As many runs as a verification makes; their rates are still unknown.
        wanted = [task_at(target) for target in targets(study) for _ in FACTORS]
        notes.append(f"at the target: {affordable(study, wanted, records, Remaining(), workers)[1]}")
    return Plan(
        study=study.name,
        rows=rows,
        design=study.design,
        how=foreseen.how,
        runs=(expected := sum(row.runs for row in rows)),
        least=min(max(foreseen.least, sum(row.done for row in rows)), expected),
        done=sum(row.done for row in rows),
        tokens=None if per_step is None else float(sum(per_step * row.steps * row.left for row in rows)),
        compute=float(sum(row.compute * row.left for row in rows)),
        unit="tokens × parameters" if any(r.facts.parameters for r in records) else "steps × hidden_size²",
        seconds=sum(timed) / workers if len(timed) == len(rows) else None,
        regret=foreseen.regret,
        regret_90=foreseen.regret_90,
        short_of=foreseen.short_of,
        tolerance=study.budget.tolerance,
        workers=workers,
        notes=tuple(notes),
    )


def _row(
    study: Study,
    width: int,
    scales: Mapping[str, float],
    counts: Mapping[str, int],
    records: Sequence[TrialRecord],
    cost: StepCost | None,
) -> PlanRow:
    task = Task(hidden_size=width, learning_rate=1.0, scales=scales)
    steps, runs = steps_of(task, study), counts.get(task.group, 0)
    a_step = cost.at({"hidden_size": width, **scales}) if cost is not None else None
    here = [r for r in records if r.hidden_size == width and dict(r.scales) == dict(scales) and r.status != "failed"]
    timed = [r.seconds for r in here if r.status == "finished" and r.seconds > 0]
    facts = next((r.facts for r in here if r.facts.parameters), None)
    size = facts.parameters if facts is not None and facts.parameters else width**2
    tokens = steps * (facts.tokens_per_step or 1) if facts is not None else steps
    return PlanRow(
        hidden_size=width,
        scales=dict(scales),
        runs=max(runs, len(here)),
        done=len(here),
        steps=steps,
        compute=float(size * tokens),
        seconds=sum(timed) / len(timed) if timed else None if a_step is None else a_step * steps,
    )


def _budget(study: Study) -> list[str]:
    budget = study.budget
    limits = [(budget.trials, "trials"), (budget.tokens, "tokens")]
    counts = [f"at most {value:,.10g} {name}" for value, name in limits if value is not None]
    return [*([] if budget.seconds is None else [f"at most {span(budget.seconds)}"]), *counts]


def check_budget(study: Study) -> None:
    """Refuse a budget below one run per width, or below what the knobs need.

    Raises:
        InputError: with the least sensible budget.
    """
    places, knobs = len(cells(study)), ("learning_rate", *study.knobs)
    least, why = places, "one per size"
    if study.knobs and _LEAST * len(knobs) > places:
        least, why = _LEAST * len(knobs), f"{_LEAST} for each of {', '.join(knobs)}"
    if study.budget.trials is not None and study.budget.trials < least:
        raise InputError(
            f"budget.trials: expected at least {least}, {why}, but got {study.budget.trials}; "
            f"{3 * max(least, places * len(knobs))} or more recommended"
        )


def hopeless(records: Sequence[TrialRecord]) -> str | None:
    """Why no rate works: no run has finished, and runs diverge or collapse even at the lowest rate; else None."""
    lowest = [record for record in records if record.learning_rate < 2 * LR_FLOOR]
    if len(lowest) < _LOST_AT_THE_LOWEST or any(record.status == "finished" for record in records):
        return None
    return (
        f"trainer: no run finished, not even {len(lowest)} runs at the lowest rate, {lowest[-1].learning_rate:.3g} "
        f"(the last: {lowest[-1].status}, {lowest[-1].reason}); check the trainer's losses with lrtune check-trainer"
    )


def shortfall(study: Study, records: Sequence[TrialRecord], workers: int) -> str:
    """The sizes that a spent budget left without a run, and a sufficient budget; empty if every size has a run."""
    every = cells(study)
    tried = [(record.hidden_size, dict(record.scales)) for record in records]
    missing = sum(cell not in tried for cell in every)
    if not missing:
        return ""
    text = f"; {missing} of {len(every)} sizes have no completed run. Allow at least one run per size"
    if not records:
        return text
    per_step = max(record.facts.tokens_per_step or 0 for record in records)
    if study.budget.tokens is not None and per_step:
        least = len(every) * study.steps * per_step
        return f"{text}: {least:,.0f} tokens; {3 * least:,.0f} recommended"
    seconds = len(every) * max(record.seconds for record in records) / workers
    return f"{text}: {seconds:.0f} s at the slowest run's speed; {3 * seconds:.0f} s recommended"
