"""The knobs of a fit: which of them the records determine, and their laws."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from lrtune.errors import InputError
from lrtune.law.knobs import coordinate
from lrtune.records.record import TrialRecord
from lrtune.rule.data import RATE_UNIT, Draws, KnobLaw, Rule, Zero
from lrtune.rule.drawn import locate, safe_range, scatter
from lrtune.rule.knob import Coordinate
from lrtune.rule.knobs import all_safe, tried


def having(records: Sequence[TrialRecord], knobs: Mapping[str, Coordinate]) -> tuple[list[TrialRecord], dict[str, int]]:
    """The records that have every knob, and the number of the others by the knob that they lack.

    Raises:
        InputError: no record has them all.
    """
    kept, lost = [], Counter[str]()
    for record in records:
        lacking = [name for name in knobs if not 0 <= coordinate(record, name, knobs) < math.inf]
        if lacking and record.status != "failed":
            lost[f"no {lacking[0]}"] += 1
        else:
            kept.append(record)
    if lost and all(record.status == "failed" for record in kept):
        name = next(iter(lost)).removeprefix("no ")
        raise InputError(f"knobs: expected {name!r} in the records, but no record has all knobs")
    return kept, dict(lost)


def fixed(records: Sequence[TrialRecord], knobs: Mapping[str, Coordinate]) -> dict[str, float]:
    """The knobs that have one coordinate in all runs: conditions, without a law."""
    ended = [record for record in records if record.status != "failed"]
    found = {name: {float(f"{coordinate(record, name, knobs):.6g}") for record in ended} for name in knobs}
    needed = {each.relative for each in knobs.values()}
    return {name: values.pop() for name, values in found.items() if len(values) == 1 and name not in needed}


def widened(draws: Draws, errors: Sequence[float]) -> Draws:
    """Draws whose optima have a further error, of this sd in octaves at each cell; the same draw errs alike at all."""
    count = len(draws.level)
    error = [scatter(d, second=True) / RATE_UNIT for d in range(count)]
    cells = [
        cell._replace(off=tuple(round(off + sd * one) for off, one in zip(cell.off, error, strict=True)))
        for cell, sd in zip(draws.cells, errors, strict=True)
    ]
    usual = sum(sd**2 for sd in errors) / len(errors) / RATE_UNIT**2
    own = tuple(round(math.sqrt(sd**2 + usual)) for sd in draws.own_sd)
    return draws._replace(cells=tuple(cells), own_sd=own)


def knob_law(name: str, of: Coordinate, rule: Rule, zero: tuple[float, float] | None) -> KnobLaw:
    """The law of a knob, with what its answers need of the rule along it; it says if the knob does not matter."""
    cells = [cell._replace(safe_low=None, safe_high=None, loss=None) for cell in rule.cells]
    assert rule.draws is not None
    span = tried(cells) or (0.0, 0.0)
    (low, high), flat = span, span[0] < span[1]
    for cell in cells:
        place, best = locate(rule, rule.draws, cell.scales), math.log2(cell.learning_rate)
        flat = flat and all_safe(place, best, span, rule.tolerance)
        safe = safe_range(place, best, rule.tolerance) if flat else None
        low, high = (max(low, safe[0]), min(high, safe[1])) if safe else (low, high)
    reason = rule.reason
    if flat:
        reason = (
            f"{of.named(name)}: any from {2**low:.3g} to {2**high:.3g} costs under {rule.tolerance * 100:g}% of loss"
        )
    return KnobLaw(of, rule._replace(cells=tuple(cells), reason=reason), Zero(*zero) if zero else None)
