"""The loss surfaces that searches are compared on: synthetic laws, recorded grids, tables."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lrtune.records.jsonl import read_records
from lrtune.records.replay import _normal, replay_records
from lrtune.records.surface import Surface, smooth

LOW, HIGH = 1e-4, 1.0  # the learning-rate range that is declared to every contender
GRID_RATES = 27  # √2 apart over it
CLIFF = 0.5  # log loss above the best at which a run on the high side diverges
FALL = 0.6  # share of the final loss by which a course begins above it
DIVERGED_SHARE = 0.1  # of a run that is trained until its divergence shows
REPORTS = 10


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One surface over several widths, as a contender meets it.

    Attributes:
        name: shown in the table.
        widths: smallest first; a run at w costs w² when it is trained to its end.
        height: (width, log2 rate) → log loss above the width's best; inf where runs diverge.
        floor: log of the best loss by width.
        shared, own: sd of the log loss by seed (alike for all rates of a width), and by run.
    """

    name: str
    widths: tuple[int, ...]
    height: Callable[[int, float], float]
    floor: Mapping[int, float]
    shared: float = 0.003
    own: float = 0.003

    @property
    def grid_cost(self) -> float:
        """Cost of the √2 grid over the declared range, all runs trained to their ends."""
        return GRID_RATES * sum(float(w) ** 2 for w in self.widths)

    def regret(self, width: int, rate: float) -> float:
        """Share of loss that a rate costs, without noise."""
        return min(math.expm1(min(self.height(width, math.log2(rate)), 10.0)), 1.0)

    def final(self, width: int, rate: float, seed: int) -> float:
        """Final loss of a run; NaN where it diverges."""
        height = self.height(width, math.log2(rate))
        if not math.isfinite(height):
            return math.nan
        noise = self.shared * _normal("seed", self.name, width, seed)
        noise += self.own * _normal("run", self.name, width, seed, f"{rate:.6g}")
        return math.exp(self.floor[width] + height + noise)

    def course(self, width: int, rate: float, seed: int) -> list[float]:
        """The loss at each tenth of a run; NaN from where it diverged."""
        final = self.final(width, rate, seed)
        if math.isnan(final):
            return [math.nan]
        return [final * (1 + FALL * (1 - k / REPORTS) ** 3) for k in range(1, REPORTS + 1)]


SHAPES = ("round", "skewed", "kinked", "cliff", "drifting")


def synthetic(shape: str, exponent: float, widths: Sequence[int], seed: int) -> Problem:
    """A drawn surface: a power law with its own deviation at each width, and a shape that `lrtune.law.surface` has not.

    "round" alone is near the model's family; "skewed" is exp(z) − z − 1, "kinked" has a corner at its best, "cliff"
    diverges 1 to 2.5 octaves above it, "drifting" changes curvature and asymmetry with width.
    """
    rng = np.random.default_rng([seed, int(100 * (exponent + 5)), len(widths), SHAPES.index(shape)])
    octaves = np.log2(np.array(widths) / widths[0])
    reach = exponent * octaves[-1]
    first = rng.uniform(math.log2(LOW) + 1.5 + max(0.0, -reach), math.log2(HIGH) - 1.5 - max(0.0, reach))
    best = dict(zip(widths, first + exponent * octaves + rng.normal(0, 0.2, len(widths)), strict=True))
    low = 0.012 * math.exp(rng.normal(0, 0.5))
    ratio, edge = math.exp(rng.normal(0.6, 0.4)), rng.uniform(1.0, 2.5)
    drift = rng.normal(0, 0.35)
    floor = {w: 1.4 - 0.03 * o + rng.normal(0, 0.005) for w, o in zip(widths, octaves, strict=True)}

    def height(width: int, x: float) -> float:
        z, octave = x - best[width], math.log2(width / widths[0])
        a, r = low, ratio
        if shape == "drifting":
            a, r = low * math.exp(drift * octave), ratio * math.exp(-drift * octave)
        if shape == "skewed":
            h = 0.05 * (math.expm1(0.6 * z) - 0.6 * z) + 0.1 * low * z * z
        elif shape == "kinked":
            h = 0.012 * abs(z) if z < 0 else 0.03 * z + 0.02 * z * z
        else:
            h = a * z * z / (1 + abs(z) / 4) if z < 0 else a * r * z * z + 0.2 * max(0.0, z - 2.5) ** 2
        if z < 0:
            return CLIFF * math.tanh(h / CLIFF)  # untrained at worst
        return math.inf if h > CLIFF or (shape == "cliff" and z > edge) else h

    return Problem(name=f"{shape} {exponent:+g} #{seed}", widths=tuple(widths), height=height, floor=floor)


@cache
def recorded(path: Path, *, arm: str | None = None, leave_out: tuple[int, ...] = ()) -> Problem:
    """The surface smoothed from a records file (see `lrtune.records.replay`), with the noise that the records show."""
    surfaces = replay_records(read_records(path).records, arm).surfaces
    return from_surfaces(arm or path.parent.name, {w: s for w, s in surfaces.items() if w not in leave_out})


@cache
def table(path: Path, *, width: str, rate: str, loss: str, maximize: bool = False, where: str = "") -> Problem:
    """The surface smoothed from a CSV with a column each for width, learning rate and loss (or a score).

    `where` keeps the rows in which a column has a value: ``column=value``.
    """
    column, _, wanted = where.partition("=")
    rows: dict[int, dict[float, list[float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if column and row[column] != wanted:
                continue
            value = float(row[loss]) if row[loss] not in ("", "null") else math.nan
            if maximize:
                value = 100.0 / value  # a score such as PSNR: its inverse falls as the score rises, by the same share
            rows.setdefault(int(row[width]), {}).setdefault(float(row[rate]), []).append(value)
    surfaces = {}
    for size, rates in sorted(rows.items()):
        if sum(any(map(math.isfinite, values)) for values in rates.values()) >= 4:
            most = max(map(len, rates.values()))
            surfaces[size] = smooth(list(rates), [v + [math.nan] * (most - len(v)) for v in rates.values()])
    return from_surfaces(path.stem, surfaces, own=0.003)


def from_surfaces(name: str, surfaces: Mapping[int, Surface], own: float | None = None) -> Problem:
    """The problem of these smoothed curves, with the noise that they show, or `own`."""

    def height(width: int, x: float) -> float:
        surface = surfaces[width]
        if x >= surface.dead:
            return math.inf
        return max(float(surface.log_loss(x)) - surface.best_y, 0.0)

    noise = [s.own for s in surfaces.values() if math.isfinite(s.own)]
    shared = [s.shared for s in surfaces.values() if math.isfinite(s.shared)]
    return Problem(
        name=name,
        widths=tuple(surfaces),
        height=height,
        floor={w: s.best_y for w, s in surfaces.items()},
        shared=float(np.median(shared)) if own is None else own,
        own=float(np.median(noise)) if own is None else own,
    )
