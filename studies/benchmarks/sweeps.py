"""Sweeps that were measured, public and our own; the optimum of each cell with its error; the straight line."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from lrtune.records.columns import Columns
from lrtune.records.importers import read_sources
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.records.surface import smooth

Array = NDArray[np.float64]
Key = tuple[float, ...]  # a cell's values of the scales, in order
SIZE = "hidden_size"
STUDIES = Path(__file__).resolve().parents[1]
_MARIN = Columns(
    learning_rate="learning_rate",
    scales={SIZE: "hidden_dim", "chinchilla": "chinchilla_mult"},
    failed_when="loss > 5",
)
_GEMSTONES = Columns(learning_rate="lr_base", scales={SIZE: "width", "depth": "depth"}, failed_when="loss > 5")
_WIDTH = {SIZE: "width"}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Records over one or more scales, the first of which is the size.

    Attributes:
        own: recorded by this project, not by others: √2 between rates and noisy, so that the optimum is read from
            twice as many rates, and losses are smoothed before regrets are.
    """

    name: str
    scales: tuple[str, ...]
    records: tuple[TrialRecord, ...]
    own: bool = False

    def cells(self) -> dict[Key, list[TrialRecord]]:
        groups: dict[Key, list[TrialRecord]] = defaultdict(list)
        for record in self.records:
            groups[tuple(record.scale(name) or 0.0 for name in self.scales)].append(record)
        return dict(sorted(groups.items()))

    def truths(self) -> dict[Key, "Truth"]:
        """Each cell's own optimum; cells of one rate are left out."""
        wide = 2 if self.own else 1
        return {key: found for key, runs in self.cells().items() if (found := read_truth(runs, wide)) is not None}

    def sizes(self) -> list[float]:
        return sorted({key[0] for key in self.cells()})


def public_sweeps(folder: Path) -> list[Sweep]:
    """The public tables of a folder, under their usual file names; those that are not there are left out."""
    sweeps = []
    for file, columns in (
        ("fmnist_inr.csv", Columns(loss="psnr_db", scales=_WIDTH, maximize=True)),
        ("mup_mlp_mup.csv", Columns(scales=_WIDTH, failed_when="loss > 2.2")),
        ("modula_width.csv", Columns(scales=_WIDTH)),
        ("gemstones.csv", _GEMSTONES),
        ("marin_adamw.csv", _MARIN),
    ):
        if (folder / file).exists():
            records = read_sources([folder / file], columns).records
            name = file.split("_")[0].removesuffix(".csv")
            sweeps += _views(name, tuple(columns.scales or ()), records)
    return sweeps


def _views(name: str, scales: tuple[str, ...], records: Sequence[TrialRecord]) -> list[Sweep]:
    """A sweep over one scale as it is; over two also each slice that has three sizes."""
    whole = Sweep(name=name, scales=scales, records=tuple(records))
    if len(scales) == 1:
        return [whole]
    slices = []
    for value in sorted({record.scale(scales[1]) or 0.0 for record in records}):
        part = tuple(record for record in records if record.scale(scales[1]) == value)
        one = Sweep(name=f"{name}, {scales[1]} {value:g}", scales=scales[:1], records=part)
        if len(one.sizes()) >= 3:
            slices.append(one)
    return [*slices, whole]


def own_sweeps() -> list[Sweep]:
    """The project's dense sweeps: ten widths at 800 steps, four at 3,200, both; four widths × steps × batches."""
    short = read_records(STUDIES / "pruning" / "records.jsonl").records
    held = read_records(STUDIES / "reference" / "held-out.jsonl").records
    grid = read_records(STUDIES / "joint" / "records.jsonl").records
    four = [r for r in short if r.arm == "adamw-two-stage"]
    at_800 = [*four, *(r for r in held if r.arm == "width")]
    at_3200 = [r for r in held if r.arm == "horizon"]
    joint = [replace(r, scales={"batch_tokens": float(r.facts.tokens_per_step or 0)}) for r in (*grid, *four, *at_3200)]
    one_batch = tuple(r for r in joint if r.scales["batch_tokens"] == 1024)
    return [
        Sweep(name="recorded, 800 steps", scales=(SIZE,), records=tuple(at_800), own=True),
        Sweep(name="recorded, 3,200 steps", scales=(SIZE,), records=tuple(at_3200), own=True),
        Sweep(name="recorded", scales=(SIZE, "steps"), records=(*at_800, *at_3200), own=True),
        Sweep(name="joint, one batch", scales=(SIZE, "steps"), records=one_batch, own=True),
        Sweep(name="joint", scales=(SIZE, "steps", "batch_tokens"), records=tuple(joint), own=True),
    ]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a cell's own rates say of its optimum, all in log2 rate.

    Attributes:
        low, high: the optimum lies between; ±inf where a side was not sampled.
        best: the mean of three estimates where the best rate has finite neighbours; else NaN.
        error: of `best`: how far the estimates differ.
        at: the rate with the least mean loss.
        curve: relative loss above the least, at log2 rates; 1 where runs fail.
        vertices: the optimum by each way of reading it, for the straight line.
    """

    low: float
    high: float
    best: float
    error: float
    at: float
    curve: "Curve"
    vertices: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_interior(self) -> bool:
        return math.isfinite(self.best)


class Curve:
    """Relative loss above the best: Akima's cubic through the mean losses by rate, straight beyond them.

    It goes through a square curve exactly and hardly swings at a cliff; a monotone cubic is flat at the best rate.
    """

    def __init__(self, x: Array, y: Array, failed: Array) -> None:
        self._x, self._fit = x, Akima1DInterpolator(x, y) if len(x) > 1 else None
        self._ends = (-abs(y[1] - y[0]) / (x[1] - x[0]), abs(y[-1] - y[-2]) / (x[-1] - x[-2])) if len(x) > 1 else (0, 0)
        beyond = failed[failed > x[-1]]
        self._dead = (x[-1] + beyond[0]) / 2 if len(beyond) else math.inf
        self._least = float(min(self._fit(np.linspace(x[0], x[-1], 2001)))) if self._fit else float(y[0])

    def regret(self, at: float) -> float:
        if self._fit is None or at >= self._dead:
            return 1.0
        inside = float(np.clip(at, self._x[0], self._x[-1]))
        height = float(self._fit(inside)) + self._ends[0 if at < inside else 1] * (at - inside)
        return float(np.clip(np.expm1(height - self._least), 0.0, 1.0))


def read_truth(runs: Sequence[TrialRecord], wide: int = 1) -> Truth | None:
    """The optimum by a cell's own runs; None where fewer than two rates were tried.

    Args:
        wide: 1: a parabola through three rates, a quadratic and a cubic through five; 2: through five and nine.
    """
    by_rate: dict[float, list[float]] = defaultdict(list)
    for run in runs:
        lost = run.status != "finished" or run.loss is None
        by_rate[math.log2(run.learning_rate)].append(math.inf if lost else float(run.loss or 0.0))
    rates = np.array(sorted(by_rate))
    means = np.array([np.mean([v for v in by_rate[x] if v < math.inf] or [math.inf]) for x in rates])
    means[[np.mean(np.isinf(by_rate[x])) > 0.5 for x in rates]] = math.inf
    alive = np.isfinite(means)
    if len(rates) < 2 or not alive.any():
        return None
    x, loss = rates[alive], means[alive]
    y = np.log(loss) if loss.min() > 0 else loss / abs(loss.min())
    i = int(np.argmin(y))
    j = int(np.searchsorted(rates, x[i]))
    low = -math.inf if j == 0 else (x[i] + rates[j - 1]) / 2
    high = math.inf if j == len(rates) - 1 else (x[i] + rates[j + 1]) / 2 if alive[j + 1] else rates[j + 1]
    interior = 0 < j < len(rates) - 1 and bool(alive[j - 1] and alive[j + 1])
    smoothed = smooth([*2.0**x], [by_rate[value] for value in x]).y if wide > 1 else y
    curve = Curve(x, smoothed, rates[~alive])
    if not interior:
        return Truth(low=low, high=high, best=math.nan, error=math.nan, at=x[i], curve=curve)
    found = _vertices(x, y, i, wide)
    means_of = [found[name] for name in ("parabola", "quadratic", "cubic") if name in found]
    spread = float(np.std(means_of, ddof=1)) if len(means_of) > 1 else (x[i + 1] - x[i - 1]) / 16
    near = slice(max(i - wide, 0), i + wide + 1)
    found["parabola of the loss"] = _vertex(x[near], loss[near])
    best = float(np.mean(means_of))
    return Truth(low=low, high=high, best=best, error=spread, at=x[i], curve=curve, vertices=found)


def _vertices(x: Array, y: Array, i: int, wide: int) -> dict[str, float]:
    """A parabola through the best rate and its neighbours, a quadratic and a cubic through twice as many."""
    near = slice(max(i - wide, 0), i + wide + 1)
    found = {"parabola": _vertex(x[near], y[near])}
    count = 4 * wide + 1
    start = min(max(i - 2 * wide, 0), max(len(x) - count, 0))
    far = slice(start, start + count)
    if len(x[far]) >= 4:
        low, high = x[near][0], x[near][-1]
        found["quadratic"] = float(np.clip(_vertex(x[far], y[far]), low, high))
        fine = np.linspace(low, high, 801)
        cubic = np.polynomial.Polynomial.fit(x[far], y[far], 3)
        found["cubic"] = float(fine[np.argmin(cubic(fine))])
    return found


def _vertex(x: Array, y: Array) -> float:
    """The lowest point of a parabola, within the rates that it goes through."""
    a, b, _ = np.polyfit(x - x.mean(), y, 2)
    return float(np.clip(x.mean() - b / (2 * a), x[0], x[-1])) if a > 0 else float(x[np.argmin(y)])


@dataclass(frozen=True)
class Line:
    """A straight line in log–log through the sizes' own optima, read in one way.

    Attributes:
        reading: which vertex; see `Truth.vertices`.
        edges: whether a size whose best rate is at an edge stands for itself, or is left out.
    """

    reading: str
    edges: bool

    def predict(self, truths: Mapping[Key, Truth], at: Key) -> float:
        """log2 of the best rate at `at`; NaN where nothing is left to draw a line through."""
        points = {k: t.vertices.get(self.reading, t.vertices.get("parabola", t.at)) for k, t in truths.items()}
        inner = {k: v for k, v in points.items() if truths[k].is_interior}
        used = points if self.edges or len({k[0] for k in inner}) < 2 else inner
        if not used:
            return math.nan
        z = np.log2(np.array(list(used)))
        middle = z.mean(axis=0)
        design = np.concatenate([np.ones((len(z), 1)), z - middle], axis=1)
        solution, *_ = np.linalg.lstsq(design, np.array(list(used.values())), rcond=None)
        return float(solution[0] + (np.log2(at) - middle) @ solution[1:])


LINES = [Line(r, e) for r, e in product(("parabola", "parabola of the loss", "quadratic", "cubic"), (True, False))]
