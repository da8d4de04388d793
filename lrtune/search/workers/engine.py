"""The interface of an engine, which starts a search's workers and replaces dead ones."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

ENGINES = ("local", "inline", "ray")


class Engine(Protocol):
    """Runs workers. Its module in `lrtune.search.workers` has the engine's name and a function `make`.

    A search calls `start` once, then `replace_dead` and `end` repeatedly, and lastly `ask_to_stop`, `wait` and `kill`.
    Workers get trials and return records through the storage alone.

    Attributes:
        count: how many workers it keeps running.
        is_gpu: whether they train on GPUs.
    """

    count: int
    is_gpu: bool

    def start(self) -> None:
        """Start all workers.

        Raises:
            InputError: they cannot start, for example without a cluster at the address.
        """

    def replace_dead(self) -> list[tuple[str, str]]:
        """Replace every worker that has ended, unless all were asked to stop.

        Returns:
            For each of them a pair: a part of its owner name, and how it ended in a few words.
        """

    def end(self, owner: str) -> None:
        """End the worker of this owner name, which no longer answers; does nothing if it is another engine's."""

    def ask_to_stop(self) -> None:
        """Ask every worker to release its trial at the next report and end; from now on replace none."""

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for all workers to end; True if none is left."""

    def kill(self) -> None:
        """End every worker and its child processes now. A worker in this process runs on, but loses its trials."""

    def alive(self) -> int:
        """The number of live workers."""

    def tail(self) -> str:
        """The last line of a worker's output, for an error message; may be empty."""


def make_engine(
    name: str, *, url: str, study: str, workers: int | None, device: str, logs: Path | None, address: str | None = None
) -> Engine:
    """Make an engine by its name in `ENGINES`, without starting it, by the function `make` of its module.

    Args:
        url, study: the storage and the study's name in it.
        workers: how many to keep running; None for as many as fit.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:0``, ``mps``.
        logs: a folder for the workers' output; None for this process's standard error.
        address: of a cluster.

    Raises:
        InputError: this engine does not support the arguments.
        MissingExtraError: a required package is not installed.
    """
    make: Callable[..., Engine] = importlib.import_module(f"{__package__}.{name}").make
    return make(url, study, workers, device, logs, address)
