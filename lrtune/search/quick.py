"""The built-in study, fitted to the machine."""

import math
from collections.abc import Mapping
from dataclasses import replace

from lrtune.study.study import Study

_RUNS = 6  # whole runs' worth of steps at each width until every answer is supported: 5.0 to 6.0 (studies/quick)
_LEAST = 2  # widths, for a law


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
    low, high = (f"{step_seconds[width] * 1e3:.0f} ms at {width}" for width in (min(each), max(each)))
    if not dropped:
        return study, f"a step takes {low}, {high}"
    enough = math.ceil(sum(each.values()) / 60)
    text = f"left out for {allowed:.0f} s: hidden {dropped} (a step: {high}); all: --budget {enough}m"
    return replace(study, widths=tuple(kept)), text
