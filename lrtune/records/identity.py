"""Recognise a run: whether the runs at hand are among those that a rule was fitted to."""

import hashlib
from collections.abc import Iterable

from lrtune.records.record import TrialRecord

_DIGITS = 6  # one in sixteen million runs looks like another


def mark(record: TrialRecord) -> str:
    """Six hexadecimal digits from size, rate and loss, which every format of a run keeps; empty without a loss."""
    if record.loss is None:
        return ""
    numbers = (record.hidden_size, record.learning_rate, abs(record.loss))
    return hashlib.sha256(" ".join(f"{number:.9g}" for number in numbers).encode()).hexdigest()[:_DIGITS]


def marks(records: Iterable[TrialRecord]) -> str:
    """The marks of the runs in a row, for `lrtune.rule.Rule.runs`."""
    return "".join(sorted({mark(record) for record in records}))


def fitted_to(runs: str, records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The records whose marks are in `runs`, the marks of a rule."""
    known = {runs[at : at + _DIGITS] for at in range(0, len(runs), _DIGITS)}
    return [record for record in records if mark(record) in known]
