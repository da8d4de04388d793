"""The adaptive design: asks the model for the next run, and ends when the model is certain enough.

Its proposals depend on the records and the pending tasks alone, so a killed search resumes as if nothing had happened.
Every width gets a run, however certain the model is: a rule should not include a size without a run.
"""

import math
from collections.abc import Mapping, Sequence

from lrtune.records.record import TrialRecord, task_of
from lrtune.search.ending import Ending, StopReason
from lrtune.search.sampling.assessment import Assessment
from lrtune.search.sampling.belief import Observation, Outcome, Space
from lrtune.search.sampling.model import Model
from lrtune.study.study import Study
from lrtune.study.task import LR_CEILING, LR_FLOOR, Task, group_name, scale_combinations, tidy

_OUTCOMES: Mapping[str, Outcome] = {"collapsed": "bad", "beaten": "beaten", "diverged": "diverged"}
_MOST_RUNNING = 64


class AdaptiveDesign:
    """Asks one model per combination of the other scales.

    Args:
        study: what to search.
        targets: widths that the rule is for; by default those of the study.
    """

    def __init__(self, study: Study, *, targets: Sequence[int] = ()) -> None:
        self.searches = [_WidthSearch(study, scales, targets) for scales in scale_combinations(study)]
        self._by_group = {group: search for search in self.searches for group in search.groups}
        self._seen: set[int] = set()

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        """See `lrtune.search.designs.Design`; proposes only tasks that can start now."""
        self._learn(records)
        wanting = [search for search in self.searches if not search.is_over]
        tasks: list[Task] = []
        while wanting and len(pending) + len(tasks) < at_once:
            under_way = [*pending, *tasks]
            least = min(wanting, key=lambda search: len(search.own(under_way)))
            tasks.append(least.next_task(under_way))
        return tasks

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        """See `lrtune.search.designs.Design`: over when every model is certain enough, or cannot become so."""
        self._learn(records)
        if not all(search.is_over for search in self.searches):
            return None
        assessments = [search.assessment for search in self.searches if search.assessment is not None]
        ending = Ending.EXHAUSTED if any(assessment.exhausted for assessment in assessments) else Ending.ENOUGH
        return StopReason(ending, str(max(assessments, key=lambda assessment: assessment.regret_90)))

    def _learn(self, records: Sequence[TrialRecord]) -> None:
        """Give the models the new records; each model with new records makes a new assessment."""
        updated = set()
        for record in records:
            if record.trial not in self._seen:
                self._seen.add(record.trial)
                task = task_of(record)
                if task.group in self._by_group:
                    self._by_group[task.group].take(record, task)
                    updated.add(task.group)
        if updated and any(record.status == "finished" for record in records):
            for search in {id(s): s for s in map(self._by_group.__getitem__, updated)}.values():
                search.assess()


class _WidthSearch:
    """The search over widths and rates at one combination of the other scales."""

    def __init__(self, study: Study, scales: Mapping[str, float], targets: Sequence[int]) -> None:
        self.study, self.scales = study, dict(scales)
        self.targets = tuple(sorted({*(targets or study.widths)}))
        self.groups = {group_name(width, self.scales) for width in study.widths}
        self.model = Model(study.seed)
        self.ended: list[Task] = []
        self.assessment: Assessment | None = None

    @property
    def is_over(self) -> bool:
        """Whether the model is certain enough and every width has a run, or more runs would not help."""
        if self.assessment is None or self.assessment.exhausted:
            return self.assessment is not None
        tried = {task.hidden_size for task in self.ended}
        return self.assessment.enough and tried.issuperset(self.study.widths)

    def own(self, tasks: Sequence[Task]) -> list[Task]:
        """This search's tasks among `tasks`."""
        return [task for task in tasks if task.group in self.groups]

    def take(self, record: TrialRecord, task: Task) -> None:
        """Add the record of an ended run."""
        self.ended.append(task)
        self.model.take(record.trial, observation(record, self.study.pruning.floor), record.facts.parameters)

    def assess(self) -> None:
        """Update the assessment."""
        self.assessment = self.model.assess(self.space(), look_ahead=False)

    def next_task(self, under_way: Sequence[Task]) -> Task:
        """The model's next run. A repeat of a rate at a width gets another seed."""
        own = self.own(under_way)
        untried = {*self.study.widths} - {task.hidden_size for task in (*self.ended, *own)}
        width, x = self.model.next_run(
            self.space(),
            [(task.hidden_size, math.log2(task.learning_rate)) for task in own][-_MOST_RUNNING:],
            number=len(self.ended) + len(own),
            width=min(untried) if untried and self.assessment is not None and self.assessment.enough else None,
        )
        rate = tidy(min(max(2**x, LR_FLOOR), LR_CEILING))
        before = sum((task.hidden_size, task.learning_rate) == (width, rate) for task in (*self.ended, *own))
        return Task(hidden_size=width, learning_rate=rate, seed=self.study.seed + before, scales=self.scales)

    def space(self) -> Space:
        """The model's search space, with the cost of each width from its runs."""
        return Space(
            widths=tuple(sorted({*self.study.widths})),
            targets=self.targets,
            costs=tuple(self.model.cost(width) for width in sorted({*self.study.widths})),
            low=math.log2(LR_FLOOR),
            high=math.log2(LR_CEILING),
            focus=(math.log2(self.study.lr_min), math.log2(self.study.lr_max)),
            tolerance=self.study.budget.tolerance,
        )


def observation(record: TrialRecord, floor: float) -> Observation | None:
    """An ended run as an observation for the model; None if it failed. `floor`: the least diversity of a good run."""
    if record.status == "failed":
        return None
    width, x = record.hidden_size, math.log2(record.learning_rate)
    if record.status != "finished":
        return Observation(width, x, _OUTCOMES[record.status])
    if record.loss is None:
        return Observation(width, x, "diverged")
    if record.diversity is not None and record.diversity < floor:
        return Observation(width, x, "bad")
    return Observation(width, x, "value", record.loss)
