"""The adaptive design: asks one model over all scales for the next run, and ends when the model is certain enough.

Its proposals depend on the records and the pending tasks alone, so a killed search resumes as if nothing had happened.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lrtune.law.fit import fit_run
from lrtune.law.no_rule import NoRuleError
from lrtune.records.record import TrialRecord, task_of
from lrtune.search.ending import Ending, StopReason
from lrtune.search.sampling.assessment import Assessment, by_rule
from lrtune.search.sampling.knobs import KnobsModel
from lrtune.search.sampling.space import Place, Space
from lrtune.search.target import in_scales_of
from lrtune.study.knob import coordinates
from lrtune.study.study import Study
from lrtune.study.task import LR_CEILING, LR_FLOOR, Task, cells, group_name, targets, tidy


class AdaptiveDesign:
    """Proposes the runs of a study that teach most about its targets per unit of compute."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.scales = ("hidden_size", *study.scales)
        self.places = tuple(sorted(self._place(width, scales) for width, scales in cells(study)))
        self.targets = tuple(sorted(tuple(target[name] for name in self.scales) for target in targets(study)))
        self.model = KnobsModel(study.seed, self.scales, study.knobs)
        self.assessment: Assessment | None = None
        self._groups = {group_name(width, scales) for width, scales in cells(study)}
        self._seen: set[int] = set()
        self._ended: list[Task] = []

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        """See `lrtune.search.designs.Design`; proposes only tasks that can start now."""
        self._learn(records)
        tasks: list[Task] = []
        while _ending(self.assessment) is None and len(pending) + len(tasks) < at_once:
            tasks.append(self._next_task([*pending, *tasks]))
        return tasks

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        """See `lrtune.search.designs.Design`: over when the model is certain enough, or cannot become so."""
        self._learn(records)
        ending = _ending(self.assessment)
        return None if ending is None else StopReason(ending, str(self.assessment))

    def _learn(self, records: Sequence[TrialRecord]) -> None:
        """Give the model the new records; after new ones, assess what it knows."""
        fresh = [record for record in records if record.trial not in self._seen]
        self._seen |= {record.trial for record in fresh}
        fresh = [record for record in fresh if task_of(record).group in self._groups]
        for record in fresh:
            self._ended.append(task_of(record))
            self.model.take(record.trial, record)
        if fresh and any(record.status == "finished" for record in records):
            said = self.model.assess(self.space())
            self.assessment = self._by_rule(said, records) if said.enough or said.exhausted else said

    def _by_rule(self, said: Assessment, records: Sequence[TrialRecord]) -> Assessment:
        """The word of the rule that these records make, as the search will write it."""
        study = self.study
        try:
            rule = fit_run(records, tolerance=study.budget.tolerance, knobs=coordinates(study.knobs)).rule
        except NoRuleError:
            return replace(said, enough=False)
        places = [in_scales_of(rule, records, dict(zip(self.scales, place, strict=True))) for place in self.targets]
        return by_rule(said, self.space(), rule, places)

    def _next_task(self, under_way: Sequence[Task]) -> Task:
        """The model's next run. A repeat of a rate at a place gets another seed."""
        own = [task for task in under_way if task.group in self._groups]
        running = [(self._place(task.hidden_size, task.scales), task.learning_rate, task.knobs) for task in own]
        place, found, knobs = self.model.next_run(self.space(), running, number=len(self._ended) + len(own))
        width, scales = int(place[0]), dict(zip(self.study.scales, place[1:], strict=True))
        rate = tidy(min(max(found, LR_FLOOR), LR_CEILING))
        task = Task(
            hidden_size=width,
            learning_rate=rate,
            seed=self.study.seed,
            scales=scales,
            knobs={name: tidy(value) for name, value in knobs.items()},
        )
        before = sum(_same(each, task) for each in (*self._ended, *own))
        return replace(task, seed=task.seed + before)

    def space(self) -> Space:
        """The model's search space, with the cost of each place from its runs."""
        return Space(
            scales=self.scales,
            places=self.places,
            targets=self.targets,
            costs=tuple(self.model.cost(place) for place in self.places),
            low=math.log2(LR_FLOOR),
            high=math.log2(LR_CEILING),
            focus=(math.log2(self.study.lr_min), math.log2(self.study.lr_max)),
            tolerance=self.study.budget.tolerance,
        )

    def _place(self, width: int, scales: Mapping[str, float]) -> Place:
        return (float(width), *(float(scales[name]) for name in self.study.scales))


def _same(one: Task, other: Task) -> bool:
    """Whether two runs differ in their seed at the most."""
    return (one.group, one.learning_rate, one.knobs) == (other.group, other.learning_rate, other.knobs)


def _ending(said: Assessment | None) -> Ending | None:
    """How the search ends; None if more runs help."""
    if said is None:
        return None
    if said.no_signal is not None:
        return Ending.NO_SIGNAL
    if said.no_optimum:
        return Ending.NO_OPTIMUM
    return Ending.ENOUGH if said.enough else Ending.EXHAUSTED if said.exhausted else None
