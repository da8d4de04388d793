"""Databases and journals of Optuna and MLflow: what is read of them, and that nothing is written."""

import math
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from lrtune.errors import InputError
from lrtune.records.columns import Columns
from lrtune.records.importers import Imported, read_sources
from lrtune.records.sqlite_files import connector

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {"lr": FloatDistribution(1e-5, 1, log=True), "hidden_size": IntDistribution(1, 1024)}
LOSSES = {0.1: 3.5, 0.2: 3.0, 0.4: 3.25}


def study(path: Path, direction: str = "minimize", **given: object) -> optuna.Study:
    return optuna.create_study(study_name="sweep", storage=f"sqlite:///{path}", direction=direction, **given)  # type: ignore[arg-type]


def add(study: optuna.Study, lr: float, **given: object) -> None:
    study.add_trial(create_trial(params={"lr": lr, "hidden_size": 64}, distributions=SPACE, **given))  # type: ignore[arg-type]


def losses(imported: Imported) -> dict[float, float | None]:
    return {record.learning_rate: record.loss for record in imported.records}


def test_the_direction_belongs_to_the_value_alone(tmp_path: Path) -> None:
    accuracy = study(tmp_path / "a.db", "maximize")
    for lr, loss in LOSSES.items():
        add(accuracy, lr, value=math.exp(-loss), user_attrs={"loss": loss, "nested": {"val": loss + 1}})
    assert losses(read_sources([tmp_path / "a.db"])) == LOSSES
    assert losses(read_sources([tmp_path / "a.db"], Columns(loss="nested.val"))) == {
        k: v + 1 for k, v in LOSSES.items()
    }
    by_value = read_sources([tmp_path / "a.db"], Columns(loss="value"))
    assert losses(by_value) == {lr: -math.exp(-loss) for lr, loss in LOSSES.items()}


def test_a_flag_against_the_study_is_refused(tmp_path: Path) -> None:
    add(study(tmp_path / "a.db"), 0.1, value=3.0)
    with pytest.raises(InputError, match=r"--maximize: cannot apply: the study in .* minimises 'value'"):
        read_sources([tmp_path / "a.db"], Columns(maximize=True))


def test_one_of_several_objectives_can_be_named(tmp_path: Path) -> None:
    both = optuna.create_study(
        study_name="m", storage=f"sqlite:///{tmp_path}/m.db", directions=["minimize", "maximize"]
    )
    for lr, loss in LOSSES.items():
        add(both, lr, values=[loss, 10 - loss])
    assert losses(read_sources([tmp_path / "m.db"], Columns(loss="values_0"))) == LOSSES
    assert losses(read_sources([tmp_path / "m.db"], Columns(loss="values_1"))) == {k: v - 10 for k, v in LOSSES.items()}


def test_trials_that_break_a_constraint_or_fail_are_not_good(tmp_path: Path) -> None:
    sweep = study(tmp_path / "a.db")
    for lr, excess in ((0.1, -1.0), (0.2, -1.0), (0.4, 1.0), (0.05, 1.0)):
        sweep.enqueue_trial({"lr": lr, "hidden_size": 64})
        trial = sweep.ask(SPACE)
        trial.set_constraint("stable", excess)
        sweep.tell(trial, LOSSES.get(lr, 2.0))
    add(sweep, 0.8, state=TrialState.FAIL)
    add(sweep, 0.01, state=TrialState.FAIL)
    add(sweep, 0.3, state=TrialState.PRUNED)
    add(sweep, 0.3, state=TrialState.RUNNING)
    imported = read_sources([tmp_path / "a.db"])
    assert {(r.learning_rate, r.status) for r in imported.records} == {
        (0.1, "finished"),
        (0.2, "finished"),
        (0.4, "collapsed"),
        (0.8, "diverged"),
        (0.3, "beaten"),
    }
    assert "left out, breaks a constraint, by 'state': 1 row (trial 3: 'infeasible')" in imported.summary
    how = "too high a rate since it breaks a constraint, by 'state', above all finished rates of its size"
    assert f"taken as {how}: 1 row (trial 2: 'infeasible')" in imported.summary
    assert "left out, failed, by 'state': 1 row (trial 5: 'fail')" in imported.summary
    assert "left out, not ended yet, by 'state': 1 row (trial 7: 'running')" in imported.summary


def test_a_journal_and_a_read_only_database_are_read(tmp_path: Path) -> None:
    journal = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(tmp_path / "journal.log"))))
    folder = tmp_path / "a folder? with #signs"
    folder.mkdir()
    database = study(tmp_path / "a.db")
    for lr, loss in LOSSES.items():
        add(journal, lr, value=loss)
        add(database, lr, value=loss)
    (tmp_path / "a.db").rename(folder / "a.db")
    os.chmod(folder / "a.db", 0o400)
    os.chmod(tmp_path / "journal.log", 0o400)
    os.chmod(folder, 0o500)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    try:
        assert losses(read_sources([tmp_path / "journal.log"])) == LOSSES
        os.symlink(folder, tmp_path / "link")
        assert losses(read_sources([tmp_path / "link" / "a.db"])) == LOSSES
        assert losses(read_sources([f"{folder}/a.db#sweep"])) == LOSSES
        assert losses(read_sources([f"sqlite:///{tmp_path}/link/a.db?timeout=5#sweep"])) == LOSSES
        os.unlink(tmp_path / "link")
    finally:
        os.chmod(folder, 0o700)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_a_database_in_use_is_read_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    sweep = study(path)
    for lr, loss in LOSSES.items():
        add(sweep, lr, value=loss)
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("UPDATE trial_values SET value = 9 WHERE value = 3.5")
        writer.commit()
        assert losses(read_sources([path])) == {**LOSSES, 0.1: 9.0}
        with closing(connector(path)()) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM trial_values")


def test_a_slip_in_a_url_makes_no_file_and_shows_no_password(tmp_path: Path) -> None:
    for source in (
        f"sqlite:///{tmp_path}/typo.db",
        str(tmp_path / "typo.db"),
        "postgresql://me:s3cret@localhost:1/none",
        "postgresql://me:s3cret#more@localhost:1/none#study",
    ):
        with pytest.raises(InputError) as caught:
            read_sources([source])
        assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_another_or_hides_a_view_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    add(study(path), 0.1, value=3.0)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE trial_params RENAME TO others")
        connection.execute("CREATE VIEW trial_params AS SELECT * FROM others")
    connection.close()
    with pytest.raises(InputError, match="expected a database of Optuna or MLflow, but it has the tables of neither"):
        read_sources([path])
    path.write_bytes(b"SQLite format 3\x00 and no more")
    with pytest.raises(InputError, match="cannot read it as a SQLite database"):
        read_sources([path])


def test_a_database_of_mlflow_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.executescript("""
            CREATE TABLE runs (run_uuid TEXT, status TEXT, lifecycle_stage TEXT, start_time INTEGER);
            CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
            CREATE TABLE latest_metrics (key TEXT, value REAL, timestamp INTEGER, step INTEGER, is_nan INTEGER,
                run_uuid TEXT);
            INSERT INTO runs VALUES ('a', 'FINISHED', 'active', 1), ('b', 'FAILED', 'active', 2),
                ('c', 'FINISHED', 'active', 3), ('d', 'FINISHED', 'deleted', 4);
            INSERT INTO params VALUES ('lr', '0.1', 'a'), ('lr', '0.4', 'b'), ('lr', '0.2', 'c'), ('lr', '0.3', 'd'),
                ('d_model', '64', 'a'), ('d_model', '64', 'b'), ('d_model', '64', 'c'), ('d_model', '64', 'd');
            INSERT INTO latest_metrics VALUES ('val/loss', 3.5, 1, 9, 0, 'a'), ('val/loss', 0.0, 1, 9, 1, 'b'),
                ('val/loss', 3.0, 1, 9, 0, 'c');
        """)
    connection.close()
    imported = read_sources([path])
    assert losses(imported) == {0.1: 3.5, 0.4: None, 0.2: 3.0}
    assert [record.status for record in imported.records] == ["finished", "diverged", "finished"]
    assert losses(read_sources([f"sqlite:///{path}"])) == losses(imported)
