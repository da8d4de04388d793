"""Which early ends to believe: none that rests on a run at a lower rate, once a run has defied such a verdict."""

import math
from collections.abc import Iterable, Mapping, Sequence

from lrtune.records.record import TrialRecord
from lrtune.study.task import place_name


def is_defied(records: Iterable[TrialRecord]) -> bool:
    """Whether a run ended at a loss that the *beaten* verdict on it had ruled out."""
    return any(record.defies for record in records)


def defiance(records: Iterable[TrialRecord]) -> str:
    """The first run that defied its verdict, and what follows, in words; empty if there is none."""
    first = next((record for record in records if record.defies), None)
    if first is None:
        return ""
    sign = -1 if first.maximize else 1
    bound, step = sign * first.beaten["loss"], first.beaten.get("step", 0)
    return (
        f"trial {first.trial} (rate {first.learning_rate:.3g} at {place_name(first.place)}) ended at "
        f"{first.measure:.4g}, better than {bound:.4g}, its best possible end as judged at step {step:g}: "
        "runs at lower rates no longer end those at higher ones"
    )


def is_beaten_from_below(record: TrialRecord) -> bool:
    """Whether the run was ended by peers at lower rates alone; also if its record, of an earlier version, says none."""
    return record.status == "beaten" and record.beaten.get("peer", 0.0) < record.learning_rate


def above_best(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The runs of one place at rates above that of its best finished one, without those that failed with an error."""
    records = [record for record in records if record.status != "failed"]
    finished = [(r.loss, r.learning_rate) for r in records if r.status == "finished" and r.loss is not None]
    best = min(finished, default=(0.0, math.inf))[1]
    return [record for record in records if record.learning_rate > best]


def rests_on_cuts(records: Iterable[TrialRecord]) -> bool:
    """Whether all runs of a place between its best one and the lowest failure above it were beaten from below."""
    above = above_best(records)
    failed = min((r.learning_rate for r in above if r.status in ("collapsed", "diverged")), default=math.inf)
    between = [record for record in above if record.learning_rate < failed]
    return bool(between) and all(is_beaten_from_below(record) for record in between)


def vouches(records: Sequence[TrialRecord]) -> bool:
    """Whether a run of a place above its best one, or one that counted as beaten, was trained to its end."""
    return any(record.is_check for record in records) or any(r.status == "finished" for r in above_best(records))


def is_vouched_for(place: Mapping[str, float], checks: Iterable[Mapping[str, float]]) -> bool:
    """Whether one of the places that vouch is this one or smaller in no scale.

    At small places alone it shows little: high rates may win late at large ones only.
    """
    return any(all(check.get(name, 0.0) >= value for name, value in place.items()) for check in checks)


def believed(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The records, without those that only a verdict ended which a run of them has defied."""
    records = list(records)
    return [r for r in records if not is_beaten_from_below(r)] if is_defied(records) else records
