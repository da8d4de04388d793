"""Kills: afterwards the records are those of an untouched search, none lost, none twice, and no process is left."""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import scene
from commands import is_alive

from lrtune.search.workers.leases import Leases
from lrtune.search.workers.storage import open_engine, sqlite_url

pytestmark = pytest.mark.slow


def test_a_search_whose_workers_parent_and_both_were_killed_ends_as_an_untouched_one(tmp_path: Path):
    out, dice = tmp_path / "run", random.Random(1)
    search = scene.start(out)
    for wanted, victims in ((2, "worker"), (6, "parent"), (12, "both")):
        scene.until(lambda wanted=wanted: len(scene.records(out)) >= wanted, what="a few records")  # type: ignore[misc]
        workers = scene.until(lambda search=search: scene.workers_of(search.pid)[1:], what="two workers")  # type: ignore[misc]
        if victims != "parent":
            scene.kill(dice.choice(workers))
        if victims != "worker":
            scene.kill(search.pid)
            scene.finish(search)
            scene.until(lambda workers=workers: not any(map(is_alive, workers)), 10, "the workers' end")  # type: ignore[misc]
            search = scene.start(out)
    code, said = scene.finish(search)
    assert code == 0, said
    assert scene.essence(scene.records(out)) == scene.untouched()


def test_a_search_killed_during_its_check_of_early_ends_ends_as_an_untouched_one(tmp_path: Path):
    """The check is found out to be one that wins late: what follows, too, is the same."""
    study = {"design": "scale-aware", "widths": [32, 64], "lr_min": 1e-3, "lr_max": 0.3, "pruning": {}}
    settings: dict[str, Any] = {"workers": 1, "study": {**study, "budget": {"trials": 9}}}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code, said = scene.finish(scene.start(whole, "late", **settings))
    assert code == 0, said
    search = scene.start(cut, "late", **settings)
    scene.until(lambda: [one for one in scene.running(cut) if one.task.lenient and one.last], 90, "the check")
    scene.kill(search.pid)
    scene.finish(search)
    code, said = scene.finish(scene.start(cut, "late", **settings))
    assert code == 0, said
    found = scene.records(cut)
    assert scene.essence(found) == scene.essence(scene.records(whole))
    assert any(record.defies for record in found)


def test_an_interrupted_trial_resumes_from_its_checkpoint_bit_for_bit(tmp_path: Path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings: dict[str, Any] = {"tasks": [{"hidden_size": 16, "learning_rate": 0.01}], "workers": 1}
    done, said = scene.finish(scene.start(whole, "slow", **settings))
    assert done == 0, said
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        search, before = scene.start(cut, "slow", **settings), _step(cut)
        scene.until(lambda before=before: _step(cut) > before, what="a few reports")  # type: ignore[misc]
        scene.kill(search.pid, number)
        ended, said = scene.finish(search)
        assert ended == code and said.startswith("interrupted; ") and "the same command again to resume" in said
        assert list((cut / "checkpoints").iterdir()), "the interrupted trial left a checkpoint"
        assert not scene.records(cut)
    done, said = scene.finish(scene.start(cut, "slow", **settings))
    assert done == 0, said
    assert scene.essence(scene.records(cut)) == scene.essence(scene.records(whole))
    assert not (cut / "checkpoints").exists(), "checkpoints are removed when no longer needed"
    assert all(record.attempt == 1 for record in scene.records(cut)), "an interruption is no failed attempt"


def _step(out: Path) -> int:
    """The last step that the storage knows of an unfinished trial."""
    leases = _leases(out)
    rows = [] if leases is None else [*leases.running(), *leases.waiting()]
    return max((lease.last.step for lease in rows if lease.last), default=-1)


def _leases(out: Path) -> Leases | None:
    return Leases(open_engine(sqlite_url(out)), "faults") if (out / "study.toml").exists() else None


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path):
    search = scene.start(tmp_path / "run", "never", workers=1)
    workers = scene.until(lambda: scene.workers_of(search.pid), what="a worker")
    scene.until(lambda: (leases := _leases(tmp_path / "run")) and leases.running(), what="a running trial")
    scene.kill(search.pid, signal.SIGINT)
    time.sleep(0.3)
    assert is_alive(search.pid), "the first Ctrl-C waits for the trial's next report"
    scene.kill(search.pid, signal.SIGINT)
    code, said = scene.finish(search, 20)
    assert code == 130 and said.startswith("interrupted; ")
    assert not any(map(is_alive, workers))


def test_no_process_outlives_a_killed_parent_not_even_a_trainers_own(tmp_path: Path):
    pids = tmp_path / "pids"
    search = scene.start(tmp_path / "run", "with_child", study={"options": {"pids": str(pids)}})
    scene.until(lambda: pids.exists() and len(pids.read_text().split()) == 4, what="two trainers with a child each")
    family = [int(pid) for pid in pids.read_text().split()]
    assert all(map(is_alive, family))
    scene.kill(search.pid)
    scene.finish(search)
    scene.until(lambda: not any(map(is_alive, family)), 10, "the end of all")


@pytest.mark.parametrize("session", [False, True])
def test_no_worker_outlives_a_killed_parent_whose_guards_were_killed_too(tmp_path: Path, session: bool):
    pids = tmp_path / "pids"
    study = {"options": {"pids": str(pids), "session": session}}
    search = scene.start(tmp_path / "run", "with_child", study=study)
    scene.until(lambda: pids.exists() and len(pids.read_text().split()) == 4, what="two trainers with a child each")
    family = [int(pid) for pid in pids.read_text().split()]
    for victim in (*scene.workers_of(search.pid), search.pid):
        scene.kill(victim)
    scene.finish(search)
    scene.until(lambda: not any(map(is_alive, family)), 10, "the end of all")


@pytest.mark.skipif(sys.platform != "linux", reason="a program knows of its supervisor's end on Linux only")
def test_no_program_outlives_its_guard_and_its_worker(tmp_path: Path):
    pids = tmp_path / "pids"
    line = f"import os, time; print(os.getpid(), os.getppid(), file=open({str(pids)!r}, 'w')); time.sleep(600)"
    command = [sys.executable, "-c", line, "{learning_rate}", "{hidden_size}"]
    search = scene.start(tmp_path / "run", workers=1, study={"command": command})
    program, supervisor = scene.until(
        lambda: pids.exists() and [int(pid) for pid in pids.read_text().split()], what="a run"
    )
    (worker,) = {lease.owner.rsplit(":", 3)[1] for lease in scene.running(tmp_path / "run")}
    for victim in (supervisor, int(worker), search.pid):
        scene.kill(victim)
    scene.finish(search)
    scene.until(lambda: not is_alive(program), 10, "the program's end")


def test_two_searches_in_one_folder_the_second_refuses(tmp_path: Path):
    first = scene.start(tmp_path / "run", "slow")
    scene.until(lambda: (tmp_path / "run" / "study.toml").exists(), what="the first search")
    code, said = scene.finish(scene.start(tmp_path / "run", "slow"))
    assert code == 2
    assert said.count("\n") == 1 and f"another search (process {first.pid}) is using" in said
    os.killpg(first.pid, signal.SIGTERM)
    assert scene.finish(first)[0] == 143


def test_a_search_that_ends_early_leaves_no_checkpoint_of_cancelled_runs(tmp_path: Path):
    settings: dict[str, Any] = {"study": {"design": "scale-aware", "widths": [16, 32]}, "checkpoint_seconds": 0.01}
    code, said = scene.finish(scene.start(tmp_path / "run", "steady", **settings))
    assert code == 0 and "in nine cases of ten" in said, said
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_killed_parent_takes_a_worker_along_that_is_stuck_with_pythons_lock(tmp_path: Path):
    out = tmp_path / "run"
    search = scene.start(out, "keeps_the_lock")
    scene.until(lambda: len(scene.running(out)) == 2, what="two trials")
    time.sleep(1)
    workers = scene.workers_of(search.pid)
    scene.kill(search.pid)
    scene.finish(search)
    scene.until(lambda: not any(map(is_alive, workers)), 10, "the workers' end")
