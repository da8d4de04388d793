"""Lenient runs, which peers at lower rates do not end: they show whether the *beaten* verdict holds for this trainer.

A lenient run that ends although its peers had beaten it is a check. At the cheapest place, runs above the best rate are
lenient until there is one. They are so wherever all runs above the best rate were cut, until something vouches for the
place: a check, or a whole run above the best rate, there or at a larger place. If it still rests on cuts before the
search ends, one of them is made again, lenient, at the most expensive place first; likewise if there are cuts above a
best rate, but no check. Once a check ends at a loss that the verdict had ruled out, every further run is lenient, and
the design forgets the runs that peers at lower rates ended. What is lenient depends on the records and the pending
tasks alone.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from lrtune.records.record import TrialRecord, task_of
from lrtune.records.trust import (
    above_best,
    believed,
    is_beaten_from_below,
    is_defied,
    is_vouched_for,
    rests_on_cuts,
    vouches,
)
from lrtune.search.designs import Design
from lrtune.search.ending import Ending, StopReason
from lrtune.search.sampling.space import cost_of
from lrtune.study.study import Study
from lrtune.study.task import Task, cells, group_name


class CheckedDesign(Design):
    """A design with lenient runs.

    Args:
        make: makes the design; once the verdict is defied, another one starts from the records that are still believed.
    """

    def __init__(self, make: Callable[[], Design], study: Study) -> None:
        self.make, self.design = make, make()
        self._is_loose = False
        names = ("hidden_size", *study.scales)
        self._costs = {group_name(*cell): cost_of((cell[0], *cell[1].values()), names, {}) for cell in cells(study)}

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        tasks = self._settled(records).propose(believed(records), pending, at_once)
        if self._is_loose:
            return [replace(task, lenient=True) for task in tasks]
        busy = {task.group for task in pending if task.lenient}
        for i, task in enumerate(tasks):
            if task.group not in busy and self._may_be_cut(task, records):
                busy.add(task.group)
                tasks[i] = replace(task, lenient=True)
        is_over = not (tasks or busy) and _is_over(self.design.verdict(records, pending))
        return [replace(task_of(record), lenient=True) for record in self._due(records)[:1]] if is_over else tasks

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        """See `lrtune.search.designs.Design`; not over while a check is due."""
        reason = self._settled(records).verdict(believed(records), pending)
        return None if not self._is_loose and _is_over(reason) and self._due(records) else reason

    def _settled(self, records: Sequence[TrialRecord]) -> Design:
        """The design, made anew when the verdict has been defied."""
        if not self._is_loose and is_defied(records):
            self._is_loose, self.design = True, self.make()
        return self.design

    def _may_be_cut(self, task: Task, records: Sequence[TrialRecord]) -> bool:
        """Whether it is a run above the best rate of a place that needs a check, with a peer of its seed."""
        here = [record for record in records if task_of(record).group == task.group]
        is_first = self._costs.get(task.group) == min(self._costs.values()) and not any(r.is_check for r in records)
        finished = [record for record in here if record.status == "finished"]
        has_peer = any(record.seed == task.seed for record in finished)
        is_above = has_peer and task.learning_rate > min(finished, key=_loss).learning_rate
        return is_above and (is_first or _is_open(here, records))

    def _due(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Cut runs above the best rate of a place that needs a check, and that were not made again.

        The most expensive place comes first, there the lowest rate.
        """
        made = Counter(task_of(record).key for record in records)
        is_first = not any(record.is_check for record in records)
        found = []
        for group in self._costs:
            here = [record for record in records if task_of(record).group == group]
            if is_first or _is_open(here, records):
                cut = [record for record in above_best(here) if is_beaten_from_below(record)]
                found += [record for record in cut if made[task_of(record).key] == 1]
        return sorted(found, key=lambda r: (-self._costs[task_of(r).group], r.learning_rate, r.trial))


def _is_open(here: Sequence[TrialRecord], records: Sequence[TrialRecord]) -> bool:
    """Whether a place rests on cuts, and nothing vouches for it."""
    if not rests_on_cuts(here):
        return False
    by_group: dict[str, list[TrialRecord]] = {}
    for record in records:
        by_group.setdefault(task_of(record).group, []).append(record)
    return not is_vouched_for(here[0].place, [runs[0].place for runs in by_group.values() if vouches(runs)])


def _is_over(reason: StopReason | None) -> bool:
    return reason is not None and reason.ending in (Ending.ENOUGH, Ending.COMPLETE, Ending.EXHAUSTED)


def _loss(record: TrialRecord) -> float:
    return math.inf if record.loss is None else record.loss
