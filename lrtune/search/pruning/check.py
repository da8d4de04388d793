"""The check of *beaten*: a run that peers at lower rates do not end shows whether their verdict on it is right.

*beaten* bounds the gain of a run above its peer's rate by the peer's gain. Where high rates gain more from the decay
than that, as under a constant rate with a late decay, the verdict ends runs that would win. Verdicts by peers at the
run's rate or above it extrapolate nothing; they were right on all these curves (studies/benchmarks/pruning.md).
"""

from collections.abc import Iterable, Mapping

from lrtune.search.pruning.beaten import Beaten, beaten, is_at_or_above
from lrtune.search.pruning.curve import Curve
from lrtune.study.study import PruningPolicy


def judges(curve: Curve, peers: Iterable[Curve]) -> list[Curve]:
    """The peers that may end a lenient run: those at its rate or above it."""
    return [peer for peer in peers if is_at_or_above(peer, curve)]


def first_beaten(curve: Curve, policy: PruningPolicy, peers: Iterable[Curve]) -> Beaten | None:
    """The first *beaten* verdict on a run by all its peers, which would have ended it there; None if there is none."""
    peers = list(peers)
    for count in range(1, len(curve.reports)):
        until = curve.until(count)
        found = beaten(until, policy, peers) if until.reports[-1].loss is not None else None
        if found is not None:
            return found
    return None


def as_numbers(found: Beaten | None) -> Mapping[str, float]:
    """The verdict for `lrtune.records.record.TrialRecord.beaten`."""
    if found is None:
        return {}
    numbers = {"step": float(found.step), "loss": found.loss}
    return numbers if found.peer is None else {**numbers, "peer": found.peer}
