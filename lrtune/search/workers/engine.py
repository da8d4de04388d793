"""What an engine is: it keeps the workers of a search at work, wherever they run."""

import importlib
from pathlib import Path
from typing import Protocol

ENGINES = ("local", "inline", "ray")


class Engine(Protocol):
    """Where workers run; one is made by `make` of the module in `lrtune.search.workers` that has its name.

    A search calls `start` once, `replace_dead` again and again while it goes on, and in the end `ask_to_stop`, `wait`
    and `kill`. Trials go to the workers, and records come back, through the storage alone.

    Attributes:
        count: how many workers it keeps.
        is_gpu: whether they train on GPUs.
    """

    count: int
    is_gpu: bool

    def start(self) -> None:
        """Start all workers.

        Raises:
            InputError: there is no place for them, no cluster at the address, say.
        """
        ...

    def replace_dead(self) -> list[tuple[str, str]]:
        """Replace every worker that has ended, in whatever way, unless all were asked to.

        Returns:
            For each of them (mark, how it ended): the mark is a part of the name by which it held its trials, the other
            a few words.
        """
        ...

    def ask_to_stop(self) -> None:
        """Have every worker release its trial at the next report and end. None is replaced any more."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait for all workers to end, `seconds` at most; True once none is left."""
        ...

    def kill(self) -> None:
        """End every worker now, with what it started; one in this process is left to itself, and hands nothing in."""
        ...

    def alive(self) -> int:
        """How many workers there are now."""
        ...

    def tail(self) -> str:
        """The last line that a worker wrote, for an error message; empty where it wrote none."""
        ...


class MakeEngine(Protocol):
    """The function ``make`` of an engine's module."""

    def __call__(
        self, *, url: str, study: str, workers: int | None, device: str, logs: Path | None, address: str | None = None
    ) -> Engine:
        """An engine that is not started.

        Args:
            url, study: the storage and the name of the study in it.
            workers: how many to keep; None for what there is room for.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:0``, ``mps``.
            logs: a folder for what workers print; None for this process's standard error.
            address: of a cluster.

        Raises:
            InputError: these do not fit this engine.
            MissingExtraError: a package that it needs is not installed.
        """
        ...


def make_engine(
    name: str, *, url: str, study: str, workers: int | None, device: str, logs: Path | None, address: str | None = None
) -> Engine:
    """An engine of `ENGINES` by its name; see `MakeEngine`."""
    make: MakeEngine = importlib.import_module(f"{__package__}.{name}").make
    return make(url=url, study=study, workers=workers, device=device, logs=logs, address=address)
