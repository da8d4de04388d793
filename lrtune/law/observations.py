"""Training records → the model's data for each cell: relative losses, early ends, the lowest failed rate.

A *cell* is one combination of scales (one width, say). The relative loss is log(loss) if all losses are positive, so
that 0.01 is one per cent; else loss ÷ the absolute value of the best.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc

from lrtune.errors import InputError, plain
from lrtune.law.atoms import Array
from lrtune.law.forecast import forecast
from lrtune.law.no_rule import NoRule, NoRuleError
from lrtune.law.priors import DOUBT, FAILED_SPREAD
from lrtune.law.tables import CellData
from lrtune.records.record import TrialRecord
from lrtune.records.trust import believed

_BINS = 8  # per octave: rates in one bin are merged
_FAR = 0.1  # a run that failed is at least this far above the best, relative, if nothing better is known
_SURE = 0.5  # share of its forecast rise that a beaten run very likely reaches
_ROUNDS = 20
SAME = 0.005  # relative loss: losses that differ less may be the same
_CHANCE = 0.05  # the losses show no trend if chance makes one as strong more often
_FAILED = "failed with an error"
_DEFIED = "ended early by a verdict that another run defied"
_MEETINGS = 3  # runs of a seed from which its offset is estimated; with fewer it is indistinguishable from noise


@dataclass(frozen=True, kw_only=True)
class Projected(TrialRecord):
    """A run along one knob: `learning_rate` is its coordinate, and the losses are without the other knobs' rise.

    Attributes:
        origin: the run itself.
        variance: of the relative loss, by what was taken out.
    """

    origin: TrialRecord
    variance: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of scales with its runs; `data` is the model's input."""

    scales: dict[str, float]
    records: tuple[TrialRecord, ...]
    data: CellData


@dataclass(frozen=True, kw_only=True)
class Observations:
    """All cells, the measure of relative loss, and the number of records that are not used, by reason."""

    cells: tuple[Cell, ...]
    measure: "Measure"
    unused: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The relative loss: log(loss), or loss ÷ `unit` if not all losses are positive."""

    unit: float | None = None

    def relative(self, loss: Array) -> Array:
        """The relative loss."""
        return np.log(loss) if self.unit is None else np.asarray(loss) / self.unit

    def loss(self, relative: float) -> float:
        """Its inverse."""
        return math.exp(min(relative, 700.0)) if self.unit is None else relative * self.unit


def gather(
    records: Iterable[TrialRecord], scales: Sequence[str], tolerance: float, measure: Measure | None = None
) -> Observations:
    """Group records by their scales; `measure` is that of their losses if None.

    Raises:
        InputError: the scales are not in the records.
        NoRuleError: there is nothing to fit.
    """
    groups: dict[tuple[float, ...], list[TrialRecord]] = {}
    unused: Counter[str] = Counter()
    cause = ""
    count = 0
    records = list(records)
    trusted = believed(records)
    if len(trusted) < len(records):
        unused[_DEFIED] = len(records) - len(trusted)
    for record in trusted:
        count += 1
        key = tuple(record.scale(name) for name in scales)
        if any(value is None for value in key):
            unused[f"no {', '.join(n for n, v in zip(scales, key, strict=True) if v is None)}"] += 1
        elif record.status == "failed":
            unused[_FAILED] += 1
            cause = plain(record.reason) or cause
        else:
            groups.setdefault(tuple(float(value) for value in key if value is not None), []).append(record)
    if not count:
        raise InputError("records: expected at least one training run, but got none")
    missing = [name for name in scales if all(f"no {name}" in reason for reason in unused)]
    if not groups and missing and unused:
        raise InputError(f"scales: expected {missing[0]!r} in the records, but no record has it")
    every = [record for group in groups.values() for record in group]
    _check(groups, unused, cause)
    measure = measure or measure_of([r.loss for r in every if r.status == "finished" and r.loss is not None])
    cells = tuple(
        Cell(
            scales=dict(zip(scales, key, strict=True)),
            records=tuple(group),
            data=cell_data(group, measure, tolerance),
        )
        for key, group in sorted(groups.items())
    )
    return Observations(cells=cells, measure=measure, unused=dict(unused))


def measure_of(losses: Sequence[float]) -> Measure:
    """The measure of these final losses."""
    if min(losses) > 0:
        return Measure()
    middle = float(np.median(losses))
    return Measure(unit=max(abs(min(losses)), min(abs(middle - min(losses)), 1e300), 1e-300))


def _check(groups: dict[tuple[float, ...], list[TrialRecord]], unused: Counter[str], cause: str) -> None:
    runs = [record for group in groups.values() for record in group]
    finished = [record.loss for record in runs if record.status == "finished" and record.loss is not None]
    if not finished:
        ended = Counter(record.status for record in runs) + unused
        how = ", ".join(f"{number} {what}" for what, number in ended.items()) or "none"
        reason = NoRule.NONE_FINISHED if len(runs) > unused[_FAILED] else NoRule.ALL_FAILED
        last = f", the last with {cause:.200}" if cause and reason is NoRule.ALL_FAILED else ""
        text = f"no run finished ({how}{last}): a rule needs two rates at one size, one of them finished"
        raise NoRuleError(reason, text)
    if all(len({record.learning_rate for record in group}) < 2 for group in groups.values()):
        raise NoRuleError(NoRule.ONE_RATE, "only one learning rate at every size")
    early = any(record.status != "finished" for record in runs)
    if len(finished) > 1 and max(finished) == min(finished) and not early:
        values, value = ("measures", -finished[0]) if runs[0].maximize else ("losses", finished[0])
        text = f"all {len(finished)} {values} are {value:g}: they do not distinguish the learning rates"
        raise NoRuleError(NoRule.EQUAL_LOSSES, text)
    if not early and _is_noise(groups.values()):
        text = f"no signal: the {len(finished)} losses differ by less than {SAME:.1%} at each size and follow no trend"
        raise NoRuleError(NoRule.EQUAL_LOSSES, text)


def _is_noise(groups: Iterable[Sequence[TrialRecord]]) -> bool:
    """Whether the losses of each cell are nearly the same, and a parabola in log rate explains no more than chance."""
    cells, rest, explained, free = 0, 0.0, 0.0, 0
    for group in groups:
        x, y = np.array([(math.log2(record.learning_rate), record.loss) for record in group], dtype=float).T
        y = y / max(float(np.abs(y).mean()), 1e-300)
        if np.ptp(y) > SAME or any(isinstance(record, Projected) for record in group):
            return False
        if len(np.unique(x)) < 3:
            continue
        left = y - np.polyval(np.polyfit(x - x.mean(), y, 2), x - x.mean())
        cells, free = cells + 1, free + len(y) - 3
        rest, explained = rest + float(left @ left), explained + float(np.square(y - y.mean()).sum() - left @ left)
    if free < max(cells, 1):  # too few runs to tell
        return False
    return rest > 0 and float(fdtrc(2 * cells, free, explained / (2 * cells) / (rest / free))) > _CHANCE


def cell_data(records: Sequence[TrialRecord], measure: Measure, tolerance: float) -> CellData:
    """The model's data of one cell; `tolerance` is the least rise of a beaten run."""
    finished = [record for record in records if record.status == "finished"]
    early = [record for record in records if record.status == "beaten"]
    failed = [math.log2(record.learning_rate) for record in records if record.status in ("collapsed", "diverged")]
    x = np.array([math.log2(record.learning_rate) for record in finished])
    y = measure.relative(np.array([record.loss for record in finished], dtype=float))
    variance = np.array([record.variance if isinstance(record, Projected) else 0.0 for record in finished])
    best, lowest, spread, doubt = math.nan, *_failing(-math.inf, x, failed)
    if len(y):
        y = _without_seed_offsets(x, y, [record.seed for record in finished])
        at = int(np.argmin(y + 2 * np.sqrt(variance)))
        best = finished[at].loss or 0.0
        lowest, spread, doubt = _failing(float(x[at]), x, failed)
    above = [_known_above(record, finished, best, measure, tolerance) for record in early]
    merged = _merged(x, y, variance)
    return CellData(
        x=merged[0],
        y=merged[1],
        count=merged[2],
        squares=merged[3],
        doubt=merged[4],
        early_x=np.array([math.log2(record.learning_rate) for record in early]),
        early_above=np.array(above),
        failed_x=lowest,
        failed_spread=spread,
        failed_doubt=doubt,
    )


def _failing(best: float, x: Array, failed: Sequence[float]) -> tuple[float | None, float, float]:
    """The lowest failing rate, the spread in octaves of its bound on the optimum, and the probability of no bound.

    Failures below the cell's best run have another cause than the rate and are ignored.
    """
    beyond = [rate for rate in failed if rate >= best]
    if not beyond:
        return None, FAILED_SPREAD, DOUBT
    lowest = min(beyond)
    reach = float(x.max()) - lowest if len(x) else 0.0
    return lowest, FAILED_SPREAD + max(reach, 0.0), DOUBT ** min(len(set(beyond)), 3)


def _merged(x: Array, y: Array, doubt: Array) -> tuple[Array, ...]:
    """Merge runs at (nearly) the same rate: mean x and y, count, squares about the mean, and doubt of the mean."""
    if not len(x):
        return x, y, x, x, x
    _, group = np.unique(np.round(x * _BINS), return_inverse=True)
    exact = len(x) <= 24 and len(np.unique(np.round(x, 6))) == len(x)
    if exact:
        return x, y, np.ones(len(x)), np.zeros(len(x)), doubt
    count = np.bincount(group).astype(float)
    usual = float(np.median(doubt)) or 1.0
    weight = usual / (usual + doubt)
    total = np.bincount(group, weight)
    mean_x, mean_y = np.bincount(group, weight * x) / total, np.bincount(group, weight * y) / total
    squares = np.bincount(group, weight * np.square(y - mean_y[group]))
    return mean_x, mean_y, count, squares.astype(float), np.bincount(group, np.square(weight) * doubt) / total**2


def _known_above(
    record: TrialRecord, finished: Sequence[TrialRecord], best: float, measure: Measure, tolerance: float
) -> float:
    """A lower bound on a beaten run's relative loss above the cell's best."""
    heading = forecast(record, finished)
    if heading is None or not math.isfinite(best) or (measure.unit is None and heading <= 0):
        return tolerance
    rise = float(measure.relative(np.array(heading)) - measure.relative(np.array(best)))
    return max(tolerance, _SURE * rise)


def _without_seed_offsets(x: Array, y: Array, seeds: Sequence[int]) -> Array:
    """Relative losses minus the offset of their seed, which is the same at all rates.

    Runs of one seed share data order and initial weights, hence noise. Rates that several seeds share determine the
    offsets (alternating means, shrunk); losses far above the best have little weight.
    """
    _, seed = np.unique(seeds, return_inverse=True)
    _, rate = np.unique(np.round(x, 6), return_inverse=True)
    if seed.max() == 0 or len(np.unique(rate)) == len(x):
        return y
    shared = np.bincount(seed) >= _MEETINGS
    spread = np.median(y) - y.min() or 1.0
    weight = 1.0 / (1.0 + ((y - y.min()) / spread) ** 2)
    offset = np.zeros(seed.max() + 1)
    for _ in range(_ROUNDS):
        level = np.bincount(rate, weight * (y - offset[seed])) / np.bincount(rate, weight)
        residual = y - level[rate]
        offset = shared * np.bincount(seed, weight * residual) / (np.bincount(seed, weight) + 0.5)
        offset[shared] -= offset[shared].mean() if shared.any() else 0.0
    return np.asarray(y - offset[seed])
