"""Fit several knobs by turns: each along what the others leave of the runs (backfitting, Friedman & Stuetzle 1981)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from lrtune.law.couplings import Along, Key
from lrtune.law.knobs import Apart, apart, coordinate, slopes
from lrtune.law.model import build
from lrtune.law.observations import Measure, gather
from lrtune.law.posterior import Size
from lrtune.law.prediction import Prediction, predict
from lrtune.law.tables import Resolution
from lrtune.records.record import TrialRecord
from lrtune.rule.knob import FIRST, Coordinate

_SIZE = Size(shapes=8, strays=10, rounds=7, resolution=Resolution(step=0.1, atoms=40))
_DRAWS = 128
_ROUNDS = 4
_STILL = 0.05  # octaves: once no optimum moves by more, the rounds end
_POWER, _FAR = 1.5, 4.0  # of the first guess: rise = height · min(octaves, _FAR)^_POWER
_ROUGH = 0.5  # of its square: the variance of that guess


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Before the first fit: every cell's best run is its optimum, and one height a knob is fitted to all runs."""

    best: dict[Key, dict[str, float]]
    height: dict[str, float]

    def along(self, key: Key, name: str, x: float) -> Along:
        """How a run at log2 coordinate `x` of a cell stands along a knob."""
        distance = x - self.best.get(key, {}).get(name, x)
        rise = self.height[name] * _power(distance)
        return Along(rise, distance, _ROUGH * rise**2)


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """The curves along one knob: draws at each cell."""

    draws: Prediction
    index: dict[Key, int]

    def along(self, key: Key, x: float) -> Along:
        return stand(self.draws, self.index[key], x)


def stand(draws: Prediction, place: int, x: float) -> Along:
    """How a run at log2 coordinate `x` of a place stands along a knob."""
    height = draws.height(place, np.array([x]))[:, 0]
    rise = float(height.mean())
    misfit = float(np.square(draws.misfit).mean())
    return Along(rise, x - float(draws.optimum[:, place].mean()), float(height.var()) + misfit * rise**2)


def separated(
    records: Sequence[TrialRecord],
    scales: Sequence[str],
    coordinates: Mapping[str, Coordinate],
    tolerance: float,
    measure: Measure,
) -> Apart:
    """The runs along each knob, taken apart by the law of all of them.

    Args:
        records: runs that have every knob and scale; failed ones left out.

    Raises:
        NoRuleError: the runs say nothing of a knob.
    """
    names = (FIRST, *coordinates)
    guess = first_guess(records, scales, coordinates, measure)
    fitted: dict[str, _Fitted] = {}
    keys = {_key(record, scales) for record in records}

    def along(record: TrialRecord, name: str) -> Along:
        x = math.log2(coordinate(record, name, coordinates))
        key = _key(record, scales)
        return fitted[name].along(key, x) if name in fitted else guess.along(key, name, x)

    for _ in range(_ROUNDS):
        moved = 0.0
        for name in names:
            parts = apart(records, coordinates, along, measure, scales)
            one = _fit(parts.records[name], scales, tolerance, measure, keys, slopes(name, coordinates))
            moved = max(moved, _moved(fitted[name], one) if name in fitted else math.inf)
            fitted[name] = one
        if moved < _STILL:
            break
    return apart(records, coordinates, along, measure, scales)


def _key(record: TrialRecord, scales: Sequence[str]) -> Key:
    return tuple(record.scale(name) for name in scales)


def _moved(before: _Fitted, after: _Fitted) -> float:
    """The most that an optimum moved, in octaves."""
    old, new = before.draws.optimum.mean(axis=0), after.draws.optimum.mean(axis=0)
    return max(abs(float(new[at] - old[before.index[key]])) for key, at in after.index.items())


def _fit(
    records: Sequence[TrialRecord],
    scales: Sequence[str],
    tolerance: float,
    measure: Measure,
    keys: set[Key],
    slopes: Mapping[str, tuple[float, float]],
) -> _Fitted:
    """Draws of the curves along one knob at the cells of its runs, and at those that have none."""
    cells = gather(records, scales, tolerance, measure).cells
    values = np.array([[cell.scales[name] for name in scales] for cell in cells])
    data = [cell.data for cell in cells]
    model = build(data, scales, values, _SIZE, slopes)
    known: list[Key] = [tuple(row) for row in values.tolist()]
    more = [key for key in keys if key not in known]
    z = np.log(np.array(more, dtype=float).reshape(-1, len(scales)) / model.centres)
    draws = predict(model, data, z, _DRAWS, np.random.default_rng(20))
    return _Fitted(draws=draws, index={key: i for i, key in enumerate([*known, *more])})


def _power(distance: float) -> float:
    return float(min(abs(distance), _FAR) ** _POWER)


def first_guess(
    records: Sequence[TrialRecord], scales: Sequence[str], coordinates: Mapping[str, Coordinate], measure: Measure
) -> Guess:
    """What the best run of each cell and one height a knob say of all runs."""
    names = (FIRST, *coordinates)
    lowest: dict[Key, tuple[float, dict[str, float]]] = {}
    runs = []
    for record in records:
        at = {name: coordinate(record, name, coordinates) for name in names}
        if record.status != "finished" or record.loss is None or min(at.values()) <= 0:
            continue
        y, x = float(measure.relative(np.array(record.loss))), {name: math.log2(at[name]) for name in names}
        key = _key(record, scales)
        runs.append((key, y, x))
        lowest[key] = min(lowest.get(key, (math.inf, x)), (y, x), key=lambda pair: pair[0])
    rows = [[_power(x[name] - lowest[key][1][name]) for name in names] for key, _, x in runs]
    above = np.array([y - lowest[key][0] for key, y, _ in runs])
    weight = 1 / (1 + above / max(float(np.median(above)), 1e-9)) if len(above) else above
    height = nnls(np.array(rows) * weight[:, None], above * weight)[0] if rows else np.zeros(len(names))
    return Guess(best={key: x for key, (_, x) in lowest.items()}, height=dict(zip(names, height.tolist(), strict=True)))
