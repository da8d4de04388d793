"""What the disk, another program or another study can do to a run folder, and what is said about it."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import scene

from lrtune.search.status import status

pytestmark = pytest.mark.slow


def test_a_full_disk_is_reported_and_leaves_a_run_that_resumes(tmp_path: Path):
    out = tmp_path / "run"
    code, said = scene.finish(scene.start(out, limit=400_000, study={"widths": [16], "points": 24}))
    assert code == 1
    assert said.count("\n") == 1 and said.startswith("error: "), said
    assert "free some space and run the same command again" in said
    half = scene.records(out)
    assert status(out, repair=False).bad_lines == ()
    code, said = scene.finish(scene.start(out, study={"widths": [16], "points": 24}))
    assert code == 0, said
    found = scene.records(out)
    assert len(found) == len(set(scene.essence(found))) == 26
    assert set(scene.essence(half)) <= set(scene.essence(found))


def test_a_database_locked_by_another_program_is_waited_for(tmp_path: Path):
    out = tmp_path / "run"
    search = scene.start(out, study={"widths": [16]})
    scene.until(lambda: scene.running(out), what="a run")
    other = sqlite3.connect(out / "study.db", isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(2)
    other.execute("ROLLBACK")
    other.close()
    code, said = scene.finish(search)
    assert code == 0, said
    assert len(scene.records(out)) == 7


@pytest.mark.parametrize("place", ["/proc/run", "file/run"])
def test_a_folder_that_cannot_be_written_to_is_refused(place: str, tmp_path: Path):
    (tmp_path / "file").write_text("")
    code, said = scene.finish(scene.start(tmp_path / place))
    assert code == 2
    assert said.count("\n") == 1 and "out: cannot write to" in said


def test_a_damaged_database_is_one_line(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    code, said = scene.finish(scene.start(tmp_path / "run"))
    assert code == 1
    assert said.count("\n") == 1 and said.startswith("error: storage: "), said


def test_runs_that_all_fail_end_the_search_with_the_trainers_own_words(tmp_path: Path):
    code, said = scene.finish(scene.start(tmp_path / "run", "always_raises"))
    assert code == 1
    assert said.count("\n") == 1
    assert "runs in a row failed" in said and "ValueError: no such file: tokens.bin" in said
    assert all("always_raises" in record.why for record in scene.records(tmp_path / "run"))


def test_a_poisonous_trial_is_given_up_and_a_hanging_one_timed_out(tmp_path: Path):
    small = {"widths": [16], "points": 2, "steps": 12}
    code, said = scene.finish(scene.start(tmp_path / "run", "poison_or_hang", study=small, attempts=2, trial_timeout=4))
    assert code == 0, said
    why = {record.learning_rate > 0.1: record.why for record in scene.records(tmp_path / "run") if record.why}
    assert "gave up after 2 attempts" in why[True]
    assert "timed out after 4 s (--trial-timeout)" in why[False]


def test_a_trainer_that_keeps_pythons_lock_is_given_up_once_its_lease_has_run_out(tmp_path: Path):
    one: dict[str, Any] = {"tasks": [{"hidden_size": 16, "learning_rate": 0.01}], "workers": 1}
    scene.finish(scene.start(tmp_path / "run", "keeps_the_lock", attempts=2, lease_seconds=2.0, **one))
    [record] = scene.records(tmp_path / "run")
    assert record.status == "failed" and "gave up after 2 attempts" in record.why
