"""Scales and knobs that do nothing: two finished runs differ in one alone and have the same losses, bit by bit."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from lrtune.records.record import TrialRecord
from lrtune.study.study import Study

_MOST_ALIKE = 8  # runs of one rate, seed and loss that are compared


def inert_scale(records: Sequence[TrialRecord], study: Study) -> str | None:
    """Why a scale does nothing, or None.

    Steps are no such scale: a run that ends at its last step has read them.
    """
    for name, one, other in () if study.allow_inert_scale else _alike(records):
        if name not in one.knobs:
            ours, theirs = one.scale(name) or 0.0, other.scale(name) or 0.0
            return (
                f"scales.{name}: the trainer seems to ignore it: runs at {ours:g} and {theirs:g} have the same "
                f"losses (trials {one.trial} and {other.trial}); use it in the trainer, or continue with "
                "--allow-inert-scale"
            )
    return None


def inert_knobs(records: Sequence[TrialRecord]) -> dict[str, str]:
    """By knob that does nothing, the reason to think so."""
    return {
        name: f"knobs.{name}: the trainer seems to ignore it: runs at {one.knobs[name]:.3g} and "
        f"{other.knobs[name]:.3g} have the same losses (trials {one.trial} and {other.trial})"
        for name, one, other in _alike(records)
        if name in one.knobs
    }


def _alike(records: Sequence[TrialRecord]) -> Iterator[tuple[str, TrialRecord, TrialRecord]]:
    """Pairs of runs with the same losses, and the only scale or knob in which they differ."""
    alike: dict[tuple[float, int, str], list[TrialRecord]] = {}
    for record in records:
        if record.status == "finished" and record.arm is None:
            alike.setdefault((record.learning_rate, record.seed, repr(record.loss)), []).append(record)
    for group in alike.values():
        for one, other in itertools.combinations(group[:_MOST_ALIKE], 2):
            ours, theirs = _chosen(one), _chosen(other)
            differ = [name for name in ours if ours[name] != theirs.get(name)]
            if len(differ) == 1 and one.steps == other.steps and one.curve.get("loss") == other.curve.get("loss"):
                yield differ[0], one, other


def _chosen(record: TrialRecord) -> Mapping[str, float]:
    return {**record.place, **record.knobs}
