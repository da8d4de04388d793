"""Attribute the differences between arms to factors.

Runs of one seed share data and initial weights, so that arms are compared seed by seed: an effect is the mean
difference of two arms over their common seeds, its spread the standard deviation of these differences.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lrtune.compare.arms import ArmResult, Spread, gather_arms
from lrtune.records.record import TrialRecord
from lrtune.study.study import Study


@dataclass(frozen=True)
class Difference(Spread):
    """A mean difference over paired seeds, and its standard deviation.

    `noise` is half the smallest difference that counts: the deviation or, if larger, the median deviation of all
    effects (two or three seeds can agree by chance).
    """

    noise: float | None

    @property
    def counted(self) -> float | None:
        """The mean; None below twice its noise or with fewer than two paired seeds."""
        if self.mean is None or self.count < 2 or self.noise is None or abs(self.mean) <= 2 * self.noise:
            return None
        return self.mean


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of changing one factor.

    Attributes:
        factor: the setting that changes, or several joined by ``+`` if no arm changes one alone.
        change: its values before and after.
        before, after: the arms' names.
        loss, diversity: at the end of the runs, as the trainer reported it: also a measure to maximise.
    """

    factor: str
    change: str
    before: str
    after: str
    loss: Difference
    diversity: Difference


@dataclass(frozen=True, kw_only=True)
class ArmsComparison:
    """The result of comparing arms.

    Attributes:
        arms, effects: the result of each arm, and the effect of each factor.
        column_titles: titles of further tables, by the trainer's column of the curves.
        stop_reason: why the search ended.
        interrupted: the signal that stopped it, or None.
    """

    arms: list[ArmResult]
    effects: list[Effect]
    column_titles: Mapping[str, str] = field(default_factory=dict)
    stop_reason: str = ""
    interrupted: int | None = None


def compare_records(
    records: Sequence[TrialRecord],
    study: Study | None = None,
    *,
    stop_reason: str = "",
    interrupted: int | None = None,
) -> ArmsComparison:
    """Compare the arms in records; the study supplies the default values that a change starts from."""
    arms = gather_arms(records, study.pruning if study else None)
    changes = effects(arms, study.options if study else None)
    return ArmsComparison(arms=arms, effects=changes, stop_reason=stop_reason, interrupted=interrupted)


def effects(arms: Sequence[ArmResult], base: Mapping[str, Any] | None = None) -> list[Effect]:
    """The effect of each factor, from every pair of arms that differ in it alone; largest effect on the loss first.

    An arm that differs from every other in several factors is compared with the first one.

    Args:
        base: the options of the study, for the values before a change; a missing factor reads "default".
    """
    pairs = [(a, b) for a, b in itertools.combinations(arms, 2) if len(_changed(a, b, base)) == 1]
    paired = {id(arm) for pair in pairs for arm in pair}
    pairs += [(arms[0], arm) for arm in arms[1:] if id(arm) not in paired]
    losses, diversities = (_differences(pairs, column) for column in ("measure", "diversity"))
    measured = [
        Effect(
            factor="+".join(_changed(a, b, base)) or "none",
            change=", ".join(f"{before} → {after}" for before, after in _changed(a, b, base).values()),
            before=a.name,
            after=b.name,
            loss=loss,
            diversity=diversity,
        )
        for (a, b), loss, diversity in zip(pairs, losses, diversities, strict=True)
    ]
    return sorted(measured, key=lambda effect: -abs(effect.loss.counted or 0.0))


def _changed(a: ArmResult, b: ArmResult, base: Mapping[str, Any] | None) -> dict[str, tuple[Any, Any]]:
    """Factor → (value in a, value in b), for the factors that differ."""
    first, second = {**(base or {}), **a.setting}, {**(base or {}), **b.setting}
    names = dict.fromkeys([*a.setting, *b.setting])
    values = {name: (first.get(name, "default"), second.get(name, "default")) for name in names}
    return {name: (before, after) for name, (before, after) in values.items() if before != after}


def _differences(pairs: Sequence[tuple[ArmResult, ArmResult]], column: str) -> list[Difference]:
    """b − a of each pair over the common seeds."""
    spreads = []
    for a, b in pairs:
        ends = [(getattr(a.records[n], column), getattr(b.records[n], column)) for n in {*a.records} & {*b.records}]
        spreads.append(Spread.of(after - before for before, after in ends if None not in (before, after)))
    typical = statistics.median([one.deviation for one in spreads if one.deviation is not None] or [0.0])
    noises = [None if one.deviation is None else max(one.deviation, typical) for one in spreads]
    return [Difference(**vars(one), noise=noise) for one, noise in zip(spreads, noises, strict=True)]
