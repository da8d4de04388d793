"""Ray: a cluster of two nodes on this machine, one of them removed while the search runs."""

from pathlib import Path

import pytest
import scene
from commands import is_alive

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_an_own_cluster_is_private_and_ends_with_a_killed_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not even with Ray's variables of another cluster, and also if the cluster's supervisor is killed."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'lrtune[cluster]'")
    psutil = pytest.importorskip("psutil")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-another-cluster")
    out = tmp_path / "run"
    search = scene.start(out, "steady", engine="ray", workers=1)
    scene.until(lambda: scene.running(out), 120, "a run")
    family = [psutil.Process(search.pid), *psutil.Process(search.pid).children(recursive=True)]
    assert any("raylet" in process.name() for process in family)
    ports = {
        entry.laddr.ip.removeprefix("::ffff:")
        for process in family
        for entry in process.net_connections("tcp")
        if entry.status == psutil.CONN_LISTEN
    }
    assert ports == {"127.0.0.1"}
    (supervisor,) = psutil.Process(search.pid).children()
    access = supervisor.environ()
    assert access["RAY_AUTH_MODE"] == "token" and len(access["RAY_AUTH_TOKEN"]) == 64
    assert access["RAY_AUTH_TOKEN"] not in str([process.cmdline() for process in family])
    scene.kill(supervisor.pid)
    scene.kill(search.pid)
    scene.finish(search)
    scene.until(lambda: not any(is_alive(process.pid) for process in family), 10, "the end of all")


def test_a_lost_nodes_trials_go_back_to_the_queue(postgres, tmp_path: Path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'lrtune[cluster]'")
    code, said = scene.finish(scene.start(tmp_path / "untouched", "steady"))
    assert code == 0, said
    out = tmp_path / "run"
    search = scene.start(out, script="ray_scene.py", storage=postgres.url, study={"name": "lost-node"})
    code, said = scene.finish(search, 280)
    assert code == 0, said
    assert "a node was removed" in said
    assert scene.essence(scene.records(out)) == scene.essence(scene.records(tmp_path / "untouched"))
