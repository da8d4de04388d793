"""The built-in study, started from what the packaged rule knows, and fitted to the machine."""

import math
from collections.abc import Mapping
from dataclasses import replace

from lrtune.rule import load_rule, recommend
from lrtune.study.study import Study

_WIDER = 2.0  # the rates looked at first go an octave beyond the packaged rule's, which is of longer runs
_RUNS = 6  # whole runs at each width until every answer is supported: 5.7 in replayed searches (studies/quick)
_LEAST = 2  # widths, for a law


def started(study: Study) -> tuple[Study, str]:
    """The study with the packaged rule's rates as the range that is searched first; and a line about it."""
    rule = load_rule("packaged")
    rates = [recommend(width, rule=rule, steps=study.steps).learning_rate for width in study.widths]
    low, high = (float(f"{rate:.2g}") for rate in (min(rates) / _WIDER, max(rates) * _WIDER))
    text = f"rates {low} to {high} first, by the packaged rule (--no-prior: {study.lr_min} to {study.lr_max})"
    return replace(study, lr_min=low, lr_max=high), text


def fitted(study: Study, step_seconds: Mapping[int, float], workers: int) -> tuple[Study, str]:
    """The study without the widths that its budget of seconds is too short for, largest first; and a line about it.

    Args:
        study: a study with a budget of seconds.
        step_seconds: of one step in one worker, by width.
        workers: how many train at once.
    """
    allowed = study.budget.seconds
    assert allowed is not None
    each = {width: _RUNS * study.steps * step_seconds[width] / workers for width in sorted(study.widths)}
    kept = [
        width
        for place, width in enumerate(each)
        if place < _LEAST or sum(each[smaller] for smaller in each if smaller <= width) <= allowed
    ]
    dropped = ", ".join(str(width) for width in each if width not in kept)
    low, high = min(each), max(each)
    if not dropped:
        return (
            study,
            f"a step takes {step_seconds[low] * 1e3:.0f} ms at {low}, {step_seconds[high] * 1e3:.0f} at {high}",
        )
    pace, enough = f"{step_seconds[high] * 1e3:.0f} ms a step at {high}", math.ceil(sum(each.values()) / 60)
    text = f"left out for {allowed:.0f} s: hidden {dropped} ({pace}); all: --budget {enough}m"
    return replace(study, widths=tuple(kept)), text
