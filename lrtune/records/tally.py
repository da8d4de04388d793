"""Summaries of many records: counts by status, the best run of each size, and which way the loss goes."""

from collections.abc import Iterable, Sequence

from lrtune.records.record import STATUSES, TrialRecord
from lrtune.trainer.direction import wrong_way

ENDED_EARLY = ("collapsed", "diverged", "beaten")


def best_by_place(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The finished run with the lowest loss at each hidden size and other scales, in their order."""
    places: dict[tuple[float, ...], list[TrialRecord]] = {}
    for record in records:
        place = (record.hidden_size, *(value for _, value in sorted(record.scales.items())))
        places.setdefault(place, []).append(record)
    return [best for _, here in sorted(places.items()) if (best := best_of(here)) is not None]


def best_of(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The finished run with the lowest loss; None if none finished."""
    best = None
    for record in records:
        best = record if is_better(record, best) else best
    return best


def is_better(record: TrialRecord, best: TrialRecord | None) -> bool:
    """Whether a run finished with a lower loss than the best so far."""
    if record.status != "finished" or record.loss is None:
        return False
    return best is None or best.loss is None or record.loss < best.loss


def counts(records: Sequence[TrialRecord]) -> str:
    """The number of runs by status: ``12 finished, 3 collapsed``."""
    found = {status: sum(record.status == status for record in records) for status in STATUSES}
    return ", ".join(f"{count} {status}" for status, count in found.items() if count) or "none ended"


def goes_wrong(records: Sequence[TrialRecord]) -> str:
    """A warning if the loss rises in training; empty if it does not, or if most runs collapsed, diverged or failed."""
    maximize = any(record.maximize for record in records)
    # A loss that is maximised by mistake falls so far that its runs count as diverged.
    telling = ("finished", "beaten", *(["diverged"] if maximize else []))
    told = [record for record in records if record.status in telling]
    curves = ([loss for loss in record.curve.get("loss", ()) if loss is not None] for record in told)
    changes = [losses[-1] - losses[0] for losses in curves if len(losses) > 1]
    return wrong_way(changes, maximize=maximize) if 2 * len(told) > len(records) else ""
