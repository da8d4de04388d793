"""Several knobs: the same runs seen along each of them.

    y = c(cell) + Σ_k g_k(d_k) + Σ_{j<k} κ_jk s(d_j) s(d_k) + Σ_k δ_k [value_k = 0]

=====  ===================================================================================================
y      relative loss; c its least, of one combination of scales
d_k    octaves between the run's coordinate of knob k and the knob's optimum; the learning rate is a knob
g_k    rise of the loss along knob k: what the law of one knob describes
κ      coupling of two knobs, in relative loss per octave²; s(d) = R tanh(d / R), since losses saturate far off
δ_k    the rise of runs in which knob k is zero: they have no place on its axis
=====  ===================================================================================================

Given the expected g and d of all other knobs, what is left is a sweep along one knob.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lrtune.law.couplings import Along, Key, couplings
from lrtune.law.observations import Measure, Projected
from lrtune.law.priors import SLOPES
from lrtune.records.record import TrialRecord
from lrtune.rule.knob import FIRST, Coordinate

AlongOf = Callable[[TrialRecord, str], Along]


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Runs taken apart.

    Attributes:
        records: by knob, the runs along it: finished ones, and those that ended early because of it.
        couplings: κ by pair of knobs, where the data ask for one.
        zeros: by knob, mean relative loss of runs at zero above the best of its axis, and its standard error.
        errors: by knob and cell, sd of the optimum in octaves for what is not known of the couplings.
    """

    records: dict[str, list[Projected]]
    couplings: dict[tuple[str, str], float]
    zeros: dict[str, tuple[float, float]]
    errors: dict[str, dict[Key, float]]


def coordinate(record: TrialRecord, name: str, coordinates: Mapping[str, Coordinate]) -> float:
    """The run's coordinate along a knob; 0 if the knob is zero, NaN if the run has no such knob."""
    if name == FIRST:
        return record.learning_rate
    values = {FIRST: record.learning_rate, **record.knobs}
    needed = (name, coordinates[name].relative or name)
    if not all(each in values for each in needed) or (values[needed[1]] == 0 and needed[1] != name):
        return math.nan
    return coordinates[name].at(values[name], values)


def slopes(name: str, coordinates: Mapping[str, Coordinate]) -> Mapping[str, tuple[float, float]]:
    """What is known of a knob's law before any run, as `lrtune.law.geometry.Geometry.slopes`."""
    return {} if name != FIRST and coordinates[name].relative else SLOPES


def apart(
    records: Sequence[TrialRecord],
    coordinates: Mapping[str, Coordinate],
    along: AlongOf,
    measure: Measure,
    scales: Sequence[str],
) -> Apart:
    """Take runs apart by knob.

    Args:
        records: runs with every knob, of any number of cells; failed ones left out.
        coordinates: of the knobs beside the learning rate.
        along: how a run stands along a knob; not asked where the knob is zero.
        measure: of relative loss.
        scales: a cell is a combination of these.
    """
    names = (FIRST, *coordinates)
    places = [{name: coordinate(record, name, coordinates) for name in names} for record in records]
    stands = [
        {name: along(record, name) for name in names if place[name] > 0}
        for record, place in zip(records, places, strict=True)
    ]
    joint = couplings(stands, records, names, measure, scales)
    found: dict[str, list[Projected]] = {name: [] for name in names}
    for record, place, stand in zip(records, places, stands, strict=True):
        for name in names if record.status == "finished" else (_cause(record, stand),):
            if name in stand:
                taken, variance = joint.beside(name, stand)
                found[name].append(_projected(record, place[name], taken, variance, measure))
    return Apart(records=found, couplings=joint.kept, zeros=joint.zeros, errors=joint.errors)


def _cause(record: TrialRecord, stand: Mapping[str, Along]) -> str:
    """The knob that ended a run early: for a beaten one that of the largest rise, else the one furthest too high."""
    return max(stand, key=lambda name: stand[name].rise if record.status == "beaten" else stand[name].distance)


def _projected(record: TrialRecord, at: float, taken: float, variance: float, measure: Measure) -> Projected:
    losses = record.curve.get("loss")
    curve = {} if losses is None else {"loss": [None if v is None else _lowered(v, taken, measure) for v in losses]}
    return Projected(
        **{
            **vars(record),
            "learning_rate": at,
            "loss": None if record.loss is None else _lowered(record.loss, taken, measure),
            "curve": {**record.curve, **curve},
        },
        origin=record,
        variance=variance,
    )


def _lowered(loss: float, by: float, measure: Measure) -> float:
    return loss * math.exp(max(-by, -600.0)) if measure.unit is None else loss - by * measure.unit
