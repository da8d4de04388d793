"""The checked and ordered reports of one training run so far, the input of a verdict."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from lrtune.errors import InputError
from lrtune.records.record import TrialRecord
from lrtune.trainer.direction import Words, words
from lrtune.trainer.trial import Facts, Report

# A loss within this share of the unigram entropy is "at" it: held-out losses are no more precise.
AT_UNIGRAM = 0.02


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The reports of one run so far.

    Reports may come in any order; the last report of a step counts (a resumed run repeats a report).

    Attributes:
        steps: optimizer steps of the reports.
        losses: validation losses, or minus a measure; NaN, inf and None mean not finite.
        diversities: one per report, or None for a missing one; None if the run reports no diversity.
        planned_steps: the run's horizon.
        regime_changes: steps at which the schedule changes; those outside 1 … planned_steps − 1 are ignored.
        vocabulary_size, unigram_entropy: see `lrtune.trainer.trial.Facts`; None if unknown. They count only where the
            losses may be in nats, see `uniform` and `unigram`.
        learning_rate: the run's peak; *beaten* compares it with the peers' rates.
        maximize: whether the losses are minus a measure of which more is better; verdicts name the measure.

    Raises:
        InputError: columns of different lengths, a negative step, diversity or entropy, or a step past the end.
    """

    steps: Sequence[int]
    losses: Sequence[float | None]
    planned_steps: int
    diversities: Sequence[float | None] | None = None
    regime_changes: Sequence[int] = ()
    vocabulary_size: int | None = None
    unigram_entropy: float | None = None
    learning_rate: float | None = None
    maximize: bool = False

    def __post_init__(self) -> None:
        columns = {"losses": self.losses, "diversities": self.diversities}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.steps):
                raise InputError(f"curve: expected {len(self.steps)} {name}, one per step, but got {len(column)}")
        if self.planned_steps < 1:
            raise InputError(f"curve: expected at least 1 planned step, but got {self.planned_steps}")
        for step in self.steps:
            if not 0 <= step <= self.planned_steps:
                raise InputError(f"curve: expected steps within 0 … {self.planned_steps}, but got {step}")
        for value in self.diversities or ():
            if value is not None and value < 0:
                raise InputError(f"curve: expected diversities of at least 0, but got {value:g}")
        if self.vocabulary_size is not None and self.vocabulary_size < 1:
            raise InputError(f"curve: expected a vocabulary of at least 1, but got {self.vocabulary_size}")
        if self.unigram_entropy is not None and not self.unigram_entropy >= 0:
            raise InputError(f"curve: expected a unigram entropy of at least 0, but got {self.unigram_entropy:g}")

    @classmethod
    def from_record(cls, record: TrialRecord) -> "Curve":
        """The curve of a record, without reports that lack a step."""
        rows = [i for i, step in enumerate(record.curve.get("step", ())) if step is not None]
        column = record.curve.get("diversity")
        return cls(
            steps=[int(record.curve["step"][i] or 0) for i in rows],
            losses=[record.curve["loss"][i] for i in rows],
            diversities=None if column is None else [column[i] for i in rows],
            planned_steps=record.steps,
            regime_changes=record.facts.regime_changes,
            vocabulary_size=record.facts.vocabulary_size,
            unigram_entropy=record.facts.unigram_entropy,
            learning_rate=record.learning_rate,
            maximize=record.maximize,
        )

    @classmethod
    def from_reports(
        cls,
        reports: Sequence[Report],
        facts: Facts,
        *,
        planned_steps: int,
        learning_rate: float,
        maximize: bool = False,
    ) -> "Curve":
        """The curve of a running trial from its reports so far."""
        has_diversity = any(report.diversity is not None for report in reports)
        return cls(
            steps=[report.step for report in reports],
            losses=[report.loss for report in reports],
            diversities=[report.diversity for report in reports] if has_diversity else None,
            planned_steps=planned_steps,
            regime_changes=facts.regime_changes,
            vocabulary_size=facts.vocabulary_size,
            unigram_entropy=facts.unigram_entropy,
            learning_rate=learning_rate,
            maximize=maximize,
        )

    def until(self, count: int) -> "Curve":
        """The curve as it was after its first `count` reports."""
        diversities = None if self.diversities is None else self.diversities[:count]
        return replace(self, steps=self.steps[:count], losses=self.losses[:count], diversities=diversities)

    @property
    def words(self) -> Words:
        """The words for what the trainer reported."""
        return words(maximize=self.maximize)

    def shown(self, loss: float) -> str:
        """A loss, or the measure that it is minus of, as the trainer reported it."""
        return f"{-loss if self.maximize else loss:.4g}"

    @cached_property
    def reports(self) -> tuple["Point", ...]:
        """The reports in order of steps, one per step; a diversity that is not finite counts as missing."""
        diversities = self.diversities if self.diversities is not None else [None] * len(self.steps)
        rows = zip(self.steps, self.losses, diversities, strict=True)
        points = {int(step): Point(int(step), _finite(loss), _finite(value)) for step, loss, value in rows}
        return tuple(points[step] for step in sorted(points))

    @cached_property
    def final_loss(self) -> float | None:
        """The loss at the last planned step; None before that step, or if it is not finite."""
        return self.reports[-1].loss if self.reports and self.reports[-1].step == self.planned_steps else None

    @cached_property
    def changes(self) -> tuple[int, ...]:
        """The regime changes within the run, in order."""
        return tuple(sorted(change for change in self.regime_changes if 0 < change < self.planned_steps))

    @property
    def uniform(self) -> float | None:
        """ln(vocabulary), the loss of a model that guesses; None if it is unknown or the losses are not in nats."""
        return math.log(self.vocabulary_size) if self.vocabulary_size is not None and self._may_be_nats else None

    @property
    def unigram(self) -> float | None:
        """The unigram entropy; None if it is unknown or the losses are not in nats."""
        return self.unigram_entropy if self._may_be_nats else None

    @cached_property
    def _may_be_nats(self) -> bool:
        """Whether the losses may be cross-entropies: none is negative, and no measure to maximise is 0."""
        return all(loss > 0 or (loss == 0 and not self.maximize) for loss in self._finite_losses[1])

    def loss_at(self, step: float) -> float | None:
        """The linearly interpolated loss at a step; None outside the range of finite losses."""
        steps, losses = self._finite_losses
        after = bisect.bisect_left(steps, step)
        if after == len(steps):
            return None
        if steps[after] == step:
            return losses[after]
        if after == 0:
            return None
        share = (step - steps[after - 1]) / (steps[after] - steps[after - 1])
        return losses[after - 1] + (losses[after] - losses[after - 1]) * share

    @cached_property
    def _finite_losses(self) -> tuple[list[int], list[float]]:
        """Steps and losses of the reports with a finite loss."""
        pairs = [(point.step, point.loss) for point in self.reports if point.loss is not None]
        return [step for step, _ in pairs], [loss for _, loss in pairs]


@dataclass(frozen=True, slots=True)
class Point:
    """One report; None means missing or not finite."""

    step: int
    loss: float | None
    diversity: float | None


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
