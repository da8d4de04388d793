"""Workers as actors of a Ray cluster: Ray places them and notices lost nodes, everything else is as on one machine."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, MissingExtraError
from lrtune.search.workers.worker import WorkerSpec, worker_here

try:
    import ray
except ImportError:
    raise MissingExtraError("cluster", "ray", "--engine ray") from None

_MOST_WORKERS = 8


@dataclass
class _Member:
    actor: Any
    run: Any
    mark: Any


class RayEngine:
    """An `Engine` on Ray. A worker whose node is lost is started again wherever there is room."""

    def __init__(self, spec: WorkerSpec, count: int | None, threads: int, gpus: float, address: str | None) -> None:
        self.spec, self.threads, self.gpus, self.address = spec, threads, gpus, address
        self.wanted, self.count, self.is_gpu = count, count or 1, gpus > 0
        self._members: list[_Member] = []
        self._is_stopping = False
        self._is_ours = False
        self._last = ""

    def start(self) -> None:
        """Connect to the cluster, or start one on this machine, and place the workers."""
        if not ray.is_initialized():
            # Without an address a cluster of this search's own, not whichever one happens to run here.
            address = self.address or os.environ.get("RAY_ADDRESS") or "local"
            try:
                ray.init(address=address, log_to_driver=False, logging_level="error", include_dashboard=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise InputError(f"address: expected a Ray cluster, but {error}") from None
            self._is_ours = True
        there = ray.cluster_resources()
        most = there.get("GPU", 0) / self.gpus if self.gpus else there.get("CPU", 1) / self.threads
        self.count = self.wanted or max(1, min(_MOST_WORKERS, int(most)))
        for _ in range(self.count):
            self._place()

    def _place(self) -> None:
        options = {"num_cpus": self.threads, "num_gpus": self.gpus, "max_concurrency": 2, "max_restarts": 0}
        actor = ray.remote(_Actor).options(**options).remote()
        run = actor.run.remote(json.dumps(asdict(self.spec)))
        self._members.append(_Member(actor, run, actor.mark.remote()))

    def dead(self) -> list[tuple[str, str]]:
        """See `lrtune.search.workers.engine.Engine`."""
        found = []
        for member in list(self._members):
            ready, _ = ray.wait([member.run], timeout=0)
            if not ready:
                continue
            self._members.remove(member)
            try:
                ray.get(member.run)
            except ray.exceptions.RayError as error:
                self._last = str(error).strip().splitlines()[-1]
                found.append((self._mark(member), f"Ray: {type(error).__name__}"))
                if not self._is_stopping:
                    self._place()
        return found

    def _mark(self, member: _Member) -> str:
        """Part of the worker's name; where it was never told, a text that is in no name."""
        try:
            return str(ray.get(member.mark, timeout=0.1))
        except ray.exceptions.RayError:
            return "no worker is named so"

    def ask_to_stop(self) -> None:
        """See `lrtune.search.workers.engine.Engine`."""
        self._is_stopping = True
        for member in self._members:
            member.actor.stop.remote()

    def wait(self, seconds: float) -> bool:
        """See `lrtune.search.workers.engine.Engine`."""
        runs = [member.run for member in self._members]
        return not runs or not ray.wait(runs, num_returns=len(runs), timeout=seconds)[1]

    def kill(self) -> None:
        """See `lrtune.search.workers.engine.Engine`."""
        self._is_stopping = True
        for member in self._members:
            ray.kill(member.actor)
        self._members.clear()
        if self._is_ours:
            ray.shutdown()
            self._is_ours = False

    def alive(self) -> int:
        """See `lrtune.search.workers.engine.Engine`."""
        return len(self._members)

    def tail(self) -> str:
        """See `lrtune.search.workers.engine.Engine`."""
        return self._last


class _Actor:
    """A worker in a Ray process. Two calls at once: one runs, the other stops it."""

    def __init__(self) -> None:
        import threading

        self.halt = threading.Event()

    def mark(self) -> str:
        """What the worker's name begins with."""
        import os

        from lrtune.search.workers.leases import machine_id

        return f"{machine_id()}:{os.getpid()}:"

    def run(self, spec: str) -> None:
        """Work until the search ends."""
        worker_here(spec, self.halt).run()

    def stop(self) -> None:
        """Checkpoint at the next report, and end."""
        self.halt.set()


def make(
    *, url: str, study: str, workers: int | None, device: str, logs: Path | None, address: str | None = None
) -> RayEngine:
    """See `lrtune.search.workers`; by default one worker a core (or a GPU) of the cluster, eight at most.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: the storage is a file, and the cluster may have other machines.
    """
    if address is not None and url.startswith("sqlite"):
        raise InputError("storage: expected postgresql:// for a Ray cluster, since its nodes do not share a file")
    gpus = 1.0 if device.startswith("cuda") else 0.0
    spec = WorkerSpec(url=url, study=study, device="cuda:0" if gpus else "cpu", threads=1, path=tuple(sys.path))
    return RayEngine(spec, workers, 1, gpus, address)
