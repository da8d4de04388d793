"""Surfaces over the rate and a second knob: drawn ones, and the recorded one of `studies/muon`."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from lrtune.records.cloud import Cloud, cloud
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule.knob import Coordinate
from lrtune.study.knob import Knob

NOISE = 0.003  # of a drawn surface's runs, share of loss
MUON = Path(__file__).parents[1] / "muon" / "records.jsonl"
_FINE = 16  # points an octave, among which the best of a recorded surface is sought

Point = tuple[float, float]  # log2 of the rate and of the second knob's coordinate


class Surface(Protocol):
    """A truth of two knobs at several widths.

    Attributes:
        widths: rising.
        costs: of a run by width, in runs of the largest.
        ranges: (low, high) of the rate and of the second knob, for contenders.
        lr_range: the soft range of the rate, for ours.
        knob: the second one.
    """

    @property
    def widths(self) -> Sequence[int]: ...
    @property
    def costs(self) -> Mapping[int, float]: ...
    @property
    def ranges(self) -> tuple[Point, Point]: ...
    @property
    def lr_range(self) -> Point: ...
    @property
    def knob(self) -> Knob: ...

    def height(self, width: int, at: Point) -> float:
        """Relative loss above the best."""
        ...

    def loss(self, width: int, at: Point, rng: np.random.Generator) -> float:
        """The final loss of a run."""
        ...

    def held(self, width: int, which: int) -> Point:
        """The best point of one knob alone, with the other where it is held."""
        ...


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A drawn truth: log2 of the best (rate, ratio) by width, curvatures below and above, and the product term."""

    best: Mapping[int, Point]
    low: Point
    high: Point
    product: float
    ranges: tuple[Point, Point] = ((1e-4, 1.0), (0.02, 4.0))
    lr_range: Point = (1e-3, 0.3)

    @property
    def widths(self) -> Sequence[int]:
        return tuple(self.best)

    @property
    def costs(self) -> Mapping[int, float]:
        return {width: (width / max(self.best)) ** 2 for width in self.best}

    @property
    def knob(self) -> Knob:
        return Knob(low=self.ranges[1][0], high=self.ranges[1][1], coordinate=Coordinate(times="learning_rate"))

    def height(self, width: int, at: Point) -> float:
        u = [x - o for x, o in zip(at, self.best[width], strict=True)]
        rise = sum(d * d * (above if d > 0 else below) for d, below, above in zip(u, self.low, self.high, strict=True))
        return min(max(rise + self.product * u[0] * u[1], 0.0), 0.5)

    def loss(self, width: int, at: Point, rng: np.random.Generator) -> float:
        return 3 * math.exp(self.height(width, at) + rng.normal(0, NOISE))

    def held(self, width: int, which: int) -> Point:
        return self.best[width]


def drawn(seed: int, coupling: float) -> Drawn:
    """One surface over three widths; `coupling` is a share of the largest possible product term."""
    rng = np.random.default_rng([seed, 23])
    slopes, start = (rng.normal(-1, 0.3), rng.normal(0, 0.3)), (rng.uniform(-8, -4), rng.uniform(-4, 0.5))
    low = (0.02 * math.exp(rng.normal(0, 0.4)), 0.01 * math.exp(rng.normal(0, 0.6)))
    skew = (math.exp(rng.normal(0.7, 0.4)), math.exp(rng.normal(0.3, 0.5)))
    best = {
        w: tuple(p + s * math.log2(w / 64) + rng.normal(0, 0.1) for p, s in zip(start, slopes, strict=True))
        for w in (32, 64, 128)
    }
    return Drawn(
        best={w: (p[0], p[1]) for w, p in best.items()},
        low=low,
        high=(low[0] * skew[0], low[1] * skew[1]),
        product=coupling * 2 * math.sqrt(low[0] * low[1]) * float(rng.choice([-1, 1])),
    )


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Clouds of recorded runs by width, with their noise.

    Attributes:
        name: of the second knob.
        least: the lowest log loss by width.
        middles: by knob, its best point by width where the other knob is held at the middle of its range.
    """

    clouds: Mapping[int, Cloud]
    costs: Mapping[int, float]
    ranges: tuple[Point, Point]
    name: str
    least: Mapping[int, float]
    middles: tuple[Mapping[int, Point], Mapping[int, Point]]

    @property
    def widths(self) -> Sequence[int]:
        return tuple(self.clouds)

    @property
    def lr_range(self) -> Point:
        return self.ranges[0]

    @property
    def knob(self) -> Knob:
        return Knob(low=self.ranges[1][0], high=self.ranges[1][1])

    def height(self, width: int, at: Point) -> float:
        return _log_loss(self.clouds[width], at) - self.least[width]

    def loss(self, width: int, at: Point, rng: np.random.Generator) -> float:
        return math.exp(_log_loss(self.clouds[width], at) + rng.normal(0, self.clouds[width].noise))

    def held(self, width: int, which: int) -> Point:
        return self.middles[which][width]


@cache
def recorded(path: Path = MUON) -> Recorded:
    """The surface of a study's records, in the range that was run at every width."""
    by_width: dict[int, list[TrialRecord]] = defaultdict(list)
    for record in read_records(path).records:
        by_width[record.hidden_size].append(record)
    clouds = {width: cloud(records) for width, records in sorted(by_width.items())}
    (name,) = next(iter(clouds.values())).names
    low = np.max([each.places.min(axis=0) for each in clouds.values()], axis=0)
    high = np.min([each.places.max(axis=0) for each in clouds.values()], axis=0)
    rates, others = (np.linspace(a, b, math.ceil((b - a) * _FINE) + 1) for a, b in zip(low, high, strict=True))
    middle = (low + high) / 2
    lines = [[(float(x), float(middle[1])) for x in rates], [(float(middle[0]), float(y)) for y in others]]
    whole = [(float(x), float(y)) for x in rates for y in others]
    cost = {width: records[0].cost for width, records in by_width.items()}
    best = [
        {width: min(line, key=lambda at, of=each: _log_loss(of, at)) for width, each in clouds.items()}  # type: ignore[misc]
        for line in (whole, *lines)
    ]
    return Recorded(
        clouds=clouds,
        costs={width: cost[width] / cost[max(cost)] for width in clouds},
        ranges=((2.0 ** low[0], 2.0 ** high[0]), (2.0 ** low[1], 2.0 ** high[1])),
        name=name,
        least={width: _log_loss(each, best[0][width]) for width, each in clouds.items()},
        middles=(best[1], best[2]),
    )


def _log_loss(runs: Cloud, at: Point) -> float:
    (name,) = runs.names
    return runs.log_loss(2.0 ** at[0], {name: 2.0 ** at[1]})
