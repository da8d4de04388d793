"""How long a worker has been silent, by this process's own clock.

A database's clock may be set, forward or back, and a laptop may sleep. So a lease is silent for as long as its time of
renewal was seen not to change, and a pause of this process counts for little: its workers may have paused with it.
"""

from collections.abc import Iterable

from lrtune.search.workers.leases import Lease

_LONGEST_LOOK = 5.0  # seconds that count at the most between two looks


class Silences:
    """The silence of each running lease, over the looks at them."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, float]] = {}
        self._looked: float | None = None

    def look(self, leases: Iterable[Lease], now: float) -> None:
        """Take in the running leases as they are `now`, in seconds of a clock that only goes forward."""
        passed = 0.0 if self._looked is None else min(now - self._looked, _LONGEST_LOOK)
        self._looked = now
        before, self._seen = self._seen, {}
        for lease in leases:
            sign = (lease.owner, lease.attempt, lease.renewed)
            last, silent = before.get(lease.trial, (None, 0.0))
            self._seen[lease.trial] = sign, silent + passed if sign == last else 0.0

    def of(self, lease: Lease) -> float:
        """Seconds that this lease was seen not to be renewed."""
        return self._seen.get(lease.trial, (None, 0.0))[1]
