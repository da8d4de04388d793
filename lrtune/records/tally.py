"""Summaries of many records: counts by status, and the best run of each size."""

from collections.abc import Iterable, Sequence

from lrtune.records.record import STATUSES, TrialRecord

ENDED_EARLY = ("collapsed", "diverged", "beaten")


def best_by_size(records: Iterable[TrialRecord]) -> dict[int, TrialRecord]:
    """The finished run with the lowest loss at each hidden size, in order of size."""
    best: dict[int, TrialRecord] = {}
    for record in records:
        if is_better(record, best.get(record.hidden_size)):
            best[record.hidden_size] = record
    return dict(sorted(best.items()))


def is_better(record: TrialRecord, best: TrialRecord | None) -> bool:
    """Whether a run finished with a lower loss than the best so far."""
    if record.status != "finished" or record.loss is None:
        return False
    return best is None or best.loss is None or record.loss < best.loss


def counts(records: Sequence[TrialRecord]) -> str:
    """The number of runs by status: ``12 finished, 3 collapsed``."""
    found = {status: sum(record.status == status for record in records) for status in STATUSES}
    return ", ".join(f"{count} {status}" for status, count in found.items() if count) or "none ended"
