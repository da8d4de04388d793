"""Trials in, advice out: keeps sums per width and rate, asks `lrtune.law.surface` and
`lrtune.search.sampling.acquisition`.

Everything here follows from the observations alone. What is kept between calls (sums, tables) only saves time.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lrtune.law.evidence import Cell, Censored, Positions, Table, WidthData, tabulate
from lrtune.law.shapes import CAP, Array
from lrtune.law.surface import Draws, draw
from lrtune.search.sampling.acquisition import Advice, Choice, advise, choose

Outcome = Literal["value", "beaten", "bad", "diverged"]
_MARGIN: Mapping[str, float] = {"beaten": 0.015, "bad": 0.03, "diverged": 0.1}
_BINS = 8  # per octave: rates closer than that are one cell, and proposals lie on its multiples
_MANY = 20  # cells of one width; beyond, they are merged
_NEAR = 2.0  # octaves around the best where a merged cell is 1/4 octave wide; elsewhere it is 1
_BEYOND = 2.0  # octaves beyond the expected range where a best rate is still thought of
_DRAWS = 384
_BARRED = 0.3  # octaves: another run so near to one that ended early would end early too
_LEAST = 3  # finished runs at each target, however sure the model is: a law through fewer convinces nobody
_REPEATS = 3  # early ends at one rate count this often at most


@dataclass(frozen=True)
class Observation:
    """One ended trial: width, log2 rate, how it ended, and its value (smaller is better) where it has one."""

    width: int
    x: float
    outcome: Outcome
    value: float = math.nan


@dataclass
class _Sums:
    """Count and sums at one rate of one width: of x, of value, of value², in raw units."""

    count: int = 0
    x: float = 0.0
    value: float = 0.0
    square: float = 0.0


@dataclass
class _Width:
    sums: dict[int, _Sums] = field(default_factory=dict)
    ended: dict[tuple[int, Outcome], int] = field(default_factory=dict)
    lowest: float = math.inf
    table: Table | None = None
    made_for: tuple[float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where to search.

    Attributes:
        widths: those that runs may be made at.
        targets: those that the rule is for; part of `widths`, or beyond them.
        costs: of one run at each of `widths`, in any unit.
        low, high: bounds of log2 rate that a run may have.
        focus: (low, high) of log2 rate where the best is expected; only a soft prior.
        tolerance: once the worst regret is predicted to be under it, runs go first to targets that lack finished ones.
    """

    widths: tuple[int, ...]
    targets: tuple[int, ...]
    costs: tuple[float, ...]
    low: float
    high: float
    focus: tuple[float, float]
    tolerance: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Draws over all widths that were seen, may be run, or are targets, with the advice at each target."""

    widths: tuple[int, ...]
    draws: Draws
    advice: Mapping[int, Advice]

    @property
    def worst(self) -> Array:
        """The worst regret over all targets, by draw: (N,)."""
        return np.asarray(np.max(np.stack([advice.by_draw for advice in self.advice.values()]), axis=0))


class Belief:
    """What the observations so far say of the loss surface."""

    def __init__(self) -> None:
        self._widths: dict[int, _Width] = {}
        self._raw: list[Observation] = []
        self._logs = True

    def add(self, observations: Iterable[Observation]) -> None:
        """Take in ended trials, each once."""
        for observation in observations:
            if observation.outcome == "value" and self._logs and observation.value <= 0:
                self._start_again()
            self._raw.append(observation)
            self._count(observation)

    def _start_again(self) -> None:
        """Values that are not all positive are compared by difference, not by ratio."""
        self._logs = False
        self._widths = {}
        for observation in self._raw:
            self._count(observation)

    def _count(self, observation: Observation) -> None:
        width = self._widths.setdefault(observation.width, _Width())
        width.table = None
        key = round(observation.x * _BINS)
        if observation.outcome != "value":
            width.ended[key, observation.outcome] = width.ended.get((key, observation.outcome), 0) + 1
            return
        value = math.log(observation.value) if self._logs else observation.value
        sums = width.sums.setdefault(key, _Sums())
        sums.count += 1
        sums.x += observation.x
        sums.value += value
        sums.square += value * value
        width.lowest = min(width.lowest, value)

    def trials(self, width: int) -> int:
        """How many ended trials of a width are known."""
        known = self._widths.get(width)
        return 0 if known is None else sum(s.count for s in known.sums.values()) + sum(known.ended.values())

    def lacking(self, space: Space, running: Sequence[tuple[int, float]] = ()) -> list[int]:
        """Targets with fewer finished runs than a law can be believed from, those under way counted in."""
        under_way = [width for width, _ in running]
        done = {width: sum(s.count for s in known.sums.values()) for width, known in self._widths.items()}
        wanted = [width for width in space.targets if width in space.widths]
        return [width for width in sorted(wanted) if done.get(width, 0) + under_way.count(width) < _LEAST]

    def _scale(self) -> float:
        """Units of y per unit of raw value: 1 in logs, else 1 ÷ the size of the best value."""
        if self._logs:
            return 1.0
        lowest = [width.lowest for width in self._widths.values() if math.isfinite(width.lowest)]
        means = [s.value / s.count for width in self._widths.values() for s in width.sums.values()]
        return 1 / max(abs(min(lowest)), float(np.ptp(means)) / 4, 1e-12)

    def posterior(
        self, space: Space, rng: np.random.Generator, *, also: Sequence[int] = (), draws: int = _DRAWS
    ) -> Posterior:
        """Draws from the posterior given everything added so far, and the advice at each target.

        `also` names widths that shall be drawn beside those seen, those that may be run, and the targets.
        """
        seen = [width for width, data in self._widths.items() if data.sums or data.ended]
        widths = tuple(sorted({*seen, *space.widths, *space.targets, *also}))
        scale = self._scale()
        reach = [key / _BINS for w in self._widths.values() for key in (*w.sums, *(key for key, _ in w.ended))]
        start, end = space.focus
        positions = Positions.over(min([start - _BEYOND, *reach]), max([end + _BEYOND, *reach]))
        floors = [w.lowest * scale for w in self._widths.values() if math.isfinite(w.lowest)]
        tables = {widths.index(width): self._table(width, positions, scale, min(floors, default=0.0)) for width in seen}
        drawn = draw(
            tables,
            [math.log2(width) for width in widths],
            positions,
            centre=(start + end) / 2,
            spread=max((end - start) / 4, 1.0),
            lowest=min(floors, default=0.0),
            count=draws,
            rng=rng,
        )
        advice = {width: advise(drawn, widths.index(width), space.low, space.high) for width in space.targets}
        return Posterior(widths=widths, draws=drawn, advice=advice)

    def _table(self, width: int, positions: Positions, scale: float, lowest: float) -> Table:
        known = self._widths[width]
        floor = known.lowest * scale if math.isfinite(known.lowest) else lowest
        made_for = (positions.first, positions.count, scale)
        if known.table is None or known.made_for != made_for:
            known.table = tabulate(_summary(known, scale, floor), positions, floor)
            known.made_for = made_for
        return known.table

    def next_run(
        self,
        space: Space,
        posterior: Posterior,
        running: Sequence[tuple[int, float]],
        rng: np.random.Generator,
        *,
        width: int | None = None,
    ) -> Choice:
        """The next run among `space.widths`, or at the one given; its x is a free multiple of 1/8 octave."""
        if width is None and float(np.quantile(posterior.worst, 0.9)) < space.tolerance:
            width = next(iter(self.lacking(space, running)), None)
        allowed = space.widths if width is None else (width,)
        cost = dict(zip(space.widths, space.costs, strict=True))
        at = {w: i for i, w in enumerate(posterior.widths)}
        chosen = choose(
            posterior.draws,
            regrets=[posterior.advice[t].regret for t in space.targets],
            targets=[at[t] for t in space.targets],
            candidates={at[w]: cost.get(w, float(w) ** 2) for w in allowed},
            running=[(at[w], x) for w, x in running if w in at],
            barred=lambda index, x: self._barred(posterior.widths[index], x),
            low=space.low,
            high=space.high,
            rng=rng,
        )
        found = posterior.widths[chosen.width]
        return Choice(width=found, x=self._free(found, chosen.x, space, running), gain=chosen.gain)

    def _barred(self, width: int, x: float) -> bool:
        """A run ended early near x, or (beaten ones apart, which noise may do) between x and the best finished rate."""
        known = self._widths.get(width)
        if known is None or not known.ended:
            return False
        ended = [key / _BINS for key, outcome in known.ended if outcome != "beaten"]
        if any(abs(x - key / _BINS) < _BARRED for key, _ in known.ended):
            return True
        if not known.sums:
            return False
        best = min(known.sums, key=lambda key: known.sums[key].value / known.sums[key].count) / _BINS
        return any(best < at <= x or x <= at < best for at in ended)

    def _free(self, width: int, x: float, space: Space, running: Sequence[tuple[int, float]]) -> float:
        """x on the lattice of proposals, moved by up to 1/4 octave to where no run was made yet, if there is such."""
        known = self._widths.get(width, _Width())
        taken = {*known.sums, *(key for key, _ in known.ended), *(round(r * _BINS) for w, r in running if w == width)}
        first = round(x * _BINS)
        lattice = [
            k for k in (first, first + 1, first - 1, first + 2, first - 2) if space.low <= k / _BINS <= space.high
        ]
        free = [k for k in lattice if k not in taken]
        return (free or lattice)[0] / _BINS if lattice else x


def _summary(known: _Width, scale: float, floor: float) -> WidthData:
    """The cells and early ends of a width, in units of y; where cells are many, they are merged."""
    groups: dict[tuple[int, int], list[_Sums]] = {}
    best = min(known.sums, key=lambda k: known.sums[k].value / known.sums[k].count, default=0)
    for key, sums in sorted(known.sums.items()):
        size = 1 if len(known.sums) <= _MANY else 2 if abs(key - best) <= _NEAR * _BINS else _BINS
        groups.setdefault((size, key // size), []).append(sums)
    cells, censored = [], []
    for members in groups.values():
        count = sum(s.count for s in members)
        x = sum(s.x for s in members) / count
        y = sum(s.value for s in members) / count * scale
        if y - floor > CAP:
            censored.append(Censored(x, CAP / 3))
            continue
        squares = sum(s.square for s in members) * scale * scale - count * y * y if len(members) == 1 else 0.0
        cells.append(Cell(x, y, count if len(members) == 1 else 1, max(squares, 0.0)))
    for (key, outcome), count in known.ended.items():
        over = known.lowest * scale if outcome == "beaten" and math.isfinite(known.lowest) else None
        early = Censored(key / _BINS, _MARGIN[outcome], outcome == "diverged", over)
        censored += [early] * min(count, _REPEATS)
    return WidthData(tuple(cells), tuple(censored))
