"""The machine's cores and GPUs, divided among workers."""

import os
from dataclasses import dataclass
from pathlib import Path

_MOST_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class Share:
    """One worker's share of the machine."""

    device: str
    threads: int
    gpu: str | None = None


def shares(workers: int | None, device: str) -> list[Share]:
    """Divide the machine: by default one worker per GPU, or without GPUs one per core, at most eight.

    For small models two single-threaded processes are much faster than one with two threads.
    """
    cards = gpus() if device in ("auto", "cuda") else []
    if cards:
        count = workers or len(cards)
        threads = max(1, cores() // count)
        return [Share(device="cuda:0", threads=threads, gpu=cards[index % len(cards)]) for index in range(count)]
    count = workers or min(cores(), _MOST_WORKERS)
    threads = max(1, cores() // count)
    return [Share(device="cpu" if device == "auto" else device, threads=threads)] * count


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """CUDA devices that this process may use, found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in (part.strip() for part in visible.split(",")) if name and name != "-1"]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
