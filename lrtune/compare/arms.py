"""Records of named arms → a result for each arm."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from lrtune.errors import InputError
from lrtune.records.record import TrialRecord, negated
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import Phase, phase_of, verdict
from lrtune.study.study import PruningPolicy
from lrtune.trainer.direction import Words, words

RunOutcome = Literal["healthy", "recovered", "collapsed", "unlearned", "diverged", "failed", "unfinished"]
QUARTERS = (0.25, 0.5, 0.75, 1.0)
_IGNORED = ("tokens",)  # the folder of the data: its path does not affect a run


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds; the deviation is None with one seed, both are None without seeds."""

    mean: float | None
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread":
        finite = [value for value in values if value is not None and math.isfinite(value)]
        mean = statistics.fmean(finite) if finite else None
        return cls(mean, statistics.stdev(finite) if len(finite) > 1 else None, len(finite))

    def __str__(self) -> str:
        if self.mean is None:
            return "–"
        size = abs(self.mean)
        digits = 0 if size >= 100 else 3 if size < 10 else 1
        text = f"{self.mean:.{digits}f}" if size >= 0.01 or size == 0 else f"{self.mean:.1e}"
        text = text if 1e-6 < size < 1e6 or size == 0 else f"{self.mean:.4g}"
        return text if self.deviation is None else f"{text} ± {self.deviation:.2g}"


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """All runs of one arm.

    Attributes:
        name, learning_rate, hidden_size, steps: the arm's.
        departures: the options that differ from its study.
        records: its runs by seed.
        outcomes: the outcome of each run, see `outcome`.
        phases: of each run's last report.
    """

    name: str
    learning_rate: float
    hidden_size: int
    steps: int
    departures: Mapping[str, Any]
    records: Mapping[int, TrialRecord]
    outcomes: Mapping[int, RunOutcome]
    phases: Mapping[int, Phase]

    @property
    def loss(self) -> Spread:
        return Spread.of(record.loss for record in self.records.values())

    @property
    def measure(self) -> Spread:
        """The loss, or the measure to maximise, as the trainer reported it."""
        return Spread.of(record.measure for record in self.records.values())

    @property
    def words(self) -> Words:
        """The words for what the trainer reported."""
        return words(maximize=any(record.maximize for record in self.records.values()))

    @property
    def diversity(self) -> Spread:
        return Spread.of(record.diversity for record in self.records.values())

    def at(self, column: str, share: float) -> Spread:
        """A column of the curves at this share of the steps, over the seeds."""
        return Spread.of(value_at(record, column, share) for record in self.records.values())

    @property
    def setting(self) -> dict[str, Any]:
        """The settings that distinguish this arm."""
        common = {"learning_rate": self.learning_rate, "hidden_size": self.hidden_size, "steps": self.steps}
        return {**common, **self.departures}


def value_at(record: TrialRecord, column: str, share: float) -> float | None:
    """A column's value, as reported, at the report nearest to a share of the steps; None if no report is near."""
    steps = record.curve.get("step", ())
    rows = [(abs((step or 0) - share * record.steps), i) for i, step in enumerate(steps)]
    if not rows or column not in record.curve:
        return None
    distance, nearest = min(rows)
    return negated(record).curve[column][nearest] if distance <= 0.05 * record.steps else None


def outcome(record: TrialRecord, policy: PruningPolicy) -> RunOutcome:
    """The outcome of a run in one word.

    Returns:
        ``diverged`` or ``failed`` as recorded; ``collapsed`` if the run was stopped for collapse or ends with low
        diversity and a loss at or above the unigram entropy; ``unlearned`` for such a loss with normal diversity;
        ``recovered`` if it had collapsed at a report after the grace period but ends otherwise; else ``healthy``.
    """
    if record.status in ("diverged", "failed", "collapsed"):
        return record.status
    if record.steps_done < record.steps:
        return "unfinished"
    curve = Curve.from_record(record)
    phase = phase_of(curve, policy)
    last = curve.reports[-1] if curve.reports else None
    low = last is not None and last.diversity is not None and last.diversity < policy.floor
    if phase in ("uniform", "unigram"):
        return "collapsed" if low else "unlearned"
    return "recovered" if was_collapsed(curve, policy) else "healthy"


def was_collapsed(curve: Curve, policy: PruningPolicy) -> bool:
    """Whether the verdict at some report, ignoring later stage changes, is collapsed."""
    blind = replace(curve, regime_changes=())
    return any(verdict(blind.until(end), policy).kind == "collapsed" for end in range(1, len(blind.steps)))


def gather_arms(records: Iterable[TrialRecord], policy: PruningPolicy | None = None) -> list[ArmResult]:
    """The arms in records, in order of their first trial.

    Raises:
        InputError: no record has an arm, or two runs of one arm differ in their setting.
    """
    policy = policy or PruningPolicy()
    arms: dict[str, dict[int, TrialRecord]] = {}
    for record in sorted(records, key=lambda record: record.trial):
        if record.arm is None:
            continue
        runs = arms.setdefault(record.arm, {})
        first = next(iter(runs.values()), record)
        if _setting(record) != _setting(first):
            raise InputError(
                f"records: expected one setting for arm {record.arm!r}, but trials {first.trial} and {record.trial} "
                "differ; compare a sweep's runs separately from the arms"
            )
        runs[record.seed] = record
    if not arms:
        raise InputError("records: expected runs of named arms, but no record has an arm")
    return [_result(name, runs, policy) for name, runs in arms.items()]


def _setting(record: TrialRecord) -> str:
    chosen = sorted({**record.options, **record.knobs}.items())
    setting = [record.learning_rate, record.hidden_size, record.steps, chosen]
    return json.dumps(setting, default=str)


def _result(name: str, runs: Mapping[int, TrialRecord], policy: PruningPolicy) -> ArmResult:
    first = next(iter(runs.values()))
    return ArmResult(
        name=name,
        learning_rate=first.learning_rate,
        hidden_size=first.hidden_size,
        steps=first.steps,
        departures={key: value for key, value in {**first.options, **first.knobs}.items() if key not in _IGNORED},
        records=dict(sorted(runs.items())),
        outcomes={seed: outcome(record, policy) for seed, record in runs.items()},
        phases={seed: phase_of(Curve.from_record(record), policy) for seed, record in runs.items()},
    )
