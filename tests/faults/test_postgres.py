"""PostgreSQL as the meeting place: restarted, its connections cut, its password kept out of everything."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import scene

from lrtune.search.workers.leases import Leases
from lrtune.search.workers.storage import open_engine

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_a_restart_and_cut_connections_lose_nothing(postgres, tmp_path: Path):
    out = tmp_path / "run"
    search = scene.start(out, storage=postgres.url, workers=4)
    scene.until(lambda: len(scene.records(out)) >= 3, 60, "a few records")
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'lrtune'")
    scene.until(lambda: len(scene.records(out)) >= 6, 60, "more records")
    postgres.control("restart", "-m", "immediate")
    code, said = scene.finish(search)
    assert code == 0, said
    assert scene.essence(scene.records(out)) == scene.untouched()
    assert "s3cret-word" not in said
    for path in out.rglob("*"):
        assert not path.is_file() or b"s3cret-word" not in path.read_bytes(), path
    assert "s3cret" not in str(postgres.sql("SELECT spec FROM lrtune_studies"))


def test_a_failover_is_waited_out_like_a_restart(postgres, tmp_path: Path):
    """The server that the connections lead to is read-only for some seconds; then new connections may write."""
    out = tmp_path / "run"
    search = scene.start(out, storage=postgres.url, workers=2, study={"name": "failover"})
    scene.until(lambda: len(scene.records(out)) >= 3, 60, "a few records")
    postgres.sql("ALTER DATABASE lrtune SET default_transaction_read_only = on", "postgres")
    try:
        postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'lrtune'", "postgres")
        before = len(scene.records(out))
        time.sleep(4)
        assert search.poll() is None and len(scene.records(out)) <= before + 2
    finally:
        postgres.sql("ALTER DATABASE lrtune RESET default_transaction_read_only", "postgres")
    code, said = scene.finish(search)
    assert code == 0, said
    assert scene.essence(scene.records(out)) == scene.untouched()


def test_workers_join_from_a_second_terminal(postgres, tmp_path: Path):
    out = tmp_path / "run"
    search = scene.start(out, "slow", storage=postgres.url, workers=1, study={"name": "joined", "widths": [16]})
    leases = Leases(open_engine(postgres.url), "joined")
    scene.until(lambda: (out / "study.toml").exists(), what="the search")
    join = [sys.executable, "-m", "lrtune", "worker", "--storage", postgres.url, "--study", "joined"]
    worker = subprocess.Popen(join, env=scene.environment(), cwd=scene.HERE, stderr=subprocess.PIPE, text=True)
    code, said = scene.finish(search)
    assert code == 0, said
    _, error = worker.communicate(timeout=60)
    assert worker.returncode == 0, error
    assert "s3cret" not in error
    assert len({record.worker for record in scene.records(out)}) == 2, "both trained"
    assert not leases.running() and not leases.waiting()
    leases.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://lrtune:s3cret-word@127.0.0.1:1/lrtune", "storage: "),
        ("postgresql://lrtune:s3cret-word@127.0.0.1:{port}/nothing", "does not exist"),
        ("postgres ql://lrtune:s3cret-word@/", "storage: expected postgresql://"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_its_password(postgres, url, expected, tmp_path: Path):
    search = scene.start(tmp_path / "run", storage=url.format(port=postgres.port))
    code, said = scene.finish(search)
    assert code in (1, 2)
    assert said.count("\n") == 1 and said.startswith("error: ") and expected in said
    assert "s3cret" not in said
