"""Workers that end when they should not, and what their trainers leave: the search replaces them and goes on."""

import os
import signal
import sys
from pathlib import Path

import pytest
import scene

ONE = {"tasks": [{"hidden_size": 16, "learning_rate": 0.01}], "workers": 1}


def test_a_worker_that_ends_with_code_0_is_replaced(tmp_path: Path) -> None:
    study = {"options": {"mark": str(tmp_path / "mark")}}
    code, said = scene.finish(scene.start(tmp_path / "run", "exits_its_process_once", study=study, **ONE))
    assert code == 0, said
    (record,) = scene.records(tmp_path / "run")
    assert (record.status, record.attempt) == ("finished", 2)


@pytest.mark.parametrize("whom", ["the guard", "the worker"])
def test_a_worker_that_is_told_to_end_is_replaced(whom: str, tmp_path: Path) -> None:
    search = scene.start(tmp_path / "run", "steady", **ONE)
    (lease,) = scene.until(lambda: scene.running(tmp_path / "run"), what="a run")
    worker = int(lease.owner.rsplit(":", 3)[1])
    (guard,) = (pid for pid in scene.workers_of(search.pid) if worker in scene.workers_of(pid))
    scene.kill(guard if whom == "the guard" else worker, signal.SIGTERM)
    code, said = scene.finish(search)
    assert code == 0, said
    (record,) = scene.records(tmp_path / "run")
    assert record.status == "finished" and str(worker) not in record.worker
    assert record.attempt == 1, "its trial was released, not lost"


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
    scene.until(lambda: not any(map(scene.is_alive, family)), 10, "the end of all")
