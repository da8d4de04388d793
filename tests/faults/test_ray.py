"""Ray: a cluster of two nodes on this machine, one of them removed while the search runs."""

from pathlib import Path

import pytest
import scene

pytestmark = pytest.mark.server


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
