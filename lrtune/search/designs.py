"""Which runs a search makes: pure functions from what is known to the tasks that come next."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Protocol

from lrtune.records.record import TrialRecord
from lrtune.study.study import Study

LR_FLOOR, LR_CEILING = 1e-6, 10.0
_MOST_WIDENINGS = 8


@dataclass(frozen=True, kw_only=True)
class Task:
    """One training run to make: what to train, and in what it departs from the study."""

    hidden_size: int
    learning_rate: float
    seed: int = 0
    arm: str | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def group(self) -> str:
        """Names the runs that it may be compared with: same width, scales and options, any rate and seed."""
        parts = [self.hidden_size, dict(sorted(self.scales.items())), self.arm, dict(sorted(self.options.items()))]
        return json.dumps(parts, separators=(",", ":"), default=str)

    @cached_property
    def key(self) -> str:
        """Names this run within its study."""
        return f"{self.group} {self.learning_rate!r} {self.seed}"


def task_of(record: TrialRecord) -> Task:
    """The task that a record is the answer to."""
    return Task(
        hidden_size=record.hidden_size,
        learning_rate=record.learning_rate,
        seed=record.seed,
        arm=record.arm,
        scales=record.scales,
        options=record.options,
    )


class Design(Protocol):
    """Says which tasks come next."""

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], room: int) -> list[Task]:
        """New tasks, given what is known and what is under way.

        Args:
            records: of all runs that ended, failed ones included.
            pending: tasks that are waiting or running.
            room: how many could start now; a fixed design may give more.

        Returns:
            An empty list when nothing is to be started now; with nothing pending, the design is at its end.
        """
        ...

    @property
    def enough(self) -> str | None:
        """Why the search may end now, whatever is under way; None while it may not."""
        ...

    @property
    def why_ended(self) -> str:
        """One line on what was done or is known when nothing more is proposed."""
        ...


class FixedDesign:
    """A given list of tasks, each once."""

    enough = None
    why_ended = "all planned runs are done"

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.tasks = list(tasks)

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], room: int) -> list[Task]:
        known = {task_of(record).key for record in records} | {task.key for task in pending}
        fresh = {task.key: task for task in self.tasks if task.key not in known}
        return list(fresh.values())


class GridDesign:
    """Per width: rates evenly spaced in log, then wider while the best is at the edge, then once finer around it.

    Each step waits for all runs of the one before at that width, so that the runs made do not depend on the order
    in which they end.
    """

    enough = None
    why_ended = "the design is complete"

    def __init__(self, study: Study) -> None:
        self.study = study
        values = [[(name, value) for value in column] for name, column in study.scales.items()]
        self.places = [(width, dict(combination)) for width in study.widths for combination in product(*values)]
        self.seeds = range(study.seed, study.seed + study.seeds)

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], room: int) -> list[Task]:
        known = {task_of(record).key for record in records} | {task.key for task in pending}
        busy = {task.group for task in pending}
        tasks = []
        for width, scales in self.places:
            group = Task(hidden_size=width, learning_rate=1.0, scales=scales).group
            here = [record for record in records if task_of(record).group == group]
            rates = self.first_rates() if group in busy or not here else self.rates(here)
            tasks += [
                Task(hidden_size=width, learning_rate=rate, seed=seed, scales=scales)
                for rate in rates
                for seed in self.seeds
            ]
        return [task for task in tasks if task.key not in known]

    def first_rates(self) -> list[float]:
        """The rates that every width begins with."""
        return log_spaced(self.study.lr_min, self.study.lr_max, self.study.points)

    def rates(self, records: Sequence[TrialRecord]) -> list[float]:
        """All rates that one width is to be trained at, given the records of those it was trained at."""
        first = self.first_rates()
        if {*first} - {record.learning_rate for record in records}:
            return first
        ratio = first[1] / first[0] if len(first) > 1 else 2.0
        coarse = list(first)
        done = losses_by_rate(records)
        for _ in range(_MOST_WIDENINGS):
            best = min(coarse, key=lambda rate: (done.get(rate, math.inf), rate))
            lower = coarse[0] / ratio if best == coarse[0] else None
            higher = coarse[-1] * ratio if best == coarse[-1] and math.isfinite(done.get(best, math.inf)) else None
            more = tidy(lower or higher or 0.0)
            if not LR_FLOOR <= more <= LR_CEILING:
                break
            coarse = sorted({*coarse, more})
            if more not in {record.learning_rate for record in records}:
                return coarse
        best = min(coarse, key=lambda rate: (done.get(rate, math.inf), rate))
        if not math.isfinite(done.get(best, math.inf)):
            return coarse
        between = [tidy(math.sqrt(best * rate)) for rate in (best / ratio, best * ratio)]
        return sorted({*coarse, *(rate for rate in between if LR_FLOOR <= rate <= LR_CEILING)})


def losses_by_rate(records: Iterable[TrialRecord]) -> dict[float, float]:
    """Mean final loss of each rate; infinite where a run of it did not finish."""
    losses: dict[float, list[float]] = {}
    for record in records:
        done = record.status == "finished" and record.loss is not None
        losses.setdefault(record.learning_rate, []).append(
            record.loss if done and record.loss is not None else math.inf
        )
    return {rate: math.fsum(values) / len(values) for rate, values in losses.items()}


def log_spaced(low: float, high: float, count: int) -> list[float]:
    """`count` rates from `low` to `high`, evenly spaced in log; the geometric mean where `count` is 1."""
    if count == 1:
        return [tidy(math.sqrt(low * high))]
    step = math.log(high / low) / (count - 1)
    return [tidy(low * math.exp(step * index)) for index in range(count)]


def tidy(rate: float) -> float:
    """Six digits: the same point found on two ways is the same number, and a record is pleasant to read."""
    return float(f"{rate:.6g}")
