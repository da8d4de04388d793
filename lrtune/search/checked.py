"""Lenient runs, which peers at lower rates do not end: they show whether the *beaten* verdict holds for this trainer.

At the cheapest place, runs above the best rate are lenient until one has ended that would have been cut. If cuts above
the best rate happen elsewhere alone, the cheapest of these runs is made again, lenient, before the search ends. Once a
lenient run ends at a loss that the verdict had ruled out, every further run is lenient, and the design forgets the runs
that peers at lower rates ended. What is lenient depends on the records and the pending tasks alone.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from lrtune.records.record import TrialRecord, task_of
from lrtune.records.trust import believed, is_beaten_from_below, is_defied
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
        width, scales = min(cells(study), key=lambda cell: cost_of((cell[0], *cell[1].values()), names, {}))
        self._cheapest = group_name(width, scales)

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        tasks = self._settled(records).propose(believed(records), pending, at_once)
        if self._is_loose:
            return [replace(task, lenient=True) for task in tasks]
        if any(record.is_check for record in records) or any(task.lenient for task in pending):
            return tasks
        first = next((i for i, task in enumerate(tasks) if self._may_be_cut(task, records)), None)
        if first is not None:
            return [replace(task, lenient=i == first) for i, task in enumerate(tasks)]
        is_over = not tasks and _is_success(self.design.verdict(records, pending))
        return [replace(task_of(record), lenient=True) for record in _cut(records)[:1]] if is_over else tasks

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        """See `lrtune.search.designs.Design`; not over while a check is due."""
        reason = self._settled(records).verdict(believed(records), pending)
        is_due = not self._is_loose and not any(record.is_check for record in records) and _cut(records)
        return None if is_due and _is_success(reason) else reason

    def _settled(self, records: Sequence[TrialRecord]) -> Design:
        """The design, made anew when the verdict has been defied."""
        if not self._is_loose and is_defied(records):
            self._is_loose, self.design = True, self.make()
        return self.design

    def _may_be_cut(self, task: Task, records: Sequence[TrialRecord]) -> bool:
        """Whether it is a run at the cheapest place above the best rate there, with a peer of its seed."""
        here = [record for record in records if record.status == "finished" and task_of(record).group == task.group]
        has_peer = task.group == self._cheapest and any(record.seed == task.seed for record in here)
        return has_peer and task.learning_rate > min(here, key=_loss).learning_rate


def _is_success(reason: StopReason | None) -> bool:
    return reason is not None and reason.ending in (Ending.ENOUGH, Ending.COMPLETE)


def _cut(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Runs above the best rate of their place that lower peers ended, and that were not made again; cheapest first."""
    best: dict[str, TrialRecord] = {}
    for record in records:
        group = task_of(record).group
        if record.status == "finished" and (group not in best or _loss(record) < _loss(best[group])):
            best[group] = record
    made = Counter(task_of(record).key for record in records)
    found = []
    for record in records:
        peer = best.get(task_of(record).group)
        is_above = peer is not None and record.learning_rate > peer.learning_rate
        if is_above and is_beaten_from_below(record) and made[task_of(record).key] == 1:
            found.append(record)
    return sorted(found, key=lambda record: (record.steps * record.hidden_size**2, record.learning_rate, record.trial))


def _loss(record: TrialRecord) -> float:
    return math.inf if record.loss is None else record.loss
