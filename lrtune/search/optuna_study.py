"""The Optuna study of a search: trials as Optuna's tools expect them, written in the order that survives a kill.

Parameters are ``hidden_size`` and ``learning_rate`` with wide bounds that never change (Optuna's samplers give up on
a range that does). All else is in user attributes: ``seed`` from the start, with ``scales, arm, options`` where there
are any, and ``facts, curve, status, why`` at the end. Diversity below its floor is a constraint, never a second
objective.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from lrtune.errors import MissingExtraError
from lrtune.records.record import TrialRecord, task_of
from lrtune.search.workers.storage import engine_arguments, normalise, patiently, tune
from lrtune.study.task import LR_CEILING, LR_FLOOR, Task

WIDTHS = IntDistribution(1, 2**20)
RATES = FloatDistribution(LR_FLOOR, LR_CEILING, log=True)
_STATES = {
    "finished": TrialState.COMPLETE,
    "collapsed": TrialState.PRUNED,
    "beaten": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Trials:
    """The trials of one study in one storage."""

    def __init__(self, url: str, name: str, sampler: BaseSampler | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        url = normalise(url)
        try:
            self.storage = patiently(lambda: optuna.storages.RDBStorage(url, engine_kwargs=engine_arguments(url)))
        except ImportError:
            raise MissingExtraError("cluster", "psycopg", "--storage postgresql://") from None
        tune(self.storage.engine)
        self.study = patiently(
            lambda: optuna.create_study(
                study_name=name,
                storage=self.storage,
                sampler=sampler or RandomSampler(seed=0),
                pruner=optuna.pruners.NopPruner(),
                direction="minimize",
                load_if_exists=True,
            )
        )
        self._study_id = self.storage.get_study_id_from_name(name)
        # Knows the trials that it made without asking again.
        self._remembering = optuna.storages.get_storage(self.storage)
        self._ids: dict[int, int] = {}
        self._next = 0

    def close(self) -> None:
        """Let the connections go."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def add(self, task: Task) -> int:
        """A new waiting trial of this task; returns its number. Not safe to repeat blindly: see `unfinished`."""
        template = create_trial(
            state=TrialState.WAITING,
            params={"hidden_size": task.hidden_size, "learning_rate": task.learning_rate},
            distributions={"hidden_size": WIDTHS, "learning_rate": RATES},
            user_attrs=attributes(task),
        )
        trial_id = self._remembering.create_new_trial(self._study_id, template)
        number = self._number(trial_id)
        self._ids[number] = trial_id
        self._next = number + 1
        return number

    def _number(self, trial_id: int) -> int:
        """The number of a trial just made: the next one, which is known here, or else read with the whole trial."""
        with contextlib.suppress(KeyError):
            if self._remembering.get_trial_id_from_study_id_trial_number(self._study_id, self._next) == trial_id:
                return self._next
        return self._remembering.get_trial_number_from_id(trial_id)

    def unfinished(self) -> dict[int, Task]:
        """The trials that wait or run, read from the storage without those that ended."""
        states = (TrialState.WAITING, TrialState.RUNNING)
        trials = patiently(lambda: self.storage.get_all_trials(self._study_id, deepcopy=False, states=states))
        return {trial.number: _task(trial.params, trial.user_attrs) for trial in trials if "seed" in trial.user_attrs}

    def begin(self, number: int) -> None:
        """Show a waiting trial as running."""
        trial_id = self._id(number)
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            patiently(lambda: self.storage.set_trial_state_values(trial_id, TrialState.RUNNING))

    def tell(self, record: TrialRecord, floor: float) -> None:
        """Tell how a trial ended. Telling twice changes nothing.

        As `optuna.Study.tell` does it, in fewer transactions: a pruned trial's value is its last loss.
        """
        trial_id = self._id(record.trial)
        ended = ended_trial(record, floor)
        writes: list[Callable[[], Any]] = [
            partial(self.storage.set_trial_user_attr, trial_id, key, value)
            for key, value in ending_attributes(record).items()
        ]
        writes += [partial(self.storage.set_trial_system_attr, trial_id, *pair) for pair in ended.system_attrs.items()]
        writes += [
            partial(self.storage.set_trial_intermediate_value, trial_id, *pair)
            for pair in ended.intermediate_values.items()
        ]
        writes += [partial(self.storage.set_trial_state_values, trial_id, ended.state, ended.values)]
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            for write in writes:
                patiently(write)

    def drop(self, number: int) -> None:
        """Fail a trial that was never begun and never will be."""
        trial_id = self._id(number)
        if not self.storage.get_trial(trial_id).state.is_finished():
            patiently(lambda: self.storage.set_trial_state_values(trial_id, TrialState.FAIL))

    def _id(self, number: int) -> int:
        if number not in self._ids:
            find = self.storage.get_trial_id_from_study_id_trial_number
            self._ids[number] = patiently(lambda: find(self._study_id, number))
        return self._ids[number]


def attributes(task: Task) -> dict[str, Any]:
    """What a trial carries from its start; each attribute costs a storage two statements, so none that says nothing."""
    more = {"scales": dict(task.scales), "arm": task.arm, "options": dict(task.options)}
    return {"seed": task.seed, **{name: value for name, value in more.items() if value}}


def ending_attributes(record: TrialRecord) -> dict[str, Any]:
    """What a trial gets when it ends."""
    facts = {name: value for name, value in asdict(record.facts).items() if value not in (None, (), {})}
    ending: dict[str, Any] = {"facts": facts, "curve": dict(record.curve), "status": record.status}
    return {**ending, "why": record.why} if record.why else ending


def ended_trial(record: TrialRecord, floor: float) -> FrozenTrial:
    """The trial that a record describes, as Optuna keeps it; `floor` is the least diversity."""
    state = _STATES[record.status]
    constraints = {} if record.diversity is None else {"constraints:diversity": floor - record.diversity}
    return create_trial(
        state=state,
        value=record.loss if state != TrialState.FAIL else None,
        params={"hidden_size": record.hidden_size, "learning_rate": record.learning_rate},
        distributions={"hidden_size": WIDTHS, "learning_rate": RATES},
        user_attrs={**attributes(task_of(record)), **ending_attributes(record)},
        system_attrs=constraints,
        intermediate_values={} if record.loss is None else {record.steps_done: record.loss},
    )


def _task(params: Mapping[str, Any], attrs: Mapping[str, Any]) -> Task:
    return Task(
        hidden_size=params["hidden_size"],
        learning_rate=params["learning_rate"],
        seed=attrs["seed"],
        arm=attrs.get("arm"),
        scales=attrs.get("scales") or {},
        options=attrs.get("options") or {},
    )
