"""Designs of a search: pure functions from the records so far to the next tasks."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from lrtune.records.record import TrialRecord, task_of
from lrtune.search.ending import Ending, StopReason
from lrtune.study.study import Study
from lrtune.study.task import LR_CEILING, LR_FLOOR, Task, cells, group_name, log_spaced, tidy
from lrtune.trainer.find import trainer_of

_MOST_WIDENINGS = 8


class Design(Protocol):
    """Proposes the next tasks and decides when to end."""

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        """New tasks.

        Args:
            records: of all ended runs, failed ones included.
            pending: waiting and running tasks.
            at_once: how many tasks may be pending at once; a fixed design may return more.

        Returns:
            An empty list to start nothing now.
        """

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        """The stop reason, or None to continue; `pending` includes the last proposals."""


class FixedDesign:
    """A given list of tasks, each once."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.tasks = list(tasks)

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        """Every task that is neither done nor pending."""
        taken = {task_of(record).key for record in records} | {task.key for task in pending}
        fresh = {task.key: task for task in self.tasks if task.key not in taken}
        return list(fresh.values())

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        """Over when nothing is left."""
        return None if pending else StopReason(Ending.COMPLETE, "all planned runs are done")


class GridDesign:
    """At each width: rates evenly spaced in log, then more while the best is at an edge, then two around the best.

    Each stage waits for all runs of the previous one at that width, so the order of their ends does not matter.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.seeds = range(study.seed, study.seed + study.seeds)

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        """The runs of every width's current stage."""
        taken = {task_of(record).key for record in records} | {task.key for task in pending}
        busy = {task.group for task in pending}
        tasks = []
        for width, scales in cells(self.study):
            group = group_name(width, scales)
            here = [record for record in records if task_of(record).group == group]
            rates = self.first_rates() if group in busy or not here else self.rates(here)
            tasks += [
                Task(hidden_size=width, learning_rate=rate, seed=seed, scales=scales)
                for rate in rates
                for seed in self.seeds
            ]
        return [task for task in tasks if task.key not in taken]

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        """Over when no stage is left at any width."""
        return None if pending else StopReason(Ending.COMPLETE, "the design is complete")

    def first_rates(self) -> list[float]:
        """The first rates of every width."""
        return log_spaced(self.study.lr_min, self.study.lr_max, self.study.points)

    def rates(self, records: Sequence[TrialRecord]) -> list[float]:
        """All rates of one width so far, given its records."""
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


def design_of(study: Study) -> Design:
    """The study's design: a grid, or the adaptive one; with a check of early ends where the pruner makes them."""
    from lrtune.search.checked import CheckedDesign  # which imports this module

    make: Callable[[], Design] = partial(GridDesign if study.design == "grid" else _adaptive, study)
    return CheckedDesign(make, study) if study.pruner != "none" and study.pruning.beaten else make()


def _adaptive(study: Study) -> Design:
    from lrtune.search.adaptive import AdaptiveDesign
    from lrtune.search.paired import PairedDesign

    design = AdaptiveDesign(study)
    has_check = trainer_of(study).check is not None
    is_vouched_for = not (study.knobs and study.command) if has_check else study.allow_inert_scale and not study.knobs
    return design if is_vouched_for else PairedDesign(design, study)


def losses_by_rate(records: Iterable[TrialRecord]) -> dict[float, float]:
    """Mean final loss of each rate; infinite if one of its runs did not finish."""
    losses: dict[float, list[float]] = {}
    for record in records:
        loss = record.loss if record.status == "finished" and record.loss is not None else math.inf
        losses.setdefault(record.learning_rate, []).append(loss)
    return {rate: math.fsum(values) / len(values) for rate, values in losses.items()}
