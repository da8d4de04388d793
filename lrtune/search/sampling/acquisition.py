"""Which run to make next: the one from which the law's regret falls furthest per unit of compute.

Notation: N draws of the posterior (`lrtune.law.prediction`); T targets; o_t the optimum of a target; R_t(x) its regret
at rate x, a draw's height there; x_t the recommended rate, argmin of the mean of R_t; R_t = R_t(x_t).

A *unit* D is one to three rates at one place: one run at a new place says nothing by itself (its floor is unknown),
three say much, so looking one run ahead would never go there. The value of a unit is

    Σ_t E[R_t] · η_t(D)²,      η_t(D)² = share of the variance of o_t explained by the losses of D and of the running
                               trials: regression of o_t on y, y² and products, over the draws,

the expected decrease of regret if regret is quadratic in the error of o_t: a knowledge gradient (Frazier et al. 2009)
by regression over posterior draws (Strong et al. 2014, expected value of sample information). The unit with the most
value per cost wins, and its most informative rate is run; the next run is chosen afresh.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from lrtune.law.atoms import Array, Flags
from lrtune.law.prediction import Prediction

_OFFSETS = (-2.0, -1.4, -0.8, -0.4, 0.0, 0.4, 0.8, 1.4, 2.0)  # candidate rates, in sds of o around its mean
_UNITS: tuple[tuple[int, ...], ...] = (
    *((i,) for i in range(len(_OFFSETS))),
    *((4 - k, 4 + k) for k in (1, 2, 3, 4)),
    *((4 - k, 4, 4 + k) for k in (1, 2, 3, 4)),
    (4, 6), (4, 7), (2, 4), (1, 4),
)  # fmt: skip
_LEAST_SPREAD = 0.5  # octaves: closer together, noise hides what rates differ by
_TOP = 1.0  # largest regret, as a share of loss
_APART = 0.35  # of that spread: so near to a running trial, another says the same
_DEVIATIONS = 4.0  # the best of many units explains that many sd more than chance where there is nothing to explain
_MOST_RUNNING = 64  # the latest: as many runs as draws would explain every optimum by chance
_START = 0.01  # of the dearest run's cost: what it takes to start any run


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The recommendation at one place.

    Attributes:
        x: log2 of the rate with the least expected regret.
        regret: its expected regret, relative.
        by_draw: its regret in each draw, (N,).
    """

    x: float
    regret: float
    by_draw: Array


def advise(draws: Prediction, place: int, low: float, high: float) -> Advice:
    """The rate of a place, within [low, high], of least expected regret."""
    o = draws.optimum[:, place]
    start, end = np.clip(np.quantile(o, [0.02, 0.98]), low, high)
    for points in (17, 9):
        x = np.linspace(start, end, points)
        height = np.minimum(draws.height(place, x), _TOP)
        best = int(np.argmin(height.mean(axis=0)))
        start, end = x[max(best - 1, 0)], x[min(best + 1, points - 1)]
    reachable = np.minimum(draws.height(place, np.array([low, high])).min(axis=1), _TOP) * ((o < low) | (o > high))
    by_draw = np.maximum(height[:, best] - reachable, 0.0)
    return Advice(x=float(x[best]), regret=float(by_draw.mean()), by_draw=by_draw)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The next run: index of its place, log2 rate, and the value per cost of its unit."""

    place: int
    x: float
    gain: float


def choose(
    draws: Prediction,
    *,
    regrets: Sequence[float],
    targets: Sequence[int],
    candidates: Mapping[int, float],
    running: Sequence[tuple[int, float]],
    barred: Callable[[int, Array], Flags],
    repeated: Callable[[int, Array], Array],
    runnable: Callable[[Array], Array],
    rng: np.random.Generator,
) -> Choice:
    """The next run.

    Args:
        draws: the posterior.
        regrets: expected regret of each target's recommendation.
        targets: indices of the places that the rule is for.
        candidates: cost of one run by index of place, for those where one may be made.
        running: (index of place, log2 rate) of running trials.
        barred: whether runs at (index of place, log2 rates) would end early and say nothing new.
        repeated: the number of ended runs at (index of place, these very log2 rates).
        runnable: the nearest log2 rates that may be run.
        rng: noise of what the runs would show.
    """
    count = len(draws.optimum)
    goal = _centred(draws.optimum[:, list(targets)])
    variance = np.square(goal).mean(axis=0) + 1e-12
    known = _known(draws, running, rng)
    goal = goal - known @ (known.T @ goal)
    weight = np.asarray(regrets) / variance / count
    best: Choice | None = None
    start = _START * max(candidates.values())
    for place, cost in candidates.items():
        o = draws.optimum[:, place]
        spread = max(float(o.std()), _LEAST_SPREAD)
        x = runnable(o.mean() + spread * np.array(_OFFSETS))
        y = draws.shown(place, x, rng)
        near = np.array([at for other, at in running if other == place])
        closed = barred(place, x) | (np.abs(x[:, None] - near) < _APART * spread).any(axis=1)
        usable = [unit for unit in _UNITS if not any(closed[i] for i in unit)] or [(4,)]
        again = repeated(place, x)
        dearer = 1 + again * (again + 1)  # run n + 1 narrows a mean by 1/n - 1/(n+1), and a misfit not at all
        gains = _gains(y, usable, known, goal, weight) / [(cost + start) * dearer[list(unit)].sum() for unit in usable]
        top = int(np.argmax(gains))
        if best is None or gains[top] > best.gain:
            single = {unit[0]: gain for unit, gain in zip(usable, gains, strict=True) if len(unit) == 1}
            first = max(usable[top], key=lambda i: (single[i], -abs(i - 4)))
            best = Choice(place=place, x=float(x[first]), gain=float(gains[top]))
    assert best is not None
    return best if best.gain > 0 else _unsure(draws, regrets, targets, candidates, barred, runnable, rng)


def _unsure(
    draws: Prediction,
    regrets: Sequence[float],
    targets: Sequence[int],
    candidates: Mapping[int, float],
    barred: Callable[[int, Array], Flags],
    runnable: Callable[[Array], Array],
    rng: np.random.Generator,
) -> Choice:
    """Where no run stands out from chance: one near the best of the target whose regret is largest."""
    open_to = [(regret, t) for regret, t in zip(regrets, targets, strict=True) if t in candidates]
    place = max(open_to)[1] if open_to else max(candidates)
    o = draws.optimum[:, place]
    spread = max(float(o.std()), _LEAST_SPREAD)
    tries = runnable(o.mean() + spread * rng.permutation([-1.4, -0.8, 0.0, 0.8, 1.4]))
    return Choice(place=place, x=float(tries[np.argmin(barred(place, tries))]), gain=0.0)


def expected_regrets(
    draws: Prediction,
    *,
    regrets: Sequence[float],
    targets: Sequence[int],
    running: Sequence[tuple[int, float]],
    rng: np.random.Generator,
) -> Array:
    """The expected regret of each target once the runs under way have ended, (T,)."""
    goal = _centred(draws.optimum[:, list(targets)])
    known = _known(draws, running, rng)
    explained = np.square(known.T @ goal).sum(axis=0) / (np.square(goal).sum(axis=0) + 1e-12)
    left = 1 - np.clip(explained - known.shape[1] / len(goal), 0.0, 1.0)
    return np.asarray(np.asarray(regrets) * left)


def _known(draws: Prediction, running: Sequence[tuple[int, float]], rng: np.random.Generator) -> Array:
    """An orthonormal basis, (N, runs), of what the running trials will show."""
    shown = [draws.shown(place, np.array([x]), rng)[:, 0] for place, x in running[-_MOST_RUNNING:]]
    return np.linalg.qr(_centred(np.array(shown).reshape(-1, len(draws.optimum)).T))[0]


def _centred(values: Array) -> Array:
    return np.asarray(values - values.mean(axis=0))


_PAIRS = sorted({pair for unit in _UNITS for pair in combinations_with_replacement(unit, 2)})
_COLUMNS = {  # a unit's features: its y, and their squares and products
    unit: [*unit, *(len(_OFFSETS) + _PAIRS.index(pair) for pair in combinations_with_replacement(unit, 2))]
    for unit in _UNITS
}


def _gains(y: Array, units: Sequence[tuple[int, ...]], known: Array, goal: Array, weight: Array) -> Array:
    """Σ_t E[R_t] η_t² of each unit, less what chance alone explains; y (N, rates), goal (N, T)."""
    count = len(y)
    y = _centred(y)
    y = y / (y.std(axis=0) + 1e-12)
    first, second = (list(side) for side in zip(*_PAIRS, strict=True))
    features = _centred(np.concatenate([y, y[:, first] * y[:, second]], axis=1))
    features = features - known @ (known.T @ features)
    gram = features.T @ features + 1e-6 * count * np.eye(features.shape[1])
    cross = features.T @ goal
    left = np.square(goal).sum(axis=0)
    gains = np.zeros(len(units))
    for size in {len(unit) for unit in units}:  # all units of one size at once
        at = [i for i, unit in enumerate(units) if len(unit) == size]
        columns = np.array([_COLUMNS[units[i]] for i in at])
        part = cross[columns]
        explained = np.sum(part * np.linalg.solve(gram[columns[:, :, None], columns[:, None, :]], part), axis=1)
        p = columns.shape[1]
        by_chance = (p + _DEVIATIONS * np.sqrt(2 * p)) / count * left  # χ² with p degrees of freedom
        gains[at] = np.maximum(explained - by_chance, 0.0) @ weight
    return gains
