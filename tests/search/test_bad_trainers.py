"""Searches whose trainer misbehaves: each ends by itself with a line that says why, and leaves a readable run."""

import os
import sys
import time
from pathlib import Path

import pytest
from builders import finished_run
from commands import is_alive

from lrtune.errors import RunFailedError
from lrtune.records.jsonl import read_records
from lrtune.report.findings import findings
from lrtune.report.run import load_run
from lrtune.search.run import run_search
from lrtune.search.status import status
from lrtune.study.study import Study
from lrtune.trainer.trial import Trial

pytestmark = pytest.mark.slow

PROGRAM = """
import json, subprocess, sys
print("Epoch 1 {'loss': nan", "\\x1b[31m", flush=True)
if "--fork" in sys.argv:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open("children", "a") as file:
        print(child.pid, file=file)
print(json.dumps({"step": 0, "loss": 4.0}), flush=True)
print("CUDA out of paper", file=sys.stderr)
sys.exit(3)
"""


def nan(trial: Trial) -> None:
    """Never a number, and deaf to being turned down."""
    for step in range(0, trial.steps + 1, trial.report_every):
        trial.report(step, loss=float("nan"))


def number(trial: Trial) -> float:
    return 3.14


def long(trial: Trial) -> None:
    for step in range(0, trial.steps + 11, 5):
        trial.report(step, loss=5 - step / 100)


def text(trial: Trial) -> None:
    trial.report(0, loss="low")  # type: ignore[arg-type]


def raises(trial: Trial) -> None:
    raise ValueError("the weights are not square\nbut 3 x 4")


def search(folder: Path, engine: str = "inline", **changes: object) -> str:
    """The line that a search with one worker ends with."""
    study = Study(**{"widths": (8, 16, 32), "steps": 20, "report_every": 5, **changes})  # type: ignore[arg-type]
    with pytest.raises(RunFailedError) as caught:
        run_search(study, folder, engine=engine, workers=1, write_rule=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("number", "the trainer returned without calling trial.report(step, loss=…)"),
        ("text", "report: expected a number for loss, but got 'low'"),
        ("raises", "ValueError: the weights are not square"),
    ],
)
def test_a_trainer_that_fails_ends_the_search_with_its_reason(name: str, says: str, tmp_path: Path) -> None:
    line = search(tmp_path / "run", trainer=f"test_bad_trainers:{name}")
    assert says in line and line.startswith("trainer: 5 runs in a row failed")
    told = findings(load_run(tmp_path / "run"))
    assert "No rule was found" in told.sentences[0] and says in told.advice and "check-trainer" in told.command
    assert status(tmp_path / "run").is_whole


def test_a_run_that_is_longer_than_the_studys_ends_the_search_at_once(tmp_path: Path) -> None:
    line = search(tmp_path / "run", trainer="test_bad_trainers:long")
    assert line.startswith("trainer: steps: expected a run of 20 steps, but got a report of step 25; train trial.steps")
    assert len(read_records(tmp_path / "run" / "records.jsonl").records) == 1


def test_losses_that_are_never_a_number_end_the_search_without_a_budget(tmp_path: Path) -> None:
    line = search(tmp_path / "run", trainer="test_bad_trainers:nan")
    assert "no run finished" in line and "at the lowest rate" in line
    assert "loss is not finite at step 0" in line
    assert len(read_records(tmp_path / "run" / "records.jsonl").records) < 60


@pytest.mark.parametrize("fork", [False, True])
def test_a_program_that_exits_with_an_error_fails_its_run_and_not_the_worker(
    fork: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text(PROGRAM)
    command = (sys.executable, "program.py", "{learning_rate}", "{hidden_size}", *["--fork"] * fork)
    line = search(tmp_path / "run", command=command)
    assert "5 runs in a row failed" in line
    assert "command: exited with code 3; it last wrote: CUDA out of paper" in line
    records = read_records(tmp_path / "run" / "records.jsonl").records
    assert [record.attempt for record in records] == [1] * 5
    children = Path("children").read_text().split() if fork else []
    assert len(children) == 5 * fork
    assert _gone([int(child) for child in children])


def test_workers_that_cannot_start_end_the_search_with_the_last_line_of_their_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("starts_nowhere.py").write_text(f"import os\nassert os.getpid() == {os.getpid()}, 'not here'\ntrain = print")
    line = search(tmp_path / "run", "local", trainer="starts_nowhere:train")
    assert line.startswith("workers: they end before training (it ended with code 2): error: trainer: ")
    assert "cannot import" in line and line.endswith(": AssertionError: not here")


def _gone(pids: list[int]) -> bool:
    """Whether all of these processes end within a moment; a zombie has."""
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("", ""),
        ("loss is not finite at step 3", "loss is not finite at step 3"),
        (
            "command: exited with code 3; it last wrote:\nloading\nno GPU\n",
            "command: exited with code 3; it last wrote: no GPU",
        ),
        ('Traceback (most recent call last):\n  File "a.py", line 1\nKeyError: 1\n', "KeyError: 1"),
        ('Traceback (most recent call last):\n  File "a.py"\n    x\nValueError: one\ntwo', "ValueError: one"),
        (
            "out of memory with the whole batch at once\nTraceback …\n  File\nMemoryError",
            "out of memory with the whole batch at once",
        ),
    ],
)
def test_why_a_run_ended_in_one_line(why: str, reason: str) -> None:
    assert finished_run(8, 0.1, None, status="failed", why=why).reason == reason
