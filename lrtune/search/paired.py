"""Pairs of runs that show whether a trainer reads each scale.

An adaptive design hardly repeats a rate in another cell, and such a pair costs it little: the first run of a cell takes
the rate, knobs and seed of a run that differs in one scale alone. `lrtune.search.plan.inert_scale` compares the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lrtune.records.record import TrialRecord, task_of
from lrtune.search.designs import Design
from lrtune.search.ending import StopReason
from lrtune.study.study import Study
from lrtune.study.task import Task

_READ_BY_LRTUNE = ("steps", "tokens")


class PairedDesign:
    """A design whose first run at another value of a scale has the rate, knobs and seed of a run before it."""

    def __init__(self, design: Design, study: Study) -> None:
        self.design = design
        self.scales = {name for name, values in study.scales.items() if len(values) > 1} - {*_READ_BY_LRTUNE}

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        """See `lrtune.search.designs.Design`."""
        proposed = self.design.propose(records, pending, at_once)
        if not self.scales or not proposed:
            return proposed
        before = [task_of(record) for record in records if record.status != "failed"] + list(pending)
        unseen = self.scales - _seen(before, self.scales)
        tasks: list[Task] = []
        for task in proposed:
            twin = next((other for other in before if _difference(task, other) in unseen), None)
            if twin is not None:
                unseen.discard(_difference(task, twin))
                task = replace(task, learning_rate=twin.learning_rate, seed=twin.seed, knobs=twin.knobs)
            tasks.append(task)
            before.append(task)
        return tasks

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        """See `lrtune.search.designs.Design`."""
        return self.design.verdict(records, pending)


def _seen(tasks: Sequence[Task], scales: set[str]) -> set[str]:
    """The scales in which alone two of the tasks differ."""
    groups: dict[tuple[float, int, str], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.learning_rate, task.seed, repr(sorted(task.knobs.items()))), []).append(task)
    pairs = ((one, other) for group in groups.values() for i, one in enumerate(group) for other in group[:i])
    return {name for one, other in pairs if (name := _difference(one, other)) in scales}


def _difference(one: Task, other: Task) -> str:
    """The only scale in which two tasks' places differ; empty if there is none or several."""
    ours, theirs = _place(one), _place(other)
    names = [name for name in ours if ours[name] != theirs.get(name)]
    return names[0] if len(names) == 1 and ours.keys() == theirs.keys() and one.options == other.options else ""


def _place(task: Task) -> Mapping[str, float]:
    return {"hidden_size": task.hidden_size, **task.scales}
