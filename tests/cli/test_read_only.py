"""A run and a working folder that are read-only: verbs that look work, and what cannot be written is named."""

import json
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import finished_run

from lrtune.cli import run as run_cli
from lrtune.records.jsonl import to_json, write_records
from lrtune.search.optuna_study import Trials
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import open_engine, sqlite_url
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.study.toml import to_toml

pytestmark = pytest.mark.slow


@pytest.fixture
def make_read_only() -> Iterator[Callable[[Path], None]]:
    """A function that makes a folder read-only: for root by a mount, since permissions do not stop root."""
    folders: list[Path] = []

    def make(folder: Path) -> None:
        if os.geteuid():
            folder.chmod(0o555)
        else:
            subprocess.run(["mount", "--bind", folder, folder], check=False, capture_output=True)
            done = subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=False, capture_output=True)
            if done.returncode:
                pytest.skip("root may not mount here")
        folders.append(folder)

    yield make
    for folder in folders:
        if os.geteuid():
            folder.chmod(0o755)
        else:
            subprocess.run(["umount", folder], check=True)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder whose storage still has a write-ahead log, as a killed search leaves it."""
    monkeypatch.chdir(tmp_path)
    made, run = tmp_path / "made", tmp_path / "run"
    made.mkdir()
    url = sqlite_url(made)
    leases, trials = Leases(open_engine(url), "own"), Trials(url, "own")
    leases.create(StudySpec(study="", fingerprint="f"))
    records = []
    for width, rate in ((w, r) for w in (32, 64) for r in (0.003, 0.01, 0.03)):
        task = Task(hidden_size=width, learning_rate=rate)
        number = trials.add(task)
        leases.add(number, task)
        records.append(finished_run(width, rate, 4 + abs(rate - 0.01) * 10, trial=number, steps=10))
        leases.put_in(number, to_json(records[-1]))
        trials.tell(records[-1], 0.1)
    write_records(made / "records.jsonl", records)
    (made / "study.toml").write_text(to_toml(Study(name="own", widths=(32, 64), trainer="none:train")))
    assert (made / "study.db-wal").stat().st_size
    shutil.copytree(made, run, ignore=shutil.ignore_patterns("*-shm"))
    trials.close()
    leases.close()
    shutil.rmtree(made)
    return run


def test_a_read_only_run_is_read(
    run: Path, make_read_only: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["fit", "run", "-o", "rule.json"]) == 0
    shutil.copy("rule.json", run)
    before = sorted(path.name for path in run.iterdir())
    make_read_only(run)
    capfd.readouterr()
    assert run_cli(["status", "run"]) == 0
    assert "6 finished" in (out := capfd.readouterr().out) and "records.jsonl and the storage agree" in out
    assert run_cli(["lr", "64", "--rule", "run/rule.json", "--plain"]) == 0
    assert run_cli(["check", "run/rule.json", "--against", "run"]) == 0
    out, err = capfd.readouterr()
    assert "no verdict" in out and "warning: run/verification.json: cannot write it: " in err
    assert run_cli(["fit", "run"]) == 0
    out, err = capfd.readouterr()
    assert "learning rate" in out and "warning: run/rule.json: cannot write the rule" in err
    assert run_cli(["report", "run"]) == 2
    assert "choose another file with -o" in capfd.readouterr().err
    assert run_cli(["report", "run", "-o", "page.html"]) == 0 and Path("page.html").stat().st_size > 100_000
    assert run_cli(["search", "run/study.toml", "--trainer", "lrtune_replay:train", "--out", "run"]) == 2
    assert sorted(path.name for path in run.iterdir()) == before


def test_the_dashboard_shows_a_read_only_run_and_changes_no_run(
    run: Path, make_read_only: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna_dashboard")
    from wsgiref.simple_server import make_server

    import optuna_dashboard

    def serve(storage: object, host: str, port: int) -> None:
        server = make_server(host, 0, optuna_dashboard.wsgi(storage))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://{host}:{server.server_port}/api/studies/1?after=0") as answer:
            trials.append(json.load(answer)["trials"])
        delete = urllib.request.Request(f"http://{host}:{server.server_port}/api/studies/1", method="DELETE")
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(delete)
        server.shutdown()
        server.server_close()

    trials: list[list[object]] = []
    monkeypatch.setattr(optuna_dashboard, "run_server", serve)
    assert run_cli(["dashboard", "run"]) == 0
    make_read_only(run)
    assert run_cli(["dashboard", "run"]) == 0
    assert [len(found) for found in trials] == [6, 6]


def test_a_fit_in_a_read_only_working_folder_is_shown(
    run: Path, make_read_only: Callable[[Path], None], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make_read_only(run)
    os.chdir(run)
    assert run_cli(["fit", "records.jsonl"]) == 2
    out, err = capfd.readouterr()
    assert "learning rate" in out and "lrtune-rule.json: cannot write the rule" in err and "file with -o" in err
    os.chdir(tmp_path)
