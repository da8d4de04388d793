"""A trainer that was changed between two runs in one folder: its losses are not mixed unless that is asked for."""

import sys
from pathlib import Path
from typing import Any

import pytest

from lrtune.errors import InputError
from lrtune.search.run import run_fixed
from lrtune.study.study import Study
from lrtune.study.task import Task

pytestmark = pytest.mark.slow

SOURCE = """
def train(trial):
    if trial.learning_rate > 1:
        raise ValueError("too high")
    for step in range(0, trial.steps + 1, trial.report_every):
        trial.report(step, loss={loss})
"""


def write(folder: Path, loss: float) -> None:
    (folder / "changing.py").write_text(SOURCE.format(loss=loss))
    sys.modules.pop("changing", None)


def run(rate: float, **options: Any) -> list[float | None]:
    study = Study(trainer="changing:train", widths=(8,), steps=4, report_every=2)
    task = Task(hidden_size=8, learning_rate=rate)
    return [record.loss for record in run_fixed(study, [task], Path("run"), engine="inline", **options).records]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_a_changed_trainer_is_refused_and_may_be_accepted_once(tmp_path: Path) -> None:
    write(tmp_path, loss=3.0)
    assert run(0.01) == [3.0]
    assert run(0.02) == [3.0, 3.0]
    write(tmp_path, loss=30.0)
    before = (tmp_path / "run" / "records.jsonl").read_bytes()
    with pytest.raises(InputError, match="the source of changing:train has changed since 2 of the runs"):
        run(0.03)
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == before
    assert run(0.03, accept_changed_trainer=True) == [3.0, 3.0, 30.0]
    assert run(0.04) == [3.0, 3.0, 30.0, 30.0], "what was accepted is not asked about again"


def test_a_trainer_whose_runs_all_failed_may_be_mended(tmp_path: Path) -> None:
    write(tmp_path, loss=3.0)
    assert run(2.0) == [None]
    write(tmp_path, loss=4.25)
    assert run(0.01) == [None, 4.25]
