"""The adaptive design: asks the model what to run next, and ends when that is sure enough.

Its proposals follow from the records and the pending tasks alone, so a search that was killed resumes as if it had not
been. However sure the model is, every width gets a run: a rule should not rest on a size that was never trained.
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
        targets: widths that the rule is for; those of the study where none are given.
    """

    def __init__(self, study: Study, *, targets: Sequence[int] = ()) -> None:
        self.searches = [_WidthSearch(study, scales, targets) for scales in scale_combinations(study)]
        self._by_group = {group: search for search in self.searches for group in search.groups}
        self._seen: set[int] = set()

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        """See `lrtune.search.designs.Design`; proposes no more than can start now."""
        self._learn(records)
        wanting = [search for search in self.searches if not search.is_over]
        tasks: list[Task] = []
        while wanting and len(pending) + len(tasks) < at_once:
            under_way = [*pending, *tasks]
            least = min(wanting, key=lambda search: len(search.own(under_way)))
            tasks.append(least.next_task(under_way))
        return tasks

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        """See `lrtune.search.designs.Design`: over once every model is sure enough, or cannot become it."""
        self._learn(records)
        if not all(search.is_over for search in self.searches):
            return None
        known = [search.assessment for search in self.searches if search.assessment is not None]
        ending = Ending.EXHAUSTED if any(assessment.exhausted for assessment in known) else Ending.ENOUGH
        return StopReason(ending, str(max(known, key=lambda assessment: assessment.regret_90)))

    def _learn(self, records: Sequence[TrialRecord]) -> None:
        """Give the models the records that are new, and have each say what it knows where it got any."""
        taught = set()
        for record in records:
            if record.trial not in self._seen:
                self._seen.add(record.trial)
                task = task_of(record)
                if task.group in self._by_group:
                    self._by_group[task.group].take(record, task)
                    taught.add(task.group)
        if taught and any(record.status == "finished" for record in records):
            for search in {id(s): s for s in map(self._by_group.__getitem__, taught)}.values():
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
        """Whether enough is known and every width was trained, or more runs would not help."""
        if self.assessment is None or self.assessment.exhausted:
            return self.assessment is not None
        tried = {task.hidden_size for task in self.ended}
        return self.assessment.enough and tried.issuperset(self.study.widths)

    def own(self, tasks: Sequence[Task]) -> list[Task]:
        """Those of the tasks that are part of this search."""
        return [task for task in tasks if task.group in self.groups]

    def take(self, record: TrialRecord, task: Task) -> None:
        """Take in the record of an ended run."""
        self.ended.append(task)
        self.model.take(record.trial, observation(record, self.study.pruning.floor), record.facts.parameters)

    def assess(self) -> None:
        """Assess what is known."""
        self.assessment = self.model.assess(self.space(), look_ahead=False)

    def next_task(self, under_way: Sequence[Task]) -> Task:
        """What the model wants to know next. The same rate at the same width again means another seed."""
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
        """Where the model is to search; a width costs what its runs said."""
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
    """What an ended run says to the model; None for a failed one. `floor` is the least diversity of a good run."""
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
