"""The next run of a search: its place and its rate, given the model of the ended runs and the runs under way."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lrtune.law.atoms import Array, Flags
from lrtune.search.sampling.acquisition import Choice, choose, expected_regrets
from lrtune.search.sampling.assessment import Assessment, suffices
from lrtune.search.sampling.model import Posterior, SearchModel
from lrtune.search.sampling.space import Place, Space

_BINS = 8  # per octave: proposals lie on its multiples
_BARRED = 0.3  # octaves: another run so near to one that ended early would end early too
_FIRST = (0.0, -0.2, 0.2)  # of the focus: the first runs' rates, around its middle
_WIDEN = 2.0  # octaves
_AHEAD = 6  # runs that are looked ahead

Running = Sequence[tuple[Place, float]]  # places and log2 rates


def next_run(
    model: SearchModel,
    space: Space,
    running: Running,
    *,
    number: int,
    place: Place | None = None,
    undecided: int = 0,
) -> tuple[Place, float]:
    """Place and log2 rate of run `number`, given the `running` ones; `place` fixes its place.

    `undecided` runs have started without a place and rate. The model predicts those, so that this run differs.
    """
    rng = np.random.default_rng([model.seed, number])
    posterior = model.posterior(space, also=place)
    running = list(running)
    for _ in range(undecided):
        predicted = next_choice(model, space, posterior, running, rng)
        running.append((posterior.places[predicted.place], predicted.x))
    chosen = next_choice(model, space, posterior, running, rng, place=place)
    at = posterior.places[chosen.place]
    return at, free(model, at, chosen.x, space, running)


def next_choice(
    model: SearchModel,
    space: Space,
    posterior: Posterior,
    running: Running,
    rng: np.random.Generator,
    *,
    place: Place | None = None,
) -> Choice:
    """The first runs along the range, then outward while rates make no difference, then the one that teaches most."""
    started = len(running) + len(model.records)
    cheapest = space.places[int(np.argmin(space.costs))] if place is None else place
    if started < len(_FIRST):
        low, high = space.focus
        x = min(max((low + high) / 2 + _FIRST[started] * (high - low), space.low), space.high)
        return Choice(place=posterior.places.index(cheapest), x=x, gain=0.0)
    flat = model.flat(space.tolerance)
    if flat is not None:
        tried = [*flat, *(at for _, at in running)]
        outward = (max(tried) + _WIDEN, min(tried) - _WIDEN)[:: 1 if started % 2 else -1]
        within = [at for at in outward if space.low <= at <= space.high]
        if within:
            return Choice(place=posterior.places.index(cheapest), x=within[0], gain=0.0)
    if place is None and suffices(space, posterior.regrets):
        edges = (t for t in space.targets if t in space.places and model.at_edge(space, posterior, t))
        place = next(iter(model.lacking(space, running)), next(edges, None))
    return choice(model, space, posterior, running, rng, place=place)


def choice(
    model: SearchModel,
    space: Space,
    posterior: Posterior,
    running: Running,
    rng: np.random.Generator,
    *,
    place: Place | None = None,
) -> Choice:
    """The run that teaches most per unit of compute, at `place` if it is given."""
    allowed = space.places if place is None else (place,)
    cost = dict(zip(space.places, space.costs, strict=True))
    at = {p: i for i, p in enumerate(posterior.places)}
    low, high = _reach(model, space)
    return choose(
        posterior.draws,
        regrets=[posterior.advice[t].regret for t in space.targets],
        targets=[at[t] for t in space.targets],
        candidates={at[p]: cost[p] if p in cost else model.cost(p) for p in allowed},
        running=[(at[p], x) for p, x in running if p in at],
        barred=lambda index, x: _barred(model, posterior.places[index], x),
        repeated=lambda index, x: _repeated(model, posterior.places[index], x),
        runnable=lambda x: space.runnable(np.clip(x, low, high)),
        rng=rng,
    )


def _reach(model: SearchModel, space: Space) -> tuple[float, float]:
    """Rates of the next run: within the focus, or up to `_WIDEN` octaves beyond the rates that were run."""
    x = [math.log2(record.learning_rate) for record in model.records]
    low, high = min([space.focus[0], *(a - _WIDEN for a in x)]), max([space.focus[1], *(a + _WIDEN for a in x)])
    return max(low, space.low), min(high, space.high)


def _barred(model: SearchModel, place: Place, x: Array) -> Flags:
    """A run ended early near x, or (beaten ones apart, which noise may do) between x and the best finished rate."""
    cell = model.cells.get(place)
    early = [] if cell is None else [record for record in cell.records if record.status != "finished"]
    if cell is None or not early:
        return np.zeros(len(x), dtype=bool)
    at = np.log2([record.learning_rate for record in early])
    barred = (np.abs(x[:, None] - at) < _BARRED).any(axis=1)
    failed = at[[record.status != "beaten" for record in early]]
    if cell.data is not None and len(cell.data.x):
        best = float(cell.data.x[np.argmin(cell.data.y)])
        beyond = (best < failed) & (failed <= x[:, None]) | (x[:, None] <= failed) & (failed < best)
        barred |= beyond.any(axis=1)
    return np.asarray(barred)


def _repeated(model: SearchModel, place: Place, x: Array) -> Array:
    """The number of ended runs at each of these very rates."""
    records = model.cells[place].records if place in model.cells else []
    at = np.array([math.log2(record.learning_rate) for record in records])
    return np.asarray((np.abs(x[:, None] - at) < 1e-9).sum(axis=1))


def free(model: SearchModel, place: Place, x: float, space: Space, running: Running) -> float:
    """x on the lattice of proposals, moved by up to 1/4 octave to a rate without a run, if there is one."""
    if space.rates:
        return float(space.runnable(np.array(x)))
    records = model.cells[place].records if place in model.cells else []
    taken = {round(math.log2(r.learning_rate) * _BINS) for r in records}
    taken |= {round(r * _BINS) for p, r in running if p == place}
    first = round(x * _BINS)
    lattice = [k for k in (first, first + 1, first - 1, first + 2, first - 2) if space.low <= k / _BINS <= space.high]
    untried = [k for k in lattice if k not in taken]
    return (untried or lattice)[0] / _BINS if lattice else x


def looking_ahead(model: SearchModel, space: Space, said: Assessment, running: Running, count: int) -> Assessment:
    """The assessment with the most useful next runs and their benefit; `count` runs have started."""
    rng = np.random.default_rng([model.seed, count, 1])
    posterior = model.posterior(space)
    at = {place: i for i, place in enumerate(posterior.places)}
    runs: list[tuple[Place, float]] = []
    regrets: list[float] = []
    while True:
        left = expected_regrets(
            posterior.draws,
            regrets=[posterior.advice[t].regret for t in space.targets],
            targets=[at[t] for t in space.targets],
            running=[(at[p], x) for p, x in [*running, *runs] if p in at],
            rng=rng,
        )
        regrets.append(min([float(np.max(left)), *regrets[-1:]]))
        if len(runs) == _AHEAD:
            ahead = tuple((dict(zip(model.scales, place, strict=True)), 2**x) for place, x in runs)
            return replace(said, ahead=ahead, regret_ahead=tuple(regrets))
        chosen = next_choice(model, space, posterior, [*running, *runs], rng)
        runs.append((posterior.places[chosen.place], chosen.x))
