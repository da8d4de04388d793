"""A message about the trials or workers that a search waits for, after a while without news."""

from collections.abc import Sequence

from lrtune.errors import counted
from lrtune.search.workers.leases import Lease
from lrtune.study.task import place_name

FIRST_SECONDS = 300.0  # before the first message; doubles after each
_LONGEST_LOOK = 5.0  # the most seconds to count for a pause of this process or a laptop's sleep


class Waiting:
    """Detects whether a search makes progress between looks."""

    def __init__(self) -> None:
        self._sign: object = None
        self._looked: float | None = None
        self._quiet, self._due = 0.0, FIRST_SECONDS

    def look(self, running: Sequence[Lease], *, waiting: int, ended: int, workers: int, now: float) -> str | None:
        """A message about what the search waits for, or None if none is due.

        Args:
            running: the leases of the running trials, with their reports.
            waiting: number of trials that wait for a worker.
            ended: number of ended trials.
            workers: number of workers.
            now: seconds of a monotonic clock.
        """
        passed = 0.0 if self._looked is None else min(now - self._looked, _LONGEST_LOOK)
        self._looked = now
        sign = (ended, [(lease.trial, lease.attempt, _step(lease)) for lease in running])
        if sign != self._sign:
            self._sign, self._quiet, self._due = sign, 0.0, FIRST_SECONDS
            return None
        self._quiet += passed
        if self._quiet < self._due:
            return None
        self._due *= 2
        return f"nothing new for {self._quiet / 60:.0f} min: {_what(running, waiting, workers)}"


def _what(running: Sequence[Lease], waiting: int, workers: int) -> str:
    if not running:
        who = counted(workers, "worker")
        return f"waiting for {who} to start {counted(waiting, 'trial')}; see logs in the run folder"
    first, *others = running
    more = f" and {counted(len(others), 'other')}" if others else ""
    place = place_name(first.task.place)
    where = f"trial {first.trial} ({place}) at step {max(0, _step(first))}{more}"
    return f"waiting for a report of {where}; --trial-timeout ends a run that hangs"


def _step(lease: Lease) -> int:
    """The last saved step; -1 before the first."""
    return lease.last.step if lease.last else -1
