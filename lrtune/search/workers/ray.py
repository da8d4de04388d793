"""Workers as actors of a Ray cluster. Ray places them and detects lost nodes; all else works as on one machine."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, MissingExtraError, plain
from lrtune.search.workers.engine import Engine
from lrtune.search.workers.local import python
from lrtune.search.workers.process import to_json
from lrtune.search.workers.worker import WorkerSpec
from lrtune.trainer import supervisor

try:
    import ray

    from lrtune.search.workers import ray_head
except ImportError:
    raise MissingExtraError("cluster", "ray", "--engine ray") from None

_MOST_WORKERS = 8
_START_SECONDS = 60.0
_KILL_SECONDS = 5.0


@dataclass(frozen=True)
class _Member:
    actor: Any
    run: Any
    token: str


class RayEngine(Engine):
    """See `lrtune.search.workers.engine.Engine`. If a node is lost, its workers start again on another.

    Args:
        spec: the specification of all workers.
        count: how many to keep running; None for as many as fit into the cluster.
        gpus: GPUs per worker.
        address: of a cluster; None to start one on this machine.
    """

    def __init__(self, spec: WorkerSpec, count: int | None, gpus: float, address: str | None) -> None:
        self.spec, self.gpus, self.address = spec, gpus, address
        self.wanted, self.count, self.is_gpu = count, count or 1, gpus > 0
        self._members: list[_Member] = []
        self._is_stopping = False
        self._is_ours = False
        self._cluster: _OwnCluster | None = None
        self._last = ""

    def start(self) -> None:
        """Connect to the cluster, or start one on this machine, and place the workers."""
        if not ray.is_initialized():
            self._connect()
        resources = ray.cluster_resources()
        most = resources.get("GPU", 0) / self.gpus if self.gpus else resources.get("CPU", 1)
        self.count = self.wanted or max(1, min(_MOST_WORKERS, int(most)))
        for _ in range(self.count):
            self._place()

    def _connect(self) -> None:
        how = {"log_to_driver": False, "logging_level": "error"}
        self._is_ours = True
        try:
            if self.address is not None:
                ray.init(address=self.address, **how)
                return
            # Without an address Ray would join any cluster on this machine.
            self._cluster = _OwnCluster()
            with ray_head.on_loopback():
                ray.init(address=self._cluster.address, _node_ip_address=ray_head.LOOPBACK, **how)
        except (ConnectionError, ValueError, RuntimeError) as error:
            self.kill()
            raise InputError(f"address: cannot connect to a Ray cluster: {plain(error)}") from None

    def _place(self) -> None:
        spec = replace(self.spec, token=secrets.token_hex(4))
        options = {"num_cpus": spec.threads, "num_gpus": self.gpus, "max_concurrency": 2, "max_restarts": 0}
        actor = ray.remote(_Actor).options(**options).remote()
        self._members.append(_Member(actor, actor.run.remote(to_json(spec)), spec.token))

    def replace_dead(self) -> list[tuple[str, str]]:
        dead = []
        for member in list(self._members):
            if not ray.wait([member.run], timeout=0)[0]:
                continue
            self._members.remove(member)
            dead.append((f":{member.token}", self._how(member)))
            ray.kill(member.actor)
            if not self._is_stopping:
                self._place()
        return dead

    def _how(self, member: _Member) -> str:
        try:
            ray.get(member.run)
        except ray.exceptions.RayError as error:
            self._last = plain(str(error).strip().splitlines()[-1])
            return f"Ray: {type(error).__name__}"
        return "it ended"

    def end(self, owner: str) -> None:
        for member in self._members:
            if owner.endswith(f":{member.token}"):
                ray.kill(member.actor)

    def ask_to_stop(self) -> None:
        self._is_stopping = True
        for member in self._members:
            member.actor.stop.remote()

    def wait(self, seconds: float) -> bool:
        runs = [member.run for member in self._members]
        return not runs or not ray.wait(runs, num_returns=len(runs), timeout=seconds)[1]

    def kill(self) -> None:
        self._is_stopping = True
        for member in self._members:
            ray.kill(member.actor)
        self._members.clear()
        if self._is_ours:
            ray.shutdown()
            self._is_ours = False
        if self._cluster is not None:
            self._cluster.end()
            self._cluster = None

    def alive(self) -> int:
        return len(self._members)

    def tail(self) -> str:
        return self._last


class _OwnCluster:
    """A Ray cluster on this machine for this process alone; it ends with the process, even after a kill.

    Every client of a Ray cluster can run code on it, so it listens on loopback only, and clients need its token. Ray's
    variables of this process, such as those of another cluster, are set aside until its end.
    """

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind((ray_head.LOOPBACK, 0))
            port = probe.getsockname()[1]
        self.address = f"{ray_head.LOOPBACK}:{port}"
        self._former = ray_head.set_access(ray_head.new_access())
        self._head = supervisor.start(
            python(ray_head.__name__, str(port)), grace=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._listens(port):
            if self._head.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise ConnectionError("the head did not start on this machine")
            time.sleep(0.1)

    @staticmethod
    def _listens(port: int) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((ray_head.LOOPBACK, port), 1.0).close()
            return True
        return False

    def end(self) -> None:
        """End the cluster with all its processes."""
        supervisor.end(self._head, _KILL_SECONDS)
        ray_head.set_access(self._former)


class _Actor:
    """A worker in a Ray process; `stop` runs concurrently with `run`."""

    def __init__(self) -> None:
        import threading

        self.halt = threading.Event()

    def run(self, spec: str) -> None:
        """Work until the search ends."""
        from lrtune.search.workers.process import from_json, give_up
        from lrtune.search.workers.worker import Worker

        Worker(from_json(spec), self.halt, give_up).run()

    def stop(self) -> None:
        """Stop at the next report."""
        self.halt.set()


def make(url: str, study: str, workers: int | None, device: str, logs: Path | None, address: str | None) -> Engine:
    """See `lrtune.search.workers.engine.make_engine`; by default one worker per core (or GPU) of the cluster."""
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None and url.startswith("sqlite"):
        raise InputError("storage: expected postgresql:// for a Ray cluster, whose nodes do not share files")
    gpus = 1.0 if device.startswith("cuda") else 0.0
    spec = WorkerSpec(url=url, study=study, device="cuda:0" if gpus else "cpu", threads=1, path=tuple(sys.path))
    return RayEngine(spec, workers, gpus, address)
