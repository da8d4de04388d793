"""The adaptive design: what to run next is asked of `ScaleAwareSampler`, and it ends when the sampler knows enough.

The sampler sees a study in memory that is made of the records and of what is under way. So the design is a function
of these, as the grid is, and a search that was killed goes on as if it had not been. However sure the sampler is, no
width is left without a run: a rule should not rest on a size that was never trained.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import optuna
from optuna.trial import Trial, TrialState, create_trial

from lrtune.records.record import TrialRecord, task_of
from lrtune.search.optuna_study import RATES, WIDTHS, attributes, ended_trial
from lrtune.search.sampling.assessment import Assessment
from lrtune.search.sampling.sampler import ScaleAwareSampler
from lrtune.study.study import Study
from lrtune.study.task import Task, tidy


class AdaptiveDesign:
    """Asks the sampler, one sampler per combination of the other scales."""

    def __init__(self, study: Study, *, targets: Sequence[int] = ()) -> None:
        values = [[(name, value) for value in column] for name, column in study.scales.items()]
        self.places = [_Place(study, dict(combination), targets) for combination in product(*values)]

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], room: int) -> list[Task]:
        """See `lrtune.search.designs.Design`; asks only for as many as there is room for now."""
        for place in self.places:
            place.learn(records, pending)
        open_places = [place for place in self.places if not place.is_enough]
        tasks: list[Task] = []
        while open_places and len(pending) + len(tasks) < room:
            place = min(open_places, key=lambda place: len(place.running))
            tasks.append(place.ask())
        return tasks

    @property
    def enough(self) -> str | None:
        """Why nothing more needs to be run, or None."""
        return self.why_ended if all(place.is_enough for place in self.places) else None

    @property
    def why_ended(self) -> str:
        """What is known, and what more runs would add, for the scales that are known worst."""
        known = [found for place in self.places if (found := place.look_ahead()) is not None]
        return str(max(known, key=lambda assessment: assessment.regret_90)) if known else "nothing is known yet"


class _Place:
    """One combination of the other scales: its own sampler over widths and rates."""

    def __init__(self, study: Study, scales: Mapping[str, float], targets: Sequence[int]) -> None:
        self.plan, self.scales = study, dict(scales)
        self.sampler = ScaleAwareSampler(
            study.widths,
            targets=[*targets] or None,
            lr_range=(study.lr_min, study.lr_max),
            width="hidden_size",
            learning_rate="learning_rate",
            tolerance=study.budget.tolerance,
            search_space={"hidden_size": WIDTHS, "learning_rate": RATES},
            seed=study.seed,
        )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(sampler=self.sampler, pruner=optuna.pruners.NopPruner())
        self.groups = {Task(hidden_size=width, learning_rate=1.0, scales=self.scales).group for width in study.widths}
        self.running: dict[str, int] = {}
        self.widths: dict[str, int] = {}
        self.asked: dict[str, int] = {}
        self.learnt: set[int] = set()
        self.tried: set[int] = set()
        self.assessment: Assessment | None = None

    @property
    def is_enough(self) -> bool:
        """Whether the sampler knows enough and every width was trained, or more runs would not help."""
        if self.assessment is None or self.assessment.exhausted:
            return self.assessment is not None
        return self.assessment.enough and self.tried.issuperset(self.plan.widths)

    def learn(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> None:
        """Bring the study in memory up to date, and judge anew what is known."""
        fresh = [record for record in records if record.trial not in self.learnt]
        mine = [(task_of(record), record) for record in fresh]
        mine = [(task, record) for task, record in mine if task.group in self.groups]
        for task, record in mine:
            self._end(task, record)
        self.learnt.update(record.trial for record in fresh)
        for task in pending:
            if task.group in self.groups and task.key not in self.running:
                self._note(task)
        if mine and any(record.status == "finished" for record in records):
            self.assessment = self.sampler.assessment(self.study, look_ahead=False)

    def look_ahead(self) -> Assessment | None:
        """The assessment, with what more runs would add where any are wanted; None where nothing is known yet."""
        if self.assessment is None or self.is_enough:
            return self.assessment
        return self.sampler.assessment(self.study)

    def ask(self) -> Task:
        """What the sampler wants to know next. The same rate at the same width again means another seed."""
        if self.assessment is not None and self.assessment.enough:
            for width in sorted(set(self.plan.widths) - self.tried - set(self.widths.values()))[:1]:
                self.study.enqueue_trial({"hidden_size": width})
        trial = self.study.ask()
        width = trial.suggest_int("hidden_size", WIDTHS.low, WIDTHS.high)
        rate = tidy(trial.suggest_float("learning_rate", RATES.low, RATES.high, log=True))
        seed = self.plan.seed + self.asked.get(f"{width} {rate}", 0)
        task = Task(hidden_size=width, learning_rate=rate, seed=seed, scales=self.scales)
        self._take(task, trial.number)
        return task

    def _take(self, task: Task, number: int) -> None:
        self.running[task.key] = number
        self.widths[task.key] = task.hidden_size
        place = f"{task.hidden_size} {task.learning_rate}"
        self.asked[place] = self.asked.get(place, 0) + 1

    def _note(self, task: Task) -> None:
        """A run that an earlier search asked for."""
        running = create_trial(
            state=TrialState.RUNNING,
            params={"hidden_size": task.hidden_size, "learning_rate": task.learning_rate},
            distributions={"hidden_size": WIDTHS, "learning_rate": RATES},
            user_attrs=attributes(task),
        )
        self.study.add_trial(running)
        self._take(task, len(self.study.get_trials(deepcopy=False)) - 1)

    def _end(self, task: Task, record: TrialRecord) -> None:
        number = self.running.pop(task.key, None)
        self.widths.pop(task.key, None)
        self.tried.add(task.hidden_size)
        frozen = ended_trial(record, self.plan.pruning.floor)
        if number is None:
            self.study.add_trial(frozen)
            place = f"{task.hidden_size} {task.learning_rate}"
            self.asked[place] = self.asked.get(place, 0) + 1
            return
        trial = Trial(self.study, number)
        for key, value in frozen.user_attrs.items():
            trial.set_user_attr(key, value)
        for step, loss in frozen.intermediate_values.items():
            trial.report(loss, step)
        if record.diversity is not None and math.isfinite(record.diversity):
            trial.set_constraint("diversity", self.plan.pruning.floor - record.diversity)
        value = record.loss if frozen.state == TrialState.COMPLETE else None
        self.study.tell(number, value, state=frozen.state)
