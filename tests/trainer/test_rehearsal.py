"""The one run before a search: a trainer that fails is noticed before anything is written."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lrtune.cli import run as run_cli
from lrtune.errors import RunFailedError
from lrtune.study.log import Log
from lrtune.study.study import Study
from lrtune.trainer.rehearsal import rehearse

pytestmark = pytest.mark.slow

FAILS = [
    ("def train(trial): raise ValueError('no such file: tokens.bin')", "ValueError: no such file: tokens.bin"),
    ("import os\ndef train(trial): os.abort()", "it ended with SIGABRT"),
    ("def train(trial): pass", "returned without calling trial.report"),
    ("import nowhere", "cannot import 'own:train'"),
    ("def prepare(study): raise OSError('no disk')\ndef train(trial): trial.report(0, loss=1.0)", "OSError: no disk"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("source", "why"), FAILS, ids=[why for _, why in FAILS])
def test_a_trainer_that_fails_before_its_first_report_is_named(source: str, why: str) -> None:
    Path("own.py").write_text(source)
    with pytest.raises(RunFailedError, match=r"one run at hidden size 16 failed before the search started") as caught:
        rehearse(Study(trainer="own:train", widths=(32, 16)))
    assert why in str(caught.value)


def test_one_report_is_enough_however_long_the_run(tmp_path: Path) -> None:
    Path("own.py").write_text(
        "import time\ndef train(trial):\n    trial.report(0, loss=float(trial.device == 'cpu'))\n    time.sleep(600)"
    )
    assert rehearse(Study(trainer="own:train"))


def test_the_trainer_learns_what_the_study_maximises() -> None:
    Path("own.py").write_text("def train(trial):\n    assert trial.maximize\n    trial.report(0, loss=0.1)")
    assert rehearse(Study(trainer="own:train", maximize=True))


def test_a_run_without_a_report_is_not_waited_for() -> None:
    Path("own.py").write_text("import time\ndef train(trial): time.sleep(600)")
    assert not rehearse(Study(trainer="own:train"), seconds=0.5)


def test_a_search_with_a_failing_program_starts_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    Path("train.py").write_text("import sys\nprint('no GPU', file=sys.stderr)\nsys.exit(3)")
    line = f"{sys.executable} train.py {{learning_rate}} {{hidden_size}}"
    assert run_cli(["search", "--command", line, "--out", "run"]) == 1
    said = capfd.readouterr().err
    assert "failed before the search started: command: exited with code 3; it last wrote:" in said and "no GPU" in said
    assert not Path("run").exists()


LENGTHS = [(40, "expected a run of 30 steps, but got a report of step 40"), (10, "but it ended at step 10")]


@pytest.mark.parametrize(("length", "why"), LENGTHS)
def test_the_whole_run_of_a_program_that_is_not_told_its_length_is_tried(length: int, why: str) -> None:
    Path("train.py").write_text(f"for step in range(0, {length + 1}, 10): print('step', step, 'loss', 5 - step / 100)")
    command = (sys.executable, "train.py", "{learning_rate}", "{hidden_size}")
    study = Study(command=command, log=Log(loss_pattern="loss (.*)"), widths=(16, 32), steps=30, report_every=10)
    with pytest.raises(RunFailedError, match="failed before the search started: steps: expected a run of 30") as caught:
        rehearse(study)
    assert why in str(caught.value)
    assert rehearse(replace(study, steps=length)) and rehearse(replace(study, command=(*command, "{steps}")))


def test_a_long_run_of_a_program_that_is_not_told_its_length_is_not_waited_for() -> None:
    Path("train.py").write_text("import time\nprint('loss 3', flush=True)\ntime.sleep(600)")
    command = (sys.executable, "train.py", "{learning_rate}", "{hidden_size}")
    assert rehearse(Study(command=command, log=Log(loss_pattern="loss (.*)")), seconds=4)
