"""What every engine must do: keep its workers at work, replace those that end, and stop when it is asked to."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lrtune.errors import RunFailedError
from lrtune.records.jsonl import from_json
from lrtune.records.record import TrialRecord
from lrtune.search.workers.engine import ENGINES, Engine, make_engine
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import open_engine, sqlite_url
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.study.toml import to_toml
from lrtune.trainer.trial import Trial

pytestmark = pytest.mark.slow

RATES = (0.01, 0.02, 0.04)


def good(trial: Trial) -> None:
    for step in range(0, trial.steps + 1, trial.report_every):
        if not trial.report(step, loss=4 - 0.1 * step):
            return


def ends_its_worker_once(trial: Trial) -> None:
    """By an error that is not its trial's; the second attempt goes through."""
    mark = Path(str(trial.options["mark"]))
    if not mark.exists():
        mark.write_text("")
        raise RunFailedError("the storage is gone")
    good(trial)


def waits(trial: Trial) -> None:
    """Reports for as long as it is let."""
    while trial.report(1, loss=3.0):
        time.sleep(0.01)


def hangs_at_the_lowest_rate(trial: Trial) -> None:
    while trial.learning_rate == RATES[0]:
        time.sleep(0.02)
    good(trial)


def leaves_a_thread(trial: Trial) -> None:
    """Which ends never, and which an interpreter waits for at its end."""
    if trial.learning_rate == RATES[0]:
        threading.Thread(target=threading.Event().wait).start()
    good(trial)


def hangs_mute(trial: Trial) -> None:
    """With nowhere to print to."""
    sys.stdout.close()
    sys.stderr = None
    hangs_at_the_lowest_rate(trial)


def hangs(trial: Trial) -> None:
    while True:
        time.sleep(0.02)


class Scene:
    """A study in a storage, and one worker for it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.url = sqlite_url(folder)
        self.leases = Leases(open_engine(self.url), "study")
        self.engine: Engine | None = None

    def start(self, trainer: str, *rates: float, **more: Any) -> Engine:
        options = {"mark": str(self.folder / "mark")}
        study = Study(trainer=f"test_engines:{trainer}", steps=10, report_every=2, widths=(32,), options=options)
        spec = {"study": to_toml(study), "fingerprint": "f", "checkpoints": str(self.folder / "checkpoints"), **more}
        self.leases.create(StudySpec(**spec))
        for number, rate in enumerate(rates or RATES):
            self.leases.add(number, Task(hidden_size=32, learning_rate=rate))
        logs = self.folder / "logs"
        self.engine = make_engine(self.name, url=self.url, study="study", workers=1, device="cpu", logs=logs)
        self.engine.start()
        return self.engine

    def records(self) -> list[TrialRecord]:
        return [from_json(result) for _, result in self.leases.ended()]

    def until(self, condition: Callable[[list[tuple[str, str]]], Any]) -> list[tuple[str, str]]:
        """Wait for a condition on the workers that were replaced meanwhile; returns those."""
        assert self.engine is not None
        lost: list[tuple[str, str]] = []
        deadline = time.monotonic() + 60
        while not condition(lost):
            assert time.monotonic() < deadline, f"waited in vain; {lost}; {self.engine.tail()}"
            lost += self.engine.replace_dead()
            time.sleep(0.02)
        return lost

    def close(self) -> None:
        if self.engine is not None:
            self.engine.kill()
        self.leases.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster for all tests; what a search does about its own is another test's matter."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'lrtune[cluster]'")
    ray.init(address="local", _node_ip_address="127.0.0.1", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.server if name == "ray" else ()) for name in ENGINES])
def scene(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    if request.param == "ray":
        request.getfixturevalue("cluster")
    scene = Scene(request.param, tmp_path)
    yield scene
    scene.close()


def test_all_trials_are_trained_and_no_worker_is_left(scene: Scene) -> None:
    engine = scene.start("good")
    assert engine.count == 1 and not engine.is_gpu
    assert scene.until(lambda _: len(scene.records()) == 3) == []
    assert {record.status for record in scene.records()} == {"finished"}
    assert engine.alive() == 1, "it waits for more"
    scene.leases.set_state("stopping")
    engine.ask_to_stop()
    assert engine.wait(30)
    engine.kill()
    assert engine.alive() == 0


def test_a_worker_that_ends_is_replaced_and_known_by_a_mark_in_what_it_held(scene: Scene) -> None:
    scene.start("ends_its_worker_once", 0.01)
    ((mark, how),) = scene.until(len)
    (lease,) = scene.leases.running()
    assert mark in lease.owner and how
    assert scene.leases.release(lease, counted=True)
    assert scene.until(lambda _: scene.records()) == []
    (record,) = scene.records()
    assert (record.status, record.attempt) == ("finished", 2) and mark not in record.worker


def test_asked_to_stop_it_releases_the_trial_at_the_next_report_and_is_not_replaced(scene: Scene) -> None:
    engine = scene.start("waits", 0.01)
    scene.until(lambda _: scene.leases.running())
    engine.ask_to_stop()
    assert engine.wait(30)
    engine.replace_dead()
    assert engine.wait(0) and not scene.leases.running()
    (waiting,) = scene.leases.waiting()
    assert waiting.attempt == 0 and waiting.last


def test_a_hanging_trial_ends_with_its_worker_and_another_worker_trains_the_others(scene: Scene) -> None:
    scene.start("hangs_at_the_lowest_rate", trial_timeout=0.5)
    lost = scene.until(lambda _: len(scene.records()) == 3)
    assert len(lost) == 1
    why = {record.learning_rate: record.why for record in scene.records()}
    assert why.pop(0.01) == "timed out after 0.5 s (--trial-timeout); last report at step 0"
    assert set(why.values()) == {""}


@pytest.mark.parametrize("scene", ["local"], indirect=True)
def test_a_process_ends_whatever_its_trainer_left_in_it(scene: Scene) -> None:
    engine = scene.start("leaves_a_thread")
    scene.until(lambda _: len(scene.records()) == 3)
    engine.ask_to_stop()
    assert engine.wait(60)


@pytest.mark.parametrize("scene", ["local"], indirect=True)
def test_a_hanging_trainer_that_closed_the_output_ends_too(scene: Scene) -> None:
    scene.start("hangs_mute", trial_timeout=0.5)
    assert len(scene.until(lambda _: len(scene.records()) == 3)) == 1


def test_killed_it_leaves_no_worker(scene: Scene) -> None:
    engine = scene.start("hangs", 0.01)
    scene.until(lambda _: scene.leases.running())
    engine.kill()
    assert engine.alive() == 0 and engine.wait(0) and engine.replace_dead() == []
    assert not scene.records()
