"""A limit for losses: a run whose loss is far above those of the other runs diverged, in whatever unit they are."""

import math
from collections.abc import Iterable
from dataclasses import replace

from lrtune.records.record import TrialRecord

_POWER = 1e30


def largest(least: float) -> float:
    """The largest loss that is a measurement where the least has this magnitude; a run above it diverged.

    1e30 for the losses of a model; a higher power of it where all losses are larger than 1e15. Small losses do not
    lower it: a loss may fall to nothing. A power, so that a new best run seldom changes it.
    """
    return _POWER ** (1 + round(min(math.log(max(least, 1.0), _POWER), 9.0)))


def within(record: TrialRecord, limit: float) -> TrialRecord:
    """The record without a loss beyond the limit: if it has none, it did not finish, but diverged."""
    if record.loss is not None and abs(record.loss) <= limit:
        return record
    return replace(record, loss=None, status="diverged" if record.status == "finished" else record.status)


def measured(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Records with losses of one magnitude."""
    records = list(records)
    losses = (record.loss for record in records if record.status == "finished")
    limit = largest(min((abs(loss) for loss in losses if loss is not None), default=1.0))
    return [within(record, limit) for record in records]
