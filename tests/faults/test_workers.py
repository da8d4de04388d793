"""Workers that end when they should not, and what their trainers leave: the search replaces them and continues."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import scene
from commands import is_alive

pytestmark = pytest.mark.slow

ONE: dict[str, Any] = {"tasks": [{"hidden_size": 16, "learning_rate": 0.01}], "workers": 1}


def test_a_worker_that_ends_with_code_0_is_replaced(tmp_path: Path) -> None:
    study = {"options": {"mark": str(tmp_path / "mark")}}
    code, said = scene.finish(scene.start(tmp_path / "run", "exits_its_process_once", study=study, **ONE))
    assert code == 0, said
    (record,) = scene.records(tmp_path / "run")
    assert (record.status, record.attempt) == ("finished", 2)


def test_a_worker_that_stands_still_is_replaced_once_its_lease_has_run_out(tmp_path: Path) -> None:
    study = {"options": {"mark": str(tmp_path / "mark")}}
    search = scene.start(tmp_path / "run", "stops_its_process_once", study=study, lease_seconds=2.0, **ONE)
    (worker,) = scene.until(lambda: _at_work(tmp_path / "run"), what="a run")
    code, said = scene.finish(search)
    assert code == 0, said
    (record,) = scene.records(tmp_path / "run")
    assert (record.status, record.attempt) == ("finished", 2) and not is_alive(worker)


@pytest.mark.parametrize(("whom", "times"), [("the supervisor", 1), ("the worker", 4)])
def test_a_terminated_worker_is_replaced(whom: str, times: int, tmp_path: Path) -> None:
    search, told = scene.start(tmp_path / "run", "slow", **ONE), set[int]()
    for _ in range(times):
        worker = scene.until(lambda: _at_work(tmp_path / "run") - told, what="a run by another worker").pop()
        (supervisor,) = (pid for pid in scene.workers_of(search.pid) if worker in scene.workers_of(pid))
        scene.kill(supervisor if whom == "the supervisor" else worker, signal.SIGTERM)
        told.add(worker)
    code, said = scene.finish(search)
    assert code == 0, said
    (record,) = scene.records(tmp_path / "run")
    assert record.status == "finished" and not any(str(worker) in record.worker for worker in told)
    assert record.attempt == 1, "its trial was released, not lost"


def _at_work(out: Path) -> set[int]:
    """Process ids of the workers that have a trial."""
    return {int(lease.owner.rsplit(":", 3)[1]) for lease in scene.running(out)}


def test_a_trainer_that_reads_its_input_finds_it_empty(tmp_path: Path) -> None:
    code, said = scene.finish(scene.start(tmp_path / "run", "reads_its_input", **ONE))
    assert code == 0, said
    (record,) = scene.records(tmp_path / "run")
    assert (record.status, record.why) == ("finished", "")


@pytest.mark.skipif(sys.platform != "linux", reason="finds what left its process group on Linux only")
def test_what_left_its_group_ends_with_a_killed_parent(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    study = {"options": {"pids": str(pids), "session": True}}
    search = scene.start(tmp_path / "run", "with_child", study=study)
    scene.until(lambda: pids.exists() and len(pids.read_text().split()) == 4, what="two trainers with a child each")
    family = [int(pid) for pid in pids.read_text().split()]
    assert {os.getsid(pid) for pid in family[1::2]} == set(family[1::2])
    scene.kill(search.pid)
    scene.finish(search)
    scene.until(lambda: not any(map(is_alive, family)), 10, "the end of all")
