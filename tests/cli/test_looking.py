"""Verbs that look at somebody's folder: they run nothing of it, and write and lock nothing outside of it."""

import os
from pathlib import Path

import pytest
from builders import finished_run

from lrtune.cli import run as run_cli
from lrtune.records.jsonl import write_records
from lrtune.study.study import Study
from lrtune.study.toml import to_toml

EVIL = """
from pathlib import Path
Path("imported").write_text("code of the folder was run")
def train(trial): pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder of a stranger, next to a file of the user's that links in it lead to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRTUNE_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "mine").write_text("precious")
    (run / "study.toml").write_text(to_toml(Study(name="x", widths=(32, 64), trainer="evil:train")))
    records = [
        finished_run(width, rate, 4 + abs(rate - 0.01) * 10, trial=number, steps=10)
        for number, (width, rate) in enumerate((w, r) for w in (32, 64) for r in (0.003, 0.01, 0.03))
    ]
    write_records(run / "records.jsonl", records)
    for name in (".lock", "study.db", "rule.json", "rule.json.bak", "report.html"):
        (run / name).symlink_to(tmp_path / "mine")
    (run / "figures").symlink_to(tmp_path)
    return run


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of every file around the run."""
    files = (path for path in folder.parent.iterdir() if path.is_file())
    return {path.name: (path.stat().st_mode, path.read_bytes()) for path in files}


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    [
        ["status", "run"],
        ["report", "run"],
        ["report", "run", "--images"],
        ["fit", "run", "-o", "run/own.json"],
        ["fit", "run"],
        ["lr", "64"],
        ["dashboard", "run"],
        ["dashboard", "run", "--storage", "sqlite:///typo.db"],
    ],
    ids=" ".join,
)
def test_looking_runs_nothing_and_writes_nothing_outside(folder: Path, verb: list[str]) -> None:
    before = state(folder)
    assert run_cli(verb) in (0, 2)
    assert {name: kept for name, kept in state(folder).items() if name != "lrtune-rule.json"} == before
    assert not (folder.parent / "imported").exists()
    assert not list(folder.parent.glob("*.svg"))


def test_a_dry_run_prints_that_it_imports_the_trainer(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["search", "run/study.toml", "--dry-run"]) == 0
    assert (folder.parent / "imported").exists()
    assert "importing trainer evil:train" in capfd.readouterr().err


def test_an_error_of_megabytes_is_cut_and_cannot_drive_the_terminal(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "study.toml").write_text('[study]\n"\\u001b[2J' + "x" * 3_000_000 + '" = 1\n')
    assert run_cli(["search", "run/study.toml"]) == 2
    err = capfd.readouterr().err
    assert len(err) < 3000 and "\x1b" not in err


def test_a_file_that_cannot_be_written_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.unlink(folder / "report.html")
    (folder / "report.html").mkdir()
    assert run_cli(["report", "run"]) == 2
    assert capfd.readouterr().err == (
        "lrtune: run/report.html: cannot write it: Is a directory; choose another file with -o\n"
    )
