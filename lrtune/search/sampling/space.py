"""Where a search may look, and what its rule is for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrtune.law.atoms import Array
from lrtune.records.record import TrialRecord

Place = tuple[float, ...]  # one value for each scale

_EXPONENTS = {"hidden_size": 2.0}  # of compute; 1 for others, but 0 for a batch beside tokens


@dataclass(frozen=True, kw_only=True)
class Space:
    """The search space.

    Attributes:
        scales: names.
        places: where runs may be made.
        targets: what the rule is for; some of `places`, or others.
        costs: of one run at each of `places`, in any unit.
        low, high: bounds of a run's log2 rate.
        rates: the only log2 rates that runs may have; empty: all within the bounds.
        focus: (low, high) of log2 rate where the best is expected; only a soft prior.
        tolerance: the wanted worst regret.
    """

    scales: tuple[str, ...]
    places: tuple[Place, ...]
    targets: tuple[Place, ...]
    costs: tuple[float, ...]
    low: float
    high: float
    focus: tuple[float, float]
    tolerance: float = 0.01
    rates: tuple[float, ...] = ()

    def runnable(self, x: Array) -> Array:
        """The nearest log2 rates that runs may have."""
        x = np.clip(x, self.low, self.high)
        if not self.rates:
            return np.asarray(x)
        rates = np.array(self.rates)
        return np.asarray(rates[np.abs(x[..., None] - rates).argmin(axis=-1)])


def place_of(record: TrialRecord, scales: Sequence[str]) -> Place | None:
    """A run's place; None if it lacks a scale."""
    values = tuple(record.scale(name) for name in scales)
    return None if any(value is None for value in values) else tuple(float(value or 0.0) for value in values)


def cost_of(place: Place, scales: Sequence[str], known: Mapping[Place, float]) -> float:
    """Compute of a whole run at a place, scaled from the nearest place whose compute is known."""
    if place in known:
        return known[place]

    def size(at: Place) -> float:
        powers = _EXPONENTS | (dict.fromkeys(("batch", "batch_tokens"), 0.0) if "tokens" in scales else {})
        return float(math.prod(v ** powers.get(name, 1.0) for name, v in zip(scales, at, strict=True)))

    if not known:
        return size(place)
    nearest = min(known, key=lambda at: sum(abs(math.log(a / b)) for a, b in zip(at, place, strict=True)))
    return known[nearest] * size(place) / size(nearest)
