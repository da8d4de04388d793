"""Pairs of runs that show whether a trainer reads each scale and each knob.

An adaptive design hardly repeats a rate, and such a pair costs it little: the first run of a cell takes the rate, knobs
and seed of a run that differs in one scale alone; for each knob, one run takes all else from the best run of its cell.
`lrtune.search.inert` compares the two.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lrtune.records.record import TrialRecord, task_of
from lrtune.search.designs import Design
from lrtune.search.ending import StopReason
from lrtune.study.study import Study
from lrtune.study.task import Task, tidy

_READ_BY_LRTUNE = ("steps", "tokens")


class PairedDesign(Design):
    """A design whose first run at another value of a scale has the rate, knobs and seed of a run before it, and which
    has a pair of runs for each knob that differ in it alone."""

    def __init__(self, design: Design, study: Study) -> None:
        self.design, self.study = design, study
        self.scales = {name for name, values in study.scales.items() if len(values) > 1} - {*_READ_BY_LRTUNE}

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        proposed = self.design.propose(records, pending, at_once)
        if not (self.scales or self.study.knobs) or not proposed:
            return proposed
        before = [task_of(record) for record in records if record.status != "failed"] + list(pending)
        done = sorted(
            (record for record in records if record.status == "finished" and record.loss is not None),
            key=lambda record: record.loss or 0.0,
        )
        unseen = (self.scales | {*self.study.knobs}) - _seen(before)
        tasks: list[Task] = []
        for task in proposed:
            name, paired = next(self._pairs(task, before, done, unseen), ("", task))
            unseen.discard(name)
            tasks.append(paired)
            before.append(paired)
        return tasks

    def _pairs(
        self, task: Task, before: Sequence[Task], done: Sequence[TrialRecord], unseen: set[str]
    ) -> Iterator[tuple[str, Task]]:
        """What the task could show, and as which task."""
        for other in before:
            name = _only(task.place, other.place)
            if name in unseen and task.options == other.options:
                yield name, replace(task, learning_rate=other.learning_rate, seed=other.seed, knobs=other.knobs)
        best = next((twin for record in done if (twin := task_of(record)).group == task.group), None)
        for name in self.study.knobs:
            if best is not None and name in unseen and name in task.knobs:
                moved = self._moved(name, task, best)
                if moved != best:
                    yield name, moved

    def _moved(self, name: str, task: Task, best: Task) -> Task:
        """The best run with one knob at the coordinate of the task."""
        coordinate = self.study.knobs[name].coordinate
        ours, theirs = ({"learning_rate": each.learning_rate, **each.knobs} for each in (task, best))
        value = tidy(coordinate.value(coordinate.at(ours[name], ours), theirs))
        return replace(best, knobs={**best.knobs, name: value})

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        return self.design.verdict(records, pending)


def _seen(tasks: Sequence[Task]) -> set[str]:
    """The scales and knobs in which alone two of the tasks differ."""
    groups: dict[tuple[float, int, str], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.learning_rate, task.seed, repr(task.options)), []).append(task)
    pairs = ((one, other) for group in groups.values() for i, one in enumerate(group) for other in group[:i])
    return {_only({**one.place, **one.knobs}, {**other.place, **other.knobs}) for one, other in pairs}


def _only(ours: Mapping[str, float], theirs: Mapping[str, float]) -> str:
    """The only name whose values differ; empty if there is none or several."""
    names = [name for name in ours if ours[name] != theirs.get(name)]
    return names[0] if len(names) == 1 and ours.keys() == theirs.keys() else ""
