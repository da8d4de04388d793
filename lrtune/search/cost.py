"""What a step costs at a size: a power of the scales, fitted to the measured seconds of the cells."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lrtune.records.record import TrialRecord

_LENGTHS = ("steps", "tokens")  # do not change the cost of one step


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Seconds of one optimizer step at every place.

    Attributes:
        seconds, centre: at the place where each scale has its value in `centre`.
        exponents: by scale that varies among the measured cells.
    """

    seconds: float
    centre: Mapping[str, float]
    exponents: Mapping[str, float]

    def at(self, place: Mapping[str, float]) -> float | None:
        """Seconds of one step; None if the place differs from all cells in a scale that did not vary."""
        log = math.log(self.seconds)
        for name, value in place.items():
            if name in _LENGTHS or name not in self.centre:
                continue
            away = math.log(value / self.centre[name])
            if name not in self.exponents and abs(away) > 1e-9:
                return None
            log += self.exponents.get(name, 0.0) * away
        return math.exp(log)


def step_cost(records: Iterable[TrialRecord]) -> StepCost | None:
    """The fit to all timed runs, each cell by its median; None if there are none."""
    timed: dict[tuple[tuple[str, float], ...], list[float]] = {}
    for record in records:
        if record.seconds > 0 and record.steps_done > 0 and record.status != "failed":
            place = {"hidden_size": float(record.hidden_size), **record.scales}
            key = tuple(sorted((name, value) for name, value in place.items() if name not in _LENGTHS))
            timed.setdefault(key, []).append(record.seconds / record.steps_done)
    names = [name for name, _ in next(iter(timed), ())]
    cells = {key: values for key, values in timed.items() if [name for name, _ in key] == names}
    if not cells:
        return None
    x = np.log([[value for _, value in key] for key in cells])
    y = np.log([float(np.median(values)) for values in cells.values()])
    middle = x.mean(axis=0)
    varies = np.ptp(x, axis=0) > 1e-9
    exponents = np.zeros(len(names))
    exponents[varies] = np.linalg.lstsq((x - middle)[:, varies], y - y.mean(), rcond=None)[0]
    return StepCost(
        seconds=math.exp(float(y.mean())),
        centre=dict(zip(names, np.exp(middle).tolist(), strict=True)),
        exponents={name: float(exponents[i]) for i, name in enumerate(names) if varies[i]},
    )


def span(seconds: float) -> str:
    """A duration for people: 40 s, 12 min, 3.4 h."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
