"""Storage URLs: a run folder's own database, whatever the folder is named."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lrtune.errors import InputError
from lrtune.search.optuna_study import Trials
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import open_engine, open_to_read, sqlite_url
from lrtune.study.task import Task


@pytest.mark.parametrize("name", ["plain", "what?x=1", "50% off #2", "blank and ü"])
def test_the_database_lies_in_the_run_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    url = sqlite_url(folder)
    leases = Leases(open_engine(url), "study")
    leases.create(StudySpec(study="", fingerprint="f"))
    trials = Trials(url, "study")
    trials.add(Task(hidden_size=8, learning_rate=0.1))
    trials.close()
    leases.close()
    read = Leases(open_to_read(url), "study")
    assert read.fingerprint() == "f"
    read.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "study.db" in [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("what", ["a view", "a pipe", "text", "nothing of a search"])
def test_only_the_tables_of_a_search_are_read(what: str, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    if what == "text":
        path.write_text("x" * 5000)
    else:
        with closing(sqlite3.connect(path)) as other:
            for name in ("lrtune_studies", "lrtune_leases") if what != "nothing of a search" else ():
                other.execute(f"CREATE TABLE {name} (name TEXT)")
            if what == "a view":  # which would never end
                other.execute("DROP TABLE lrtune_leases")
                endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"
                other.execute(f"CREATE VIEW lrtune_leases AS {endless}")
    if what == "a pipe":
        os.mkfifo(tmp_path / "study.db-wal")
    with pytest.raises(InputError, match=r"no table lrtune_leases|cannot read it as a SQLite database") as error:
        open_to_read(f"sqlite:///{path}")
    assert "\n" not in str(error.value)
