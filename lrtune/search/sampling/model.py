"""The model of a search: ended runs in, an assessment out; `lrtune.search.sampling.proposals` asks it for the next run.

It has two users: `lrtune.search.adaptive` and `lrtune.search.sampling.sampler`. It is the law's model on a coarser grid
with fewer components; where it knows enough, they ask the rule (`lrtune.search.sampling.assessment.by_rule`). Its
answers depend on the ended runs alone; other state is a cache.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lrtune.law.atoms import Array
from lrtune.law.geometry import Geometry
from lrtune.law.model import Model, pilot
from lrtune.law.observations import SAME, Measure, cell_data, measure_of
from lrtune.law.posterior import Size, infer
from lrtune.law.prediction import Prediction, predict, predict_from_priors
from lrtune.law.priors import SLOPES
from lrtune.law.tables import CellData, CellTable, Resolution, tabulate
from lrtune.records.magnitude import largest, within
from lrtune.records.record import TrialRecord
from lrtune.search.sampling.acquisition import Advice, advise
from lrtune.search.sampling.assessment import MOST, Assessment, Known, suffices, worst_90
from lrtune.search.sampling.space import Place, Space, cost_of, place_of

LEAST = 3  # finished runs at each value of a scale, however sure the model is
_EDGE = 0.25  # probability that the optimum lies outside the runs, from which a target counts as at the edge
_FLAT = 12.0  # octaves of rates with the same loss, from which the loss does not depend on the rate
_AT_BOUND = 0.5  # octaves
_USUAL = 0.012  # relative loss: a typical rise an octave away from the best; counts as one cell's


_SIZE = Size(shapes=8, strays=10, rounds=7, resolution=Resolution(step=0.25, atoms=40))
_DRAWS = 256


@dataclass
class Cell:
    """The runs of one place, and what was computed from them."""

    records: list[TrialRecord] = field(default_factory=list)
    data: CellData | None = None
    table: CellTable | None = None
    made_for: object = None

    @property
    def finished(self) -> int:
        return sum(record.status == "finished" for record in self.records)


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Draws at the measured places, the places of the space and the targets, with the advice at each target."""

    places: tuple[Place, ...]
    draws: Prediction
    advice: Mapping[Place, Advice]

    @property
    def regrets(self) -> dict[Place, Array]:
        """The regret of each target's advice, by draw, (N,)."""
        return {target: advice.by_draw for target, advice in self.advice.items()}


class SearchModel:
    """The model of one search's ended runs. Random choices depend on `seed` and on counts of runs alone."""

    def __init__(self, seed: int, scales: Sequence[str], slopes: Mapping[str, tuple[float, float]] = SLOPES) -> None:
        self.seed, self.scales, self.slopes = seed, tuple(scales), slopes
        self.taken: set[int] = set()
        self.cells: dict[Place, Cell] = {}
        self._runs: list[tuple[Place, TrialRecord]] = []
        self._least = math.inf  # magnitude of a loss
        self._losses: list[float] = []
        self._measure = Measure()
        self._compute: dict[Place, float] = {}
        self._last: tuple[object, Posterior] | None = None

    def take(self, number: int, record: TrialRecord | None) -> None:
        """Add an ended run once; None, and a run that failed with an error, say nothing."""
        self.taken.add(number)
        place = None if record is None or record.status == "failed" else place_of(record, self.scales)
        if record is None or place is None:
            return
        self._runs.append((place, record))
        fresh, before = self._runs[-1:], largest(self._least)
        if record.loss is not None and record.status == "finished":
            self._least = min(self._least, abs(record.loss))
        limit = largest(self._least)
        if limit != before:  # what was a measurement or not may be the other
            fresh, self.cells, self._losses = self._runs, {}, []
        for where, run in fresh:
            self._add(where, within(run, limit))
        if record.facts.parameters and record.steps_done:
            self._compute[place] = record.cost * record.steps / record.steps_done

    def _add(self, place: Place, record: TrialRecord) -> None:
        if record.loss is not None and record.status == "finished":
            self._losses.append(record.loss)
            measure = measure_of(self._losses)
            if measure != self._measure:
                self._measure = measure
                for cell in self.cells.values():
                    cell.data = None
        cell = self.cells.setdefault(place, Cell())
        cell.records.append(record)
        cell.data = None

    def cost(self, place: Place) -> float:
        """Compute of a whole run at a place, in any unit."""
        return cost_of(place, self.scales, self._compute)

    @property
    def records(self) -> list[TrialRecord]:
        """The ended runs, place by place."""
        return [record for cell in self.cells.values() for record in cell.records]

    def trials(self, place: Place) -> int:
        """The number of ended runs at a place."""
        return len(self.cells[place].records) if place in self.cells else 0

    def lacking(self, space: Space, running: Sequence[tuple[Place, float]] = ()) -> list[Place]:
        """Places of the space that need another run: no run there, or too few finished at one of its scales' values."""
        under_way = [place for place, _ in running]
        found: dict[Place, None] = {}
        for s in range(len(space.scales)):
            for value in sorted({place[s] for place in space.places}):
                level = [place for place in space.places if place[s] == value]
                done = sum(self.cells[place].finished for place in level if place in self.cells)
                if done + sum(under_way.count(place) for place in level) < LEAST:
                    found[min(level, key=lambda place: (self.trials(place) + under_way.count(place), place))] = None
        tried = {*self.cells, *under_way}
        return [*found, *(place for place in space.places if place not in tried and place not in found)]

    def flat(self, tolerance: float) -> tuple[float, float] | None:
        """Lowest and highest log2 rate if no run tells rates apart: all finish with nearly the same loss."""
        cells = [cell for cell in self.cells.values() if cell.records]
        if not cells or any(cell.finished < len(cell.records) for cell in cells):
            return None
        for cell in cells:
            y = self._measure.relative(np.array([record.loss for record in cell.records], dtype=float))
            if float(np.ptp(y)) > min(tolerance, SAME):
                return None
        x = [math.log2(record.learning_rate) for cell in cells for record in cell.records]
        return (min(x), max(x)) if len(x) >= LEAST else None

    def assess(self, space: Space) -> Assessment:
        """The best rates so far, and whether they suffice."""
        lacking, flat = self.lacking(space), self.flat(space.tolerance)
        posterior = self.posterior(space)
        beyond = self.beyond(space, posterior)
        known = tuple(
            replace(self.known(space, posterior, target), beyond=beyond.get(target, "")) for target in space.targets
        )
        enough = suffices(space, posterior.regrets) and not (lacking or flat) and not any(one.at_edge for one in known)
        return Assessment(
            known=known,
            regret_90=worst_90(posterior.regrets.values()),
            tolerance=space.tolerance,
            enough=enough,
            no_signal=flat if flat is not None and flat[1] - flat[0] >= _FLAT else None,
            all_equal=all(len({record.loss for record in cell.records}) < 2 for cell in self.cells.values()),
            no_optimum=() if enough else tuple(self._scales(target) for target in beyond),
            exhausted=len(self.records) >= MOST * len(space.targets),
            lacking=tuple(self._scales(place) for place in lacking),
        )

    def at_edge(self, space: Space, posterior: Posterior, target: Place) -> bool:
        """Whether the best rate may well lie outside the target's runs; outside all possible rates if runs are few."""
        optimum = posterior.draws.optimum[:, posterior.places.index(target)]
        first, last = space.low, space.high
        cell = self.cells.get(target)
        if cell is not None and cell.data is not None and cell.finished >= LEAST:
            first, last = cell.data.sampled
        return bool(np.mean((optimum < first) | (optimum > last)) > _EDGE)

    def beyond(self, space: Space, posterior: Posterior) -> dict[Place, str]:
        """By target with its best rate at an edge of its runs that is a bound of the possible rates, too, this edge."""
        found = {}
        for target in space.targets:
            cell = self.cells.get(target)
            if cell is None or cell.data is None or cell.finished < LEAST:
                continue
            first, last = cell.data.sampled
            optimum = posterior.draws.optimum[:, posterior.places.index(target)]
            below = first < space.low + _AT_BOUND and float(np.mean(optimum < first)) > _EDGE
            above = last > space.high - _AT_BOUND and float(np.mean(optimum > last)) > _EDGE
            if below or above:
                found[target] = f"down to {2**first:.3g}" if below else f"up to {2**last:.3g}"
        return found

    def known(self, space: Space, posterior: Posterior, target: Place) -> Known:
        advice, optimum = posterior.advice[target], posterior.draws.optimum[:, posterior.places.index(target)]
        low, high = np.quantile(optimum, [0.05, 0.95])
        return Known(
            scales=self._scales(target),
            learning_rate=2**advice.x,
            low=float(2**low),
            high=float(2**high),
            regret=advice.regret,
            regret_90=float(np.quantile(advice.by_draw, 0.9)),
            trials=self.trials(target),
            at_edge=self.at_edge(space, posterior, target),
        )

    def _scales(self, place: Place) -> dict[str, float]:
        return dict(zip(self.scales, place, strict=True))

    def posterior(self, space: Space, *, also: Place | None = None) -> Posterior:
        """The posterior of the ended runs. Cached: the assessment and the next choice use the same draws."""
        more = () if also is None or also in space.places else (also,)
        key = (space, more, len(self.taken))
        if self._last is None or self._last[0] != key:
            rng = np.random.default_rng([self.seed, len(self.taken), 2])
            self._last = key, self._drawn(space, more, rng)
        return self._last[1]

    def _drawn(self, space: Space, also: tuple[Place, ...], rng: np.random.Generator) -> Posterior:
        measured = tuple(sorted(self.cells))
        further = tuple(dict.fromkeys(p for p in (*space.places, *space.targets, *also) if p not in self.cells))
        logs = np.log(np.array([*measured, *further]))
        centre = np.array([np.unique(np.round(column, 9)).mean() for column in logs.T])
        z = logs - centre
        low, high = space.focus
        place, near = (low + high) / 2, max((high - low) / 4, 1.0)
        own = z[: len(measured)] if measured else z
        geometry = Geometry(scales=self.scales, z=own, place=place, near=near, slopes=self.slopes)
        if not measured:
            draws = predict_from_priors(geometry, _USUAL, _SIZE, _DRAWS, rng)
        else:
            data, unit, tables = self._tables(measured, space.tolerance)
            posterior = infer(tables, geometry, _SIZE)
            model = Model(unit=unit, centres=np.exp(centre), geometry=geometry, tables=tables, posterior=posterior)
            draws = predict(model, data, z[len(measured) :], _DRAWS, rng)
        places = (*measured, *further)
        advice = {target: advise(draws, places.index(target), space.low, space.high) for target in space.targets}
        return Posterior(places=places, draws=draws, advice=advice)

    def _tables(
        self, measured: Sequence[Place], tolerance: float
    ) -> tuple[list[CellData], float, tuple[CellTable, ...]]:
        """The measured cells' data, the pilot k to within a factor of two, and their tables."""
        cells = [self.cells[place] for place in measured]
        for cell in cells:
            if cell.data is None:
                cell.data, cell.table = cell_data(cell.records, self._measure, tolerance), None
        data = [cell.data for cell in cells if cell.data is not None]
        unit = 2.0 ** round(math.log2(pilot(data, usual=_USUAL)))  # rounded, so that most runs change one table only
        for cell, one in zip(cells, data, strict=True):
            if cell.table is None or cell.made_for != unit:
                cell.table, cell.made_for = tabulate(one, unit, _SIZE.resolution), unit
        return data, unit, tuple(cell.table for cell in cells if cell.table is not None)
