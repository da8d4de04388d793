"""The Optuna study of a search, the source of truth for its trials and their records.

Parameters are ``hidden_size``, ``learning_rate`` and the knobs with wide, fixed bounds (Optuna's samplers fail on a
range that changes). A knob's zero is outside of its logarithmic bounds and stands in the attribute ``knobs``.
Intermediate values are the reported losses. User attributes hold the rest: ``seed`` from the start, with non-empty
``scales, arm, options, knobs``; at the end ``status, why, facts, curve``, and ``run`` with the rest of the record.
Diversity below its floor is a constraint, never a second objective.
"""

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from lrtune.errors import InputError, MissingExtraError
from lrtune.records.jsonl import to_json
from lrtune.records.record import TrialRecord, parse_record
from lrtune.records.storages import TABLES
from lrtune.search.workers.storage import FIRST_PATIENCE, engine_arguments, normalise, patiently, reading, tune
from lrtune.study.task import LR_CEILING, LR_FLOOR, Task

WIDTHS = IntDistribution(1, 2**20)
RATES = FloatDistribution(LR_FLOOR, LR_CEILING, log=True)
KNOBS = FloatDistribution(1e-30, 1e30, log=True)
_OWN = ("hidden_size", "learning_rate")  # parameters that are no knobs
_STATES = {
    "finished": TrialState.COMPLETE,
    "collapsed": TrialState.PRUNED,
    "beaten": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


# The fields of a record that a trial has from its start.
_ASKED = ("trial", "hidden_size", "learning_rate", "seed", "scales", "arm", "options", "knobs")
_MOST_SHOWN = 25  # intermediate values of a trial; each costs a transaction


@dataclass(frozen=True, kw_only=True)
class StoredTrials:
    """A study's trials in a storage, by trial number: records of ended trials, tasks of unfinished ones, and the
    numbers of ended trials without a complete record, from storages of earlier versions."""

    records: dict[int, TrialRecord]
    unfinished: dict[int, Task]
    without_record: tuple[int, ...]


class Trials:
    """The trials of one study in one storage."""

    def __init__(self, url: str, name: str) -> None:
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
                sampler=RandomSampler(seed=0),
                pruner=optuna.pruners.NopPruner(),
                direction="minimize",
                load_if_exists=True,
            )
        )
        self._study_id = self.storage.get_study_id_from_name(name)
        # A cache of the trials that it made.
        self._remembering = optuna.storages.get_storage(self.storage)
        self._ids: dict[int, int] = {}
        self._next = 0

    def close(self) -> None:
        """Close the connections."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def add(self, task: Task) -> int:
        """Add a waiting trial of this task; returns its number. A repeat adds a second trial: call `read` first."""
        knobs = {name: value for name, value in task.knobs.items() if value}
        template = create_trial(
            state=TrialState.WAITING,
            params={"hidden_size": task.hidden_size, "learning_rate": task.learning_rate, **knobs},
            distributions={"hidden_size": WIDTHS, "learning_rate": RATES, **dict.fromkeys(knobs, KNOBS)},
            user_attrs=attributes(task),
        )
        trial_id = self._remembering.create_new_trial(self._study_id, template)
        number = self._number(trial_id)
        self._ids[number] = trial_id
        self._next = number + 1
        return number

    def _number(self, trial_id: int) -> int:
        """The number of a new trial: the expected next one, or else read with the whole trial."""
        with contextlib.suppress(KeyError):
            if self._remembering.get_trial_id_from_study_id_trial_number(self._study_id, self._next) == trial_id:
                return self._next
        return self._remembering.get_trial_number_from_id(trial_id)

    def read(self) -> StoredTrials:
        """All trials in the storage."""
        records: dict[int, TrialRecord] = {}
        tasks: dict[int, Task] = {}
        others = []
        for trial in patiently(lambda: self.storage.get_all_trials(self._study_id, deepcopy=False)):
            if "seed" not in trial.user_attrs:
                continue  # not a search's trial
            if not trial.state.is_finished():
                tasks[trial.number] = _task(trial.params, trial.user_attrs)
            elif "status" in trial.user_attrs:
                try:
                    records[trial.number] = record_of(trial)
                except InputError:
                    others.append(trial.number)
        return StoredTrials(records=records, unfinished=tasks, without_record=tuple(others))

    def task(self, number: int) -> Task:
        """The task of a trial."""
        trial = patiently(lambda: self.storage.get_trial(self._id(number)))
        return _task(trial.params, trial.user_attrs)

    def begin(self, number: int) -> None:
        """Mark a waiting trial as running."""
        trial_id = self._id(number)
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            patiently(lambda: self.storage.set_trial_state_values(trial_id, TrialState.RUNNING))

    def tell(self, record: TrialRecord, floor: float) -> None:
        """Store a trial's record; `floor` is the least diversity. A repeat changes nothing.

        Like `optuna.Study.tell` in fewer transactions: a pruned trial's value is its last loss. It writes the state
        last, so a partly stored trial stays unfinished.
        """
        trial_id = self._id(record.trial)
        state = _STATES[record.status] if record.loss is not None or record.status == "failed" else TrialState.PRUNED
        values = [record.loss] if record.loss is not None and state != TrialState.FAIL else None
        writes: list[Callable[[], Any]] = [
            partial(self.storage.set_trial_user_attr, trial_id, key, value)
            for key, value in ending_attributes(record).items()
        ]
        if record.diversity is not None:
            excess = floor - record.diversity
            writes.append(partial(self.storage.set_trial_system_attr, trial_id, "constraints:diversity", excess))
        writes += [
            partial(self.storage.set_trial_intermediate_value, trial_id, *pair)
            for pair in _intermediate_values(record).items()
        ]
        writes.append(partial(self.storage.set_trial_state_values, trial_id, state, values))
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            for write in writes:
                patiently(write)

    def drop(self, number: int) -> None:
        """Fail a trial that will never run."""
        trial_id = self._id(number)
        if not self.storage.get_trial(trial_id).state.is_finished():
            patiently(lambda: self.storage.set_trial_state_values(trial_id, TrialState.FAIL))

    def _id(self, number: int) -> int:
        if number not in self._ids:
            find = self.storage.get_trial_id_from_study_id_trial_number
            self._ids[number] = patiently(lambda: find(self._study_id, number))
        return self._ids[number]


def open_to_look(url: str) -> optuna.storages.RDBStorage:
    """A storage that a dashboard may show; a SQLite file is opened only to read.

    Raises:
        InputError: the URL is invalid, or the file lacks Optuna's tables.
        RunFailedError: the server is not reachable.
    """
    url, arguments = reading(url, set(TABLES))
    arguments = arguments or engine_arguments(url)
    return patiently(
        lambda: optuna.storages.RDBStorage(url, arguments, skip_compatibility_check=True, skip_table_creation=True),
        patience=FIRST_PATIENCE,
    )


def attributes(task: Task) -> dict[str, Any]:
    """A trial's attributes from its start, without empty ones: each costs the storage two statements."""
    zeros = {name: value for name, value in task.knobs.items() if not value}
    more = {"scales": dict(task.scales), "arm": task.arm, "options": dict(task.options), "knobs": zeros}
    every = {**more, "lenient": task.lenient}
    return {"seed": task.seed, **{name: value for name, value in every.items() if value}}


def ending_attributes(record: TrialRecord) -> dict[str, Any]:
    """A trial's attributes at its end; with its parameters and first attributes they are the whole record."""
    data = json.loads(to_json(record))
    facts = {name: value for name, value in data["facts"].items() if value not in (None, [], {})}
    shown = {"status": record.status, "why": record.why, "facts": facts, "curve": data["curve"]}
    rest = {name: value for name, value in data.items() if name not in shown and name not in _ASKED}
    return {name: value for name, value in shown.items() if value != ""} | {"run": rest}


def record_of(trial: FrozenTrial) -> TrialRecord:
    """The record of an ended trial.

    Raises:
        InputError: its attributes are not a complete record, as in earlier versions.
    """
    attributes = dict(trial.user_attrs)
    rest = attributes.pop("run", None)
    if not isinstance(rest, dict):
        raise InputError("run: missing in an ended trial")
    asked = {name: trial.params[name] for name in _OWN if name in trial.params}
    knobs = _knobs(trial.params, trial.user_attrs)
    return parse_record({"trial": trial.number, **asked, **attributes, **rest, **({"knobs": knobs} if knobs else {})})


def _knobs(params: Mapping[str, Any], attrs: Mapping[str, Any]) -> dict[str, float]:
    """The knobs of a trial: its other parameters, and those that are zero."""
    return {name: value for name, value in params.items() if name not in _OWN} | dict(attrs.get("knobs") or {})


def _intermediate_values(record: TrialRecord) -> dict[int, float]:
    """The reported losses by step; of a long curve an even selection, since the attribute ``curve`` has all."""
    pairs = list(zip(record.curve.get("step", ()), record.curve.get("loss", ()), strict=False))
    if len(pairs) > _MOST_SHOWN:
        pairs = [pairs[round(i * (len(pairs) - 1) / (_MOST_SHOWN - 1))] for i in range(_MOST_SHOWN)]
    return {int(step): math.nan if loss is None else loss for step, loss in pairs if step is not None}


def _task(params: Mapping[str, Any], attrs: Mapping[str, Any]) -> Task:
    return Task(
        hidden_size=params["hidden_size"],
        learning_rate=params["learning_rate"],
        seed=attrs["seed"],
        arm=attrs.get("arm"),
        scales=attrs.get("scales") or {},
        options=attrs.get("options") or {},
        knobs=_knobs(params, attrs),
        lenient=bool(attrs.get("lenient")),
    )
