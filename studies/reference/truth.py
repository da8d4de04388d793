"""What the sweeps measured at each cell, without lrtune's law: the best rate, its error, what another rate costs."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from studies.joint.optima import Cell, Runs, means, near, optimum, spread

STUDIES = Path(__file__).parents[1]
SWEEPS = (
    ("pruning/records.jsonl", ("adamw-two-stage",)),
    ("reference/held-out.jsonl", ("width", "horizon")),
    ("joint/records.jsonl", ("joint",)),
)
LEAST_ERROR = 0.03  # octave: what resampling says is too small where a cell has two seeds


@dataclass(frozen=True)
class Measured:
    """One cell's sweep.

    Attributes:
        best: log2 of the best rate. error: its standard error, in octaves.
    """

    cell: Cell
    runs: Runs
    best: float
    error: float

    @property
    def low(self) -> float:
        """The lower end of the best rate's 90% interval."""
        return 2 ** (self.best - 1.645 * self.error)

    @property
    def high(self) -> float:
        """The upper end."""
        return 2 ** (self.best + 1.645 * self.error)

    def regret(self, rate: float) -> float:
        """Loss of this rate above the best, relative; nan outside the sweep.

        Within the parabola that gives the optimum it is read from that, further out from the mean loss of each rate.
        """
        at, (x, y) = math.log2(rate), near(self.runs)
        parabola = np.polyfit(x, y, 2)
        if x.min() <= at <= x.max():
            level = np.polyval(parabola, at)
        else:
            level = np.interp(at, *means(self.runs), left=np.nan, right=np.nan)
        rise = float(level - np.polyval(parabola, self.best))
        return math.expm1(max(rise, 0.0)) if math.isfinite(rise) else math.nan


def records_of(*arms: str) -> list[TrialRecord]:
    """The recorded runs of these arms; all arms of `SWEEPS` without a name."""
    return [
        record for path, own in SWEEPS for record in read_records(STUDIES / path).records if record.arm in (arms or own)
    ]


def cell_of(record: TrialRecord) -> Cell:
    """Hidden size, steps, and tokens of a step."""
    return record.hidden_size, record.steps, round(record.facts.tokens_per_step or 0)


def measured(records: Iterable[TrialRecord]) -> Iterator[Measured]:
    """Each cell whose finished runs have a best rate within their sweep, smallest first."""
    found: dict[Cell, Runs] = defaultdict(list)
    for record in records:
        if record.status == "finished" and record.loss:
            found[cell_of(record)].append((math.log2(record.learning_rate), math.log(record.loss)))
    draw = np.random.default_rng(0)
    for cell, runs in sorted(found.items()):
        best = optimum(runs)
        if math.isfinite(best):
            yield Measured(cell, runs, best, max(spread(runs, draw), LEAST_ERROR))


def compute(records: Iterable[TrialRecord]) -> float:
    """FLOPs by 6 × parameters × tokens."""
    return sum(6.0 * r.steps_done * (r.facts.tokens_per_step or 0) * (r.facts.parameters or 0) for r in records)
