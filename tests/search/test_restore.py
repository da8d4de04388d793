"""What a search finds of an earlier one: all of it, none twice, whatever became of its storage or its records file."""

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from lrtune.law.fit import fit_run
from lrtune.records.folder import RunFolder
from lrtune.records.jsonl import read_records, to_json
from lrtune.records.record import TrialRecord
from lrtune.search.ending import Ending
from lrtune.search.events import Event, Note, TrialEnded
from lrtune.search.options import SearchResult
from lrtune.search.optuna_study import Trials
from lrtune.search.queue import TaskQueue
from lrtune.search.run import run_search
from lrtune.search.status import status
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import open_engine, sqlite_url
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.study.toml import load_study

pytestmark = pytest.mark.slow

EARLIER = Path(__file__).parent / "earlier"
STUDY = Study(widths=(32, 64), trainer="analytic:train", design="grid", points=3, steps=20, report_every=5)


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def search(out: Path, study: Study = STUDY) -> tuple[SearchResult, list[Event]]:
    events: list[Event] = []
    return run_search(study, out, engine="inline", on_event=events.append, write_rule=False), events


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A run of the first version, which kept whole records in the lease table alone: 8 done, 2 waiting."""
    out = tmp_path / "run"
    shutil.copytree(EARLIER, out)
    with sqlite3.connect(out / "study.db") as database:
        database.executescript((out / "study.sql").read_text())
    database.close()
    (out / "study.sql").unlink()
    return out


def test_a_run_of_the_first_version_is_read(earlier: Path) -> None:
    found = status(earlier)
    assert found.is_whole and not found.repaired and (len(found.records), found.waiting) == (8, 2)
    assert fit_run(read_records(earlier / "records.jsonl").records).rule.cells


def test_a_run_of_the_first_version_resumes(earlier: Path) -> None:
    before = read_records(earlier / "records.jsonl").records
    result, events = search(earlier, load_study(earlier / "study.toml"))
    assert result.ending is Ending.COMPLETE and not notes(events)
    assert result.records[:8] == before
    assert {event.record.trial for event in events if isinstance(event, TrialEnded)} == {8, 9, 10, 11}
    assert any(record.status == "beaten" for record in before)
    assert [record.hidden_size for record in result.records[8:] if record.is_check] == [64], "the largest place"
    assert status(earlier).is_whole


def test_its_records_outlive_its_records_file(earlier: Path) -> None:
    before = read_records(earlier / "records.jsonl").records
    (earlier / "records.jsonl").unlink()
    assert search(earlier, load_study(earlier / "study.toml"))[0].records[:8] == before


def test_the_optuna_study_alone_holds_every_record(tmp_path: Path) -> None:
    """The lease table and records.jsonl may be lost."""
    out = tmp_path / "run"
    first, _ = search(out)
    with sqlite3.connect(out / "study.db") as database:
        database.execute("DELETE FROM lrtune_leases")
    database.close()
    (out / "records.jsonl").unlink()
    again, events = search(out)
    assert again.records == first.records
    assert not [event for event in events if isinstance(event, TrialEnded)]


def test_a_user_sees_in_the_optuna_study_what_happened(tmp_path: Path) -> None:
    result, _ = search(tmp_path / "run")
    loaded = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path / 'run' / 'study.db'}")
    for record, trial in zip(result.records, loaded.trials, strict=True):
        steps, losses = record.curve["step"], record.curve["loss"]
        assert list(trial.intermediate_values) == list(steps)
        assert list(trial.intermediate_values.values()) == pytest.approx(list(losses))
        assert trial.datetime_complete is not None
    best = min((record.loss, record.trial) for record in result.records if record.loss is not None)
    assert (loaded.best_value, loaded.best_trial.number) == best


def _restored(out: Path, tasks: int, ended: int, then: Callable[[Path], None]) -> tuple[TaskQueue, list[str]]:
    """A search of which `ended` of `tasks` runs ended, begun again after `then`."""

    def queue(events: list[Event]) -> TaskQueue:
        leases = Leases(open_engine(sqlite_url(out)), "study")
        leases.create(StudySpec(study="", fingerprint="f"))
        return TaskQueue(leases, Trials(sqlite_url(out), "study"), RunFolder(out), STUDY, 1, events.append)

    first = queue([])
    first.add([Task(hidden_size=32, learning_rate=0.01, seed=seed) for seed in range(tasks)])
    shutil.copy(out / "study.db", out / "snapshot.db")
    first.leases.close()
    first.trials.close()
    shutil.copy(out / "study.db", out / "snapshot.db")
    again = queue([])
    again.restore()
    for lease in [lease for _ in range(ended) for lease in again.leases.claim("w")]:
        again.leases.finish(lease, to_json(_record(lease.trial, seed=lease.task.seed)))
    again.collect()
    again.leases.close()
    again.trials.close()
    then(out)
    events: list[Event] = []
    last = queue(events)
    last.restore()
    return last, notes(events)


def _record(trial: int, seed: int) -> TrialRecord:
    fate: dict[str, Any] = {"status": "finished", "steps": 10, "steps_done": 10, "loss": 4.0}
    return TrialRecord(trial=trial, hidden_size=32, learning_rate=0.01, seed=seed, **fate)


def _older_snapshot(out: Path) -> None:
    shutil.copy(out / "snapshot.db", out / "study.db")


def test_a_storage_older_than_the_records_takes_them_back_and_says_so(tmp_path: Path) -> None:
    queue, said = _restored(tmp_path, tasks=6, ended=4, then=_older_snapshot)
    assert said == ["records.jsonl: restored 4 records to the storage"]
    assert list(queue.folder.records) == [0, 1, 2, 3] and list(queue.pending) == [4, 5]
    assert queue.trials.read().records == queue.folder.records
    assert read_records(tmp_path / "records.jsonl").records == list(queue.folder.records.values())
    assert len(queue.leases.waiting()) == 2


def test_a_snapshot_that_was_gone_on_with_takes_back_the_others_under_new_numbers(tmp_path: Path) -> None:
    def gone_on(out: Path) -> None:
        lines = (out / "records.jsonl").read_text()
        _older_snapshot(out)
        (out / "records.jsonl").write_text(lines.replace('"seed":0', '"seed":9'))

    queue, said = _restored(tmp_path, tasks=2, ended=2, then=gone_on)
    assert {(r.trial, r.seed) for r in queue.folder.records.values()} == {(2, 9), (1, 1)}
    assert list(queue.pending) == [0]
    assert said[0] == "records.jsonl: restored 2 records to the storage"


def test_records_that_were_put_back_are_not_put_back_again(tmp_path: Path) -> None:
    """Killed before records.jsonl was rewritten, with the numbers that they have now."""
    queue, _ = _restored(tmp_path, tasks=2, ended=2, then=lambda out: (out / "study.db").unlink())
    before = list(queue.folder.records.values())
    shifted = [replace(record, trial=record.trial + 5) for record in before]
    queue.folder.records = {record.trial: record for record in shifted}
    queue.folder.write_records()
    again = TaskQueue(queue.leases, queue.trials, RunFolder(tmp_path), STUDY, 1, print)
    again.restore()
    assert list(again.folder.records.values()) == before


def test_a_look_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    search(out)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*") if path.is_file()}
    assert status(out).is_whole
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*") if path.is_file()}
    after[out / ".lock"] = before[out / ".lock"]  # whose process it names
    assert after == before
