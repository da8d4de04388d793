"""What an engine is: where the workers of a search run."""

from typing import Protocol


class Engine(Protocol):
    """Where workers run. Made by ``make(url=…, study=…, workers=…, device=…, address=…, logs=…)`` of a module in
    `lrtune.search.workers`.

    Attributes:
        count: how many workers it keeps.
        is_gpu: whether they train on GPUs.
    """

    count: int
    is_gpu: bool

    def start(self) -> None:
        """Start all workers."""
        ...

    def dead(self) -> list[tuple[str, str]]:
        """(mark, how it ended) of workers that ended badly since the last call, each replaced by now; the mark is
        part of their names in the storage."""
        ...

    def ask_to_stop(self) -> None:
        """Have every worker stop at its next report."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait that long at the most for the workers to end; True once none is left."""
        ...

    def kill(self) -> None:
        """End every worker, and what it started, now."""
        ...

    def alive(self) -> int:
        """How many workers there are."""
        ...

    def tail(self) -> str:
        """The last line that a worker wrote to its log, for a message."""
        ...
