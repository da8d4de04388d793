"""Lenient runs, which peers at lower rates do not end: they show whether the *beaten* verdict holds for this trainer.

A lenient run that ends although its peers had beaten it is a check; it vouches for the cuts at its place and at smaller
ones. At the cheapest and at the most expensive place, runs above the best rate are lenient until something vouches for
it. Before the search ends, a cut run above a best rate that nothing vouches for is made again, lenient, at the most
expensive place first. Once a check ends at a loss that the verdict had ruled out, every further run is lenient, and the
design forgets the runs that peers at lower rates ended. What is lenient depends on the records and the pending tasks
alone.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from lrtune.records.record import TrialRecord, task_of
from lrtune.records.trust import believed, is_beaten_from_below, is_defied, is_vouched_for
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
        costs = {group_name(*cell): cost_of((cell[0], *cell[1].values()), names, {}) for cell in cells(study)}
        self._costs = costs
        self._ends = {min(costs, key=lambda group: costs[group]), max(costs, key=lambda group: costs[group])}

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
        """Whether it is a run above the best rate at one of the ends, with a peer, and nothing vouches for it."""
        if task.group not in self._ends or is_vouched_for(task.place, _checks(records)):
            return False
        here = [record for record in records if record.status == "finished" and task_of(record).group == task.group]
        has_peer = any(record.seed == task.seed for record in here)
        return has_peer and task.learning_rate > min(here, key=_loss).learning_rate

    def _due(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Cut runs above the best rate of their place that nothing vouches for and that were not made again.

        The most expensive place comes first, there the lowest rate.
        """
        best: dict[str, TrialRecord] = {}
        for record in records:
            group = task_of(record).group
            if record.status == "finished" and (group not in best or _loss(record) < _loss(best[group])):
                best[group] = record
        made, checks = Counter(task_of(record).key for record in records), _checks(records)
        found = []
        for record in filter(is_beaten_from_below, records):
            task = task_of(record)
            peer = best.get(task.group) if task.group in self._costs and made[task.key] == 1 else None
            if (
                peer is not None
                and record.learning_rate > peer.learning_rate
                and not is_vouched_for(task.place, checks)
            ):
                found.append(record)
        return sorted(found, key=lambda r: (-self._costs[task_of(r).group], r.learning_rate, r.trial))


def _checks(records: Sequence[TrialRecord]) -> list[dict[str, float]]:
    return [record.place for record in records if record.is_check]


def _is_over(reason: StopReason | None) -> bool:
    return reason is not None and reason.ending in (Ending.ENOUGH, Ending.COMPLETE, Ending.EXHAUSTED)


def _loss(record: TrialRecord) -> float:
    return math.inf if record.loss is None else record.loss
