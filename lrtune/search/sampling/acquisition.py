"""Which run to make next: the one from which the law's regret falls furthest per unit of compute.

Notation (beside that of `lrtune.law.surface`): N draws of the posterior; T target widths; R_t(x) regret at target t of
using rate x, a draw's height there; x_t the recommended rate, argmin of the mean of R_t; R_t = R_t(x_t).

A *unit* D is one to three rates at one width: one run at a width not tried yet says nothing by itself (its floor is
unknown), three say much, so that looking one run ahead would never go there. The value of a unit is

    Σ_t E[R_t] · η_t(D)²,      η_t(D)² = share of the variance of o_t explained by what D (and the runs that have not
                               ended yet) would show: regression of o_t on y, y² and products, over the draws,

the expected fall of regret where regret is quadratic in the error of o_t: a knowledge gradient (Frazier et al. 2009)
by regression over posterior draws (Strong et al. 2014, expected value of sample information). The unit with the most
value per cost wins, and its most telling rate is run; everything is weighed afresh for the next run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from lrtune.law.shapes import Array
from lrtune.law.surface import Draws

_OFFSETS = (-2.0, -1.4, -0.8, -0.4, 0.0, 0.4, 0.8, 1.4, 2.0)  # candidate rates, in sds of o around its mean
_UNITS: tuple[tuple[int, ...], ...] = (
    *((i,) for i in range(len(_OFFSETS))),
    *((4 - k, 4 + k) for k in (1, 2, 3, 4)),
    *((4 - k, 4, 4 + k) for k in (1, 2, 3, 4)),
    (4, 6), (4, 7), (2, 4), (1, 4),
)  # fmt: skip
_LEAST_SPREAD = 0.5  # octaves: closer together, noise hides what rates differ by
_SAYS_NO_MORE = 0.25  # height from which runs are told apart no more: they diverge, or are cut
_DEVIATIONS = 4.0  # the best of many units explains that many sd more than chance where there is nothing to explain
_START = 0.01  # of the dearest run's cost: what it takes to start any run


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What one width's draws recommend.

    Attributes:
        x: log2 of the rate with the least expected regret.
        regret: its expected regret, relative.
        by_draw: its regret in each draw, (N,).
    """

    x: float
    regret: float
    by_draw: Array


def advise(draws: Draws, width: int, low: float, high: float) -> Advice:
    """The rate of a width, within [low, high], that costs least on average over the draws."""
    o = draws.o[:, width]
    start, end = np.clip(np.quantile(o, [0.02, 0.98]), low, high)
    for points in (17, 9):
        x = np.linspace(start, end, points)
        height = draws.height(width, x)
        best = int(np.argmin(height.mean(axis=0)))
        start, end = x[max(best - 1, 0)], x[min(best + 1, points - 1)]
    reachable = draws.height(width, np.array([low, high])).min(axis=1) * ((o < low) | (o > high))
    by_draw = np.maximum(height[:, best] - reachable, 0.0)
    return Advice(x=float(x[best]), regret=float(by_draw.mean()), by_draw=by_draw)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A run that is worth making: index of the width, log2 rate, and the value per cost of its unit."""

    width: int
    x: float
    gain: float


def choose(
    draws: Draws,
    *,
    regrets: Sequence[float],
    targets: Sequence[int],
    candidates: Mapping[int, float],
    running: Sequence[tuple[int, float]],
    barred: Callable[[int, float], bool],
    low: float,
    high: float,
    rng: np.random.Generator,
) -> Choice:
    """The next run.

    Args:
        draws: the posterior.
        regrets: expected regret of each target's recommendation.
        targets: indices of the widths that the rule is for.
        candidates: cost of one run by index of width, for those where one may be made.
        running: (index of width, log2 rate) of runs that have not ended yet.
        barred: whether a run at (index of width, log2 rate) is known to end early, and so to say nothing new.
        low, high: bounds of x.
        rng: noise of what the runs would show.
    """
    count = len(draws.o)
    goal = _centred(draws.o[:, list(targets)])
    variance = np.square(goal).mean(axis=0) + 1e-12
    known = np.zeros((count, 0))
    if running:
        shown = np.stack([_shown(draws, width, np.array([x]), rng)[:, 0] for width, x in running], axis=1)
        known, _ = np.linalg.qr(_centred(shown))
        goal = goal - known @ (known.T @ goal)
    weight = np.asarray(regrets) / variance / count
    best: Choice | None = None
    start = _START * max(candidates.values())
    for width, cost in candidates.items():
        o = draws.o[:, width]
        spread = max(float(o.std()), _LEAST_SPREAD)
        x = np.clip(o.mean() + spread * np.array(_OFFSETS), low, high)
        y = _shown(draws, width, x, rng)
        closed = [barred(width, float(at)) for at in x]
        usable = [unit for unit in _UNITS if not any(closed[i] for i in unit)] or [(4,)]
        gains = _gains(y, usable, known, goal, weight) / [(cost + start) * len(unit) for unit in usable]
        top = int(np.argmax(gains))
        if best is None or gains[top] > best.gain:
            single = {unit[0]: gain for unit, gain in zip(usable, gains, strict=True) if len(unit) == 1}
            first = max(usable[top], key=lambda i: (single[i], -abs(i - 4)))
            best = Choice(width=width, x=float(x[first]), gain=float(gains[top]))
    assert best is not None
    return best if best.gain > 0 else _unsure(draws, regrets, targets, candidates, barred, low, high, rng)


def _unsure(
    draws: Draws,
    regrets: Sequence[float],
    targets: Sequence[int],
    candidates: Mapping[int, float],
    barred: Callable[[int, float], bool],
    low: float,
    high: float,
    rng: np.random.Generator,
) -> Choice:
    """Where no run stands out from chance: one near the best of the target whose regret is largest."""
    open_to = [(regret, t) for regret, t in zip(regrets, targets, strict=True) if t in candidates]
    width = max(open_to)[1] if open_to else max(candidates)
    o = draws.o[:, width]
    spread = max(float(o.std()), _LEAST_SPREAD)
    tries = [float(np.clip(o.mean() + k * spread, low, high)) for k in rng.permutation([-1.4, -0.8, 0.0, 0.8, 1.4])]
    return Choice(width=width, x=next((x for x in tries if not barred(width, x)), tries[0]), gain=0.0)


def expected_regrets(
    draws: Draws,
    *,
    regrets: Sequence[float],
    targets: Sequence[int],
    running: Sequence[tuple[int, float]],
    rng: np.random.Generator,
) -> Array:
    """The expected regret of each target once the runs under way have ended, (T,)."""
    goal = _centred(draws.o[:, list(targets)])
    if not running:
        return np.asarray(regrets)
    shown = np.stack([_shown(draws, width, np.array([x]), rng)[:, 0] for width, x in running], axis=1)
    known, _ = np.linalg.qr(_centred(shown))
    explained = np.square(known.T @ goal).sum(axis=0) / (np.square(goal).sum(axis=0) + 1e-12)
    left = 1 - np.clip(explained - len(running) / len(goal), 0.0, 1.0)
    return np.asarray(np.asarray(regrets) * left)


def _shown(draws: Draws, width: int, x: Array, rng: np.random.Generator) -> Array:
    """y that runs at x (G,) would show, by draw: (N, G)."""
    height = np.minimum(draws.height(width, x), _SAYS_NO_MORE)
    noise = draws.noise(height) * rng.standard_normal(height.shape)
    return np.asarray(draws.c[:, width, None] + height + noise)


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
