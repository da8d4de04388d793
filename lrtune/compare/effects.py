"""Attribute the differences between arms to factors.

Runs of one seed share data and initial weights, so that arms are compared seed by seed: an effect is the mean
difference of two arms over their common seeds, its spread the standard deviation of these differences.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lrtune.compare.arms import ArmResult, Spread, gather_arms
from lrtune.records.record import TrialRecord
from lrtune.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of changing one factor.

    Attributes:
        factor: the setting that changes, or several joined by ``+`` if no arm changes one alone.
        change: its values before and after.
        before, after: the arms' names.
        loss, diversity: mean difference and its standard deviation over the paired seeds.
        loss_noise, diversity_noise: half the smallest difference that counts: its standard deviation or, if larger,
            the median deviation of all effects (two or three seeds can agree by chance).
    """

    factor: str
    change: str
    before: str
    after: str
    loss: Spread
    diversity: Spread
    loss_noise: float | None
    diversity_noise: float | None

    @property
    def on_loss(self) -> float | None:
        """The effect on the final loss; None below twice its noise or with fewer than two paired seeds."""
        return _beyond(self.loss, self.loss_noise)

    @property
    def on_diversity(self) -> float | None:
        """The effect on the final diversity, likewise."""
        return _beyond(self.diversity, self.diversity_noise)


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
    rows = [(_differences(a, b, "loss"), _differences(a, b, "diversity")) for a, b in pairs]
    typical = [_typical([row[i] for row in rows]) for i in (0, 1)]
    measured = [
        Effect(
            factor="+".join(_changed(a, b, base)) or "none",
            change=", ".join(f"{before} → {after}" for before, after in _changed(a, b, base).values()),
            before=a.name,
            after=b.name,
            loss=loss,
            diversity=diversity,
            loss_noise=_noise(loss, typical[0]),
            diversity_noise=_noise(diversity, typical[1]),
        )
        for (a, b), (loss, diversity) in zip(pairs, rows, strict=True)
    ]
    return sorted(measured, key=lambda effect: -abs(effect.on_loss or 0.0))


def _typical(spreads: Sequence[Spread]) -> float:
    """The median of the spreads' deviations, without None."""
    return statistics.median([spread.deviation for spread in spreads if spread.deviation is not None] or [0.0])


def _noise(spread: Spread, typical: float) -> float | None:
    return None if spread.deviation is None else max(spread.deviation, typical)


def _changed(a: ArmResult, b: ArmResult, base: Mapping[str, Any] | None) -> dict[str, tuple[Any, Any]]:
    """Factor → (value in a, value in b), for the factors that differ."""
    first, second = {**(base or {}), **a.setting}, {**(base or {}), **b.setting}
    names = dict.fromkeys([*a.setting, *b.setting])
    values = {name: (first.get(name, "default"), second.get(name, "default")) for name in names}
    return {name: (before, after) for name, (before, after) in values.items() if before != after}


def _differences(a: ArmResult, b: ArmResult, column: Literal["loss", "diversity"]) -> Spread:
    """b − a over the common seeds."""
    values = []
    for seed in sorted(set(a.records) & set(b.records)):
        before, after = getattr(a.records[seed], column), getattr(b.records[seed], column)
        values.append(None if before is None or after is None else after - before)
    return Spread.of(values)


def _beyond(difference: Spread, noise: float | None) -> float | None:
    if difference.mean is None or difference.count < 2 or noise is None or abs(difference.mean) <= 2 * noise:
        return None
    return difference.mean
