"""The search's side of the storage: what it asks while nothing happens, and that it misses nothing of what does."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from builders import finished_run

from lrtune.records.folder import RunFolder
from lrtune.records.jsonl import to_json
from lrtune.search.events import Event, Note, TrialEnded, TrialReported, TrialStarted
from lrtune.search.optuna_study import Trials
from lrtune.search.queue import TaskQueue
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import open_engine, sqlite_url
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.trainer.trial import Report


class Scene:
    """A queue with one task in it, and a worker's view of the same storage. The search's clock stands still."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        url = sqlite_url(folder)
        self.events: list[Event] = []
        self.leases, self.worker = Leases(open_engine(url), "study"), Leases(open_engine(url), "study")
        self.leases.create(StudySpec(study="", fingerprint="f"))
        self.trials = Trials(url, "study")
        self.queue = TaskQueue(self.leases, self.trials, RunFolder(folder), Study(name="study"), 1, self.events.append)
        self.queue.add([Task(hidden_size=64, learning_rate=0.02)])
        self.queue.collect()
        self.asked: list[str] = []
        sa.event.listen(
            self.leases.engine, "before_cursor_execute", lambda _c, _cursor, text, *_: self.asked.append(text)
        )

    def set_clock(self, seconds: int) -> None:
        """Set the clock by which the worker renews its leases."""
        self.worker._now = sa.literal_column(f"({self.worker._now}) + {seconds}", sa.Double)

    def kinds(self) -> list[Any]:
        """The events that trials gave since the last call."""
        seen = [type(event) for event in self.events if isinstance(event, TrialStarted | TrialReported | TrialEnded)]
        self.events.clear()
        return seen

    def close(self) -> None:
        for side in (self.leases, self.worker, self.trials):
            side.close()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(tmp_path, monkeypatch)
    yield made
    made.close()


def finished(trial: int, rate: float = 0.02) -> str:
    record = finished_run(64, rate, 4.0, trial=trial, steps=10)
    return to_json(record)


def test_nothing_is_read_while_nothing_is_written(scene: Scene) -> None:
    for _ in range(20):
        assert scene.queue.collect() == 0
    assert scene.asked == []


def test_what_a_worker_writes_is_seen_at_the_next_look(scene: Scene) -> None:
    scene.kinds()
    [lease] = scene.worker.claim("worker")
    scene.queue.collect()
    assert scene.kinds() == [TrialStarted]
    scene.worker.append(lease, [Report(2, 5.0, None, {})], {})
    scene.queue.collect()
    assert scene.kinds() == [TrialReported]
    scene.worker.finish(lease, finished(lease.trial))
    assert scene.queue.collect() == 1
    assert scene.kinds() == [TrialEnded]


def test_a_report_of_a_measure_to_maximise_is_shown_as_the_trainer_gave_it(scene: Scene) -> None:
    scene.queue.running.study = Study(name="study", maximize=True)
    [lease] = scene.worker.claim("worker")
    scene.worker.append(lease, [Report(2, -0.7, None, {})], {})
    scene.queue.collect()
    assert [event.loss for event in scene.events if isinstance(event, TrialReported)] == [0.7]


def test_a_row_of_an_earlier_version_has_no_last_report(scene: Scene) -> None:
    [lease] = scene.worker.claim("worker")
    with scene.leases.engine.begin() as connection:
        former = {"reports": [[2, 5.0, None, {}]], "texts": {}, "steps": 9}
        connection.execute(sa.text("UPDATE lrtune_leases SET progress = :former"), {"former": json.dumps(former)})
    assert [row.last for row in scene.leases.running()] == [None]
    assert scene.worker.append(lease, [Report(4, 5.0, None, {})], {})
    assert [row.last for row in scene.leases.running()] == [Report(4, 5.0, None, {})]


@pytest.mark.parametrize("clock", [0, -3 * 3600, 3 * 3600])
def test_a_worker_that_falls_silent_is_noticed_though_it_writes_nothing(scene: Scene, clock: int) -> None:
    """Also where the lease's time lies hours ahead or behind: only how long it stays the same counts."""
    scene.set_clock(clock)
    [lease] = scene.worker.claim("worker")
    scene.queue.collect()
    for _ in range(30):
        scene.now += 2.0
        scene.queue.collect()
        scene.queue.take_back_silent(65.0)
    assert [event for event in scene.events if isinstance(event, Note)] == []
    for _ in range(6):
        scene.now += 2.0
        scene.queue.collect()
        scene.queue.take_back_silent(65.0)
    assert not scene.worker.finish(lease, finished(lease.trial))


@pytest.mark.parametrize("clock", [-3 * 3600, 0, 3 * 3600])
def test_a_renewed_worker_is_left_alone_whatever_the_clock(scene: Scene, clock: int) -> None:
    [lease] = scene.worker.claim("worker")
    for number in range(30):
        scene.worker.renew("worker")
        if number == 10:
            scene.set_clock(clock)
        scene.now += 10.0
        scene.queue.collect()
        scene.queue.take_back_silent(60.0)
    assert scene.worker.finish(lease, finished(lease.trial))


def test_a_search_that_was_stopped_for_long_does_not_take_the_silence_for_its_workers(scene: Scene) -> None:
    [lease] = scene.worker.claim("worker")
    scene.queue.collect()
    scene.now += 600.0  # SIGSTOP, SIGCONT: its workers stood still too
    scene.queue.collect()
    scene.queue.take_back_silent(60.0)
    assert scene.worker.finish(lease, finished(lease.trial))


def test_a_record_that_cannot_be_read_fails_its_trial_alone(scene: Scene) -> None:
    scene.queue.add([Task(hidden_size=64, learning_rate=0.04)])
    for result in ('{"trial": 0, "loss": 1e301', None):
        [lease] = scene.worker.claim("worker")
        scene.worker.finish(lease, result or finished(lease.trial, 0.04))
    assert scene.queue.collect() == 2
    bad, good = scene.queue.usable()
    assert bad.status == "failed" and "cannot read its record" in bad.why and bad.learning_rate == 0.02
    assert good.status == "finished"
    again = TaskQueue(scene.leases, scene.trials, scene.queue.folder, scene.queue.study, 1, scene.events.append)
    again.restore()
    assert list(again.folder.records.values()) == [bad, good]


def test_what_a_worker_hands_in_while_the_search_starts_is_taken_in(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    [lease] = scene.worker.claim("worker")
    states = scene.leases.states

    def then_hand_in() -> dict[int, str]:
        before = states()
        scene.worker.finish(lease, finished(lease.trial))
        return before

    monkeypatch.setattr(scene.leases, "states", then_hand_in)
    again = TaskQueue(scene.leases, scene.trials, scene.queue.folder, scene.queue.study, 1, scene.events.append)
    again.restore()
    assert again.collect() == 1
    assert again.pending == {} and [record.status for record in again.usable()] == ["finished"]


def test_a_trial_whose_taking_off_the_queue_was_cut_short_is_waited_for_no_more(scene: Scene) -> None:
    assert scene.leases.cancel(0)  # killed here, before Optuna was told
    again = TaskQueue(scene.leases, scene.trials, scene.queue.folder, scene.queue.study, 1, scene.events.append)
    again.restore()
    assert again.pending == {}


def test_a_database_without_a_version_is_always_queried(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.leases.engine.dialect, "name", "postgresql")
    assert scene.leases.has_news() and scene.leases.has_news()


def test_after_an_error_the_watch_is_opened_again(scene: Scene) -> None:
    assert not scene.leases.has_news()
    assert scene.leases._watching is not None
    scene.leases._watching.close()
    assert scene.leases.has_news()
    scene.leases.has_news()
    assert not scene.leases.has_news()
