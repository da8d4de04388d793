"""Which way a loss goes in training: it falls, and a measure of which more is better rises."""

from collections.abc import Sequence
from typing import NamedTuple

_CLEAR = 0.1  # of the largest change: a smaller one may be noise
_LEAST = 3  # runs


class Words(NamedTuple):
    """What the reported values are called, their good and bad ways, the good and bad side of a level, and its sign."""

    what: str
    improves: str
    worsens: str
    better: str
    worse: str
    minus: str


def words(*, maximize: bool) -> Words:
    """The words for a loss, or for a measure of which more is better."""
    if maximize:
        return Words("measure", "rises", "falls", "above", "below", "minus ")
    return Words("loss", "falls", "rises", "below", "above", "")


def remedy(*, maximize: bool) -> str:
    """What to do about a loss that rises, or a measure that falls, at every rate."""
    return "leave out --maximize" if maximize else "report a loss, or pass --maximize if more is better"


def wrong_way(changes: Sequence[float], *, maximize: bool) -> str:
    """A warning if the loss rises in some runs and falls in none; else empty.

    Some suffice: a search that takes accuracy for a loss goes where nothing is learned.

    Args:
        changes: of the loss (with `maximize`, of minus the measure) from the first report of a run to its last.
    """
    clear = _CLEAR * max(map(abs, changes), default=0.0)
    rising = sum(change > clear for change in changes)
    if rising < _LEAST or min(changes) < -clear:
        return ""
    told = words(maximize=maximize)
    many = f"{rising} of {len(changes)} runs and {told.improves} in none"
    return f"warning: the {told.what} {told.worsens} in {many}: {remedy(maximize=maximize)}"
