"""Storage URLs: a run folder's own database, whatever the folder is named."""

from pathlib import Path

import pytest

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
