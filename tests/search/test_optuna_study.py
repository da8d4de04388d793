"""How a trial ends in Optuna: its state, its value, its constraint, the same as the sampler takes a record to mean."""

import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from builders import finished_run

from lrtune.errors import RunFailedError
from lrtune.records.jsonl import to_json
from lrtune.records.record import Status, TrialRecord
from lrtune.search.optuna_study import Trials, record_of
from lrtune.search.queue import TaskQueue
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.trainer.trial import Facts

FLOOR = 0.1


def record(trial: int, status: Status, loss: float | None, diversity: float | None) -> TrialRecord:
    ended: dict[str, Any] = {"status": status, "why": "" if status == "finished" else "a reason", "steps_done": 60}
    curve = {"step": [0, 60], "loss": [7.0, loss]}
    return finished_run(64, 0.02, loss, trial=trial, diversity=diversity, curve=curve, **ended)


def test_trial_numbers_are_the_studys_when_others_add_trials(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    one, other = Trials(url, "study"), Trials(url, "study")
    made = [side.add(Task(hidden_size=64, learning_rate=0.02, seed=n)) for n, side in enumerate((one, one, other, one))]
    assert made == [0, 1, 2, 3]
    assert {number: task.seed for number, task in one.read().unfinished.items()} == {0: 0, 1: 1, 2: 2, 3: 3}


def test_a_trial_is_made_without_reading_it_back(tmp_path: Path) -> None:
    trials = Trials(f"sqlite:///{tmp_path / 'study.db'}", "study")
    trials.add(Task(hidden_size=64, learning_rate=0.02))
    asked: list[str] = []
    sa.event.listen(trials.storage.engine, "before_cursor_execute", lambda _c, _cursor, text, *_: asked.append(text))
    trials.add(Task(hidden_size=64, learning_rate=0.02, seed=1))
    assert asked[-1].startswith("UPDATE trials SET number")


@pytest.mark.parametrize(
    ("task", "carries"),
    [
        (Task(hidden_size=64, learning_rate=0.02), {"seed"}),
        (Task(hidden_size=64, learning_rate=0.02, seed=3, arm="wide"), {"seed", "arm"}),
        (
            Task(hidden_size=64, learning_rate=0.02, scales={"depth": 2.0}, options={"clip": 0.0}),
            {"seed", "scales", "options"},
        ),
        (Task(hidden_size=64, learning_rate=0.02, knobs={"adam_lr": 0.003, "wd": 1e-30}), {"seed"}),
        (Task(hidden_size=64, learning_rate=0.02, knobs={"adam_lr": 0.003, "wd": 0.0}), {"seed", "knobs"}),
    ],
)
def test_a_task_comes_back_whole_from_the_attributes_that_it_needs(
    task: Task, carries: set[str], tmp_path: Path
) -> None:
    trials = Trials(f"sqlite:///{tmp_path / 'study.db'}", "study")
    number = trials.add(task)
    assert trials.read().unfinished == {number: task}
    [stored] = trials.study.get_trials()
    assert stored.user_attrs.keys() == carries


@pytest.mark.parametrize(
    ("status", "loss", "diversity", "state", "value", "constraint"),
    [
        ("finished", 4.0, 0.45, "COMPLETE", 4.0, -0.35),
        ("finished", 6.5, 0.02, "COMPLETE", 6.5, 0.08),  # finished below the floor: not feasible
        ("finished", 4.0, None, "COMPLETE", 4.0, None),
        ("collapsed", 6.5, 0.02, "PRUNED", 6.5, 0.08),
        ("beaten", 4.5, 0.4, "PRUNED", 4.5, -0.3),
        ("diverged", None, None, "PRUNED", None, None),
        ("failed", None, None, "FAIL", None, None),
    ],
)
def test_a_trial_ends_as_its_record_says(
    status: Status,
    loss: float | None,
    diversity: float | None,
    state: str,
    value: float | None,
    constraint: float | None,
    tmp_path: Path,
) -> None:
    trials = Trials(f"sqlite:///{tmp_path / 'study.db'}", "study")
    number = trials.add(Task(hidden_size=64, learning_rate=0.02))
    ended = record(number, status, loss, diversity)
    trials.tell(ended, FLOOR)
    trials.tell(ended, FLOOR)  # as after a kill between telling and writing
    [stored] = trials.study.get_trials()
    assert stored.state.name == state
    assert stored.value == value
    assert stored.params == {"hidden_size": 64, "learning_rate": 0.02}
    found = stored.constraints.get("diversity")
    assert found == (None if constraint is None else pytest.approx(constraint))
    assert stored.user_attrs["status"] == status
    assert stored.intermediate_values == pytest.approx({0: 7.0, 60: math.nan if loss is None else loss}, nan_ok=True)
    assert trials.read().records == {number: ended}


def test_a_trial_gives_its_record_back_whole(tmp_path: Path) -> None:
    trials = Trials(f"sqlite:///{tmp_path / 'study.db'}", "study")
    task = Task(hidden_size=64, learning_rate=1 / 3, seed=7, arm="a", scales={"depth": 2.0}, options={"x": [1, None]})
    whole = TrialRecord(
        trial=trials.add(task),
        hidden_size=64,
        learning_rate=1 / 3,
        seed=7,
        arm="a",
        scales={"depth": 2.0},
        options={"x": [1, None]},
        status="finished",
        steps=200,
        steps_done=200,
        loss=1e-310,
        diversity=0.1 + 0.2,
        tokens=10**12,
        curve={"step": list(range(201)), "loss": [None, *[2.0] * 200], "seen": [None] * 201},
        facts=Facts(parameters=5, regime_changes=(10, 20), conditions={"a": 1, "b": "ü"}, plan={"dtype": "x"}),
        plan={"threads": 2, "members": None},
        texts={"sample": "a\nb\0c"},
        seconds=0.123,
        worker="w:1",
        attempt=3,
        fingerprint="f",
    )
    trials.tell(whole, FLOOR)
    assert to_json(record_of(trials.study.get_trials()[0])) == to_json(whole)
    shown = trials.study.get_trials()[0].intermediate_values
    assert len(shown) == 25 and min(shown) == 0 and max(shown) == 200


def test_a_knob_is_a_parameter_and_its_zero_an_attribute(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    trials = Trials(url, "study")
    for decay in (0.1, 0.0):
        knobs = {"adam_lr": 0.003, "weight_decay": decay}
        number = trials.add(Task(hidden_size=64, learning_rate=0.02, knobs=knobs))
        trials.tell(replace(record(number, "finished", 4.0, 0.5), knobs=knobs), FLOOR)
    one, other = optuna.load_study(study_name="study", storage=url).trials
    assert one.params == {"hidden_size": 64, "learning_rate": 0.02, "adam_lr": 0.003, "weight_decay": 0.1}
    assert other.params == {"hidden_size": 64, "learning_rate": 0.02, "adam_lr": 0.003}
    assert other.user_attrs["knobs"] == {"weight_decay": 0.0}
    assert one.distributions["adam_lr"].log  # type: ignore[attr-defined]
    assert [record_of(trial).knobs["weight_decay"] for trial in (one, other)] == [0.1, 0.0]


def test_a_disk_that_fills_up_during_a_trials_creation_is_one_line() -> None:
    def full(task: Task) -> int:
        cause = sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
        raise optuna.exceptions.StorageInternalError("An exception is raised during the commit.") from cause

    queue = TaskQueue(None, SimpleNamespace(add=full, begin=print), None, Study(), 5, print)  # type: ignore[arg-type]
    with pytest.raises(RunFailedError) as caught:
        queue.add([Task(hidden_size=32, learning_rate=0.01)])
    assert str(caught.value) == ("storage: database or disk is full; free some space and run the same command again")
