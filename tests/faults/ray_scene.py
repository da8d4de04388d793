"""A search on a Ray cluster of two nodes, of which one is removed when a few trials have ended."""

import json
import os
import sys
from pathlib import Path

import scene

from lrtune.search.events import Event, TrialEnded
from lrtune.search.run import run_search


def main() -> int:
    from ray.cluster_utils import Cluster

    out, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = [cluster.add_node(num_cpus=2)]
    ended = []

    def on_event(event: Event) -> None:
        if isinstance(event, TrialEnded):
            ended.append(event.record.worker)
        if len(ended) >= 5 and other:
            print("a node is removed")
            cluster.remove_node(other.pop(), allow_graceful=False)
            print("a node was removed")

    study = scene.study("steady", **settings["study"])
    how = {"engine": "ray", "address": cluster.address, "storage": settings["storage"], "lease_seconds": 12.0}
    try:
        print(run_search(study, out, workers=3, on_event=on_event, write_rule=False, **how).stop_reason)
    finally:
        cluster.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
