"""A joint Bayesian model of loss over width and learning rate: every width's trials inform every other width.

Notation
--------
x       log2 of a learning rate ("octaves"); ``l`` is log2 of a width.
y       relative loss: log(loss) where losses are positive, so that 0.01 is one percent (see `lrtune.sampler`).
o_w     x of the lowest loss at width w.             z = x − o_w.
c_w     y at o_w, the floor of the width's curve.
g_s(z)  height of the curve above its floor, one of S fixed shapes s:
            z < 0   A z² / (1 − z/ζ)                        quadratic, then linear: undertrained
            z > 0   A r z² / (1 + z/ζ) + C max(0, z − q)²   steeper by r, a wall of slope C from q octaves above on
σ_s     noise of one trial;   ρ(g) misfit: how far a true curve may lie from its shape (see `misfit`).

Model
-----
    y = c_w + g_{s_w}(x − o_w) + ε,     ε ~ N(0, σ²/n + ρ(g)²) for the mean of n trials at one rate
    s_w ~ P(s_w | s)                    a width's shape is close to the shape that all share
    o   ~ GP(m(l), k(l, l'))            m falls by 0.7 octave per octave of width;  k = offset + slope + a smooth
                                        deviation + one of the width's own; several such laws are weighed (h)
    c_w ~ N(c_0, 0.3²)                  integrated out in closed form

A trial that ended early enters without its value, by how likely its height was to exceed a margin.

Inference is exact up to grids, and needs neither starting points nor chains: for each width a table
``L_w[s, o]`` over S shapes × K positions; then draws, width after width, from (table × what the Gaussian process
says given the widths already drawn), reweighted by each table's evidence: a particle filter with the optimal
proposal (Doucet et al. 2000, eq. 9), here over widths instead of time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, ndtri

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

CAP = 0.5  # heights beyond it are all alike: "far too high"
_MISFIT, _MISFIT_BEND = 0.25, 0.2  # ρ, and the height at which it is half of it
_FLOOR_NOISE = 0.0007  # no shape is exact: added to the noise of any one rate
_REPEATS = 4  # so many repeats of one rate count towards σ: the seeds of a study may all be one seed
_FLOOR_PRIOR = 0.3  # sd of c_w around the lowest y of all
_SHAPES = 128
_FINE = 8  # cells per octave
_COARSE = 4  # positions o per octave
_REACH = 40.0  # octaves of z that the height table covers either way
_LAWS = ((0.12, 0.08), (0.35, 0.12), (0.8, 0.3))  # (sd of the smooth deviation, sd of a width's own), octaves
_SLOPE, _SLOPE_SD, _LENGTH = -0.7, 0.65, 2.0


@dataclass(frozen=True)
class Shapes:
    """The S curve shapes, spread evenly (R-sequence, Roberts 2018) over their prior; each an array of (S,)."""

    curvature: Array
    ratio: Array
    bend: Array
    cliff: Array
    wall: Array
    sigma: Array

    def height(self, z: Array, s: Indices | slice = slice(None)) -> Array:
        """g_s(z), capped; `s` broadcasts against `z` (give (S, 1) for a table)."""
        a, r, bend, q, wall = self.curvature[s], self.ratio[s], self.bend[s], self.cliff[s], self.wall[s]
        size = np.abs(z)
        body = a * size * size / (1 + size / bend)
        high = body * r + wall * np.square(np.maximum(0.0, z - q))
        return np.minimum(np.where(z > 0, high, body), CAP)


@cache
def shapes() -> Shapes:
    """The fixed set of shapes; their spread is the prior, chosen on synthetic surfaces and FACTS of the field."""
    phi = 1.0
    for _ in range(60):
        phi = (1 + phi) ** (1 / 7)  # the generalised golden ratio of six dimensions
    steps = phi ** -np.arange(1.0, 7.0)
    u = (0.5 + np.arange(1, _SHAPES + 1)[:, None] * steps) % 1
    normal = ndtri(np.clip(u, 0.01, 0.99))
    bend = 2.5 * np.exp(0.9 * normal[:, 2])
    two_below = 0.03 * np.exp(0.8 * normal[:, 0])  # height two octaves below the best
    return Shapes(
        curvature=two_below * (1 + 2 / bend) / 4,
        ratio=1.8 * np.exp(0.6 * normal[:, 1]),
        bend=bend,
        cliff=0.2 + 5.0 * u[:, 3],
        wall=0.15 * np.exp(2.5 * u[:, 5]),
        sigma=0.004 * np.exp(0.8 * normal[:, 4]),
    )


@cache
def _height_table() -> Array:
    """g_s at z = −_REACH … _REACH in steps of 1/_FINE octave, (S, Z)."""
    z = np.arange(-_REACH * _FINE, _REACH * _FINE + 1) / _FINE
    return shapes().height(z[None, :], np.arange(_SHAPES)[:, None])


@cache
def _misfit_table() -> Array:
    """ρ(g)² over the same z, (S, Z)."""
    return np.square(misfit(_height_table()))


@cache
def _kinship() -> Array:
    """log P(s' | s), (S, S): widths differ a little in curvature, asymmetry and cliff, and share their noise."""
    form = shapes()
    features = np.stack(
        [
            np.log(form.curvature) / 0.45,
            np.log(form.ratio) / 0.4,
            np.log(form.bend) / 0.5,
            form.cliff / 1.2,
            np.log(form.wall) / 1.5,
            np.log(form.sigma) / 0.5,
        ],
        axis=1,
    )
    distance = np.square(features[:, None, :] - features[None, :, :]).sum(axis=2)
    weight = np.exp(-0.5 * distance)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def misfit(height: Array) -> Array:
    """How far (sd) a true curve may lie from its shape: a share of the height, less than that high up.

    Without the bend, curves whose optimum lies far away from all trials would explain anything.
    """
    return np.asarray(_MISFIT * height / (1 + height / _MISFIT_BEND))


@dataclass(frozen=True)
class Cell:
    """Trials of one width at (nearly) one rate: their mean x and y, count, and sum of squares around the mean."""

    x: float
    y: float
    count: int = 1
    squares: float = 0.0


@dataclass(frozen=True)
class Censored:
    """A trial that ended early: its height exceeds `margin`; `above` where that is a sign of too high a rate."""

    x: float
    margin: float
    above: bool = False


@dataclass(frozen=True)
class WidthData:
    """What is known of one width."""

    cells: tuple[Cell, ...] = ()
    censored: tuple[Censored, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.cells and not self.censored


@dataclass(frozen=True)
class Positions:
    """The grid of possible optima: K values of x, 1/_COARSE octave apart, on whole multiples of it."""

    first: int
    count: int

    @staticmethod
    def over(low: float, high: float) -> "Positions":
        """The grid that reaches two octaves beyond [low, high] either way."""
        first = int(np.floor((low - 2) * _COARSE))
        return Positions(first, int(np.ceil((high + 2) * _COARSE)) - first + 1)

    @cached_property
    def x(self) -> Array:
        return np.asarray((self.first + np.arange(self.count)) / _COARSE)


@dataclass(frozen=True)
class Table:
    """What the trials of one width say: log L[s, o] with the floor integrated out, and the floor's posterior.

    Attributes:
        log_likelihood: (S, K) for a shape of the width's own.
        floor, precision: mean and inverse variance of c_w given (s, o), each (S, K).
    """

    log_likelihood: Array
    floor: Array
    precision: Array

    @cached_property
    def evidence(self) -> Array:
        """Σ_s' P(s' | s) L[s', o], scaled to a largest value of 1: (S, K)."""
        scaled = np.exp(self.log_likelihood - self.log_likelihood.max())
        return np.asarray(_kinship() @ scaled)


def tabulate(data: WidthData, positions: Positions, lowest: float) -> Table:
    """The table of one width. `lowest` is the lowest y of all widths, where the prior of the floor sits."""
    form = shapes()
    size = (_SHAPES, positions.count)
    precision = np.full(size, _FLOOR_PRIOR**-2)
    weighted = precision * lowest
    squares = weighted * lowest
    log_l = np.zeros(size)
    sigma2 = np.square(form.sigma)[:, None]
    for cell in data.cells:
        g = _heights(cell.x, positions)
        weight = 1 / (_heights(cell.x, positions, _misfit_table()) + (sigma2 / cell.count + _FLOOR_NOISE**2))
        floor = cell.y - g
        precision += weight
        log_l += np.log(weight)
        weight *= floor
        weighted += weight
        weight *= floor
        squares += weight
        if cell.count > 1:
            free = min(cell.count - 1, _REPEATS)
            squares_each = cell.squares / (cell.count - 1) + _FLOOR_NOISE**2
            log_l -= free * (np.log(sigma2) + squares_each / sigma2)
    mean = weighted / precision
    log_l = 0.5 * (log_l - np.log(precision) - (squares - weighted * mean))
    for censored in data.censored:
        log_l += _log_censored(censored, positions)
    return Table(log_l, mean, precision)


def _heights(x: float, positions: Positions, of: Array | None = None) -> Array:
    """g_s(x − o) for all shapes and positions, (S, K), by linear interpolation in the height table (or another)."""
    table = _height_table() if of is None else of
    stride = _FINE // _COARSE
    at = (x + _REACH) * _FINE - positions.first * stride
    base = int(np.floor(at + 1e-9))
    share = at - base
    lowest = base - stride * (positions.count - 1)
    if lowest < 0 or base + 1 >= table.shape[1]:
        columns = np.clip(base - stride * np.arange(positions.count), 0, table.shape[1] - 2)
        return np.asarray((1 - share) * table[:, columns] + share * table[:, columns + 1])
    here = table[:, lowest : base + 1 : stride][:, ::-1]
    if share < 1e-6:
        return here
    return np.asarray((1 - share) * here + share * table[:, lowest + 1 : base + 2 : stride][:, ::-1])


def _log_censored(censored: Censored, positions: Positions) -> Array:
    g = _heights(censored.x, positions)
    spread = np.sqrt((censored.margin / 2) ** 2 + np.square(misfit(g)))
    log_l = log_ndtr((g - censored.margin) / spread)
    if censored.above:
        z = censored.x - positions.x[None, :]
        log_l = log_l + np.log(0.03 + 0.97 * expit((z - 0.5) / 0.4))
    return np.asarray(np.maximum(log_l, -7.0))  # one early end is never proof


@dataclass(frozen=True)
class Draws:
    """N joint draws from the posterior over all widths, in the order that the widths were given.

    Attributes:
        o: (N, W) positions of the optimum.
        s: (N, W) shape of each width.
        c: (N, W) floors.
    """

    o: Array
    s: Indices
    c: Array

    def height(self, width: int, x: Array) -> Array:
        """Height above the floor at rates x (G,) of a width, by draw: (N, G)."""
        return shapes().height(x[None, :] - self.o[:, width, None], self.s[:, width, None])

    def noise(self, width: int, height: Array) -> Array:
        """Standard deviation of one trial's y around the draw's curve, by draw and rate (N, G)."""
        sigma = shapes().sigma[self.s[:, width]][:, None]
        return np.asarray(np.sqrt(np.square(sigma) + np.square(misfit(height))))


def draw(
    tables: Mapping[int, Table],
    log_widths: Sequence[float],
    positions: Positions,
    centre: float,
    spread: float,
    lowest: float,
    count: int,
    rng: np.random.Generator,
) -> Draws:
    """Joint draws of (o, s, c) over all widths.

    Args:
        tables: by index of width, of those that have trials.
        log_widths: l of every width.
        centre, spread: prior mean and sd of x at the best rate, in the middle of the widths.
        lowest: lowest y of all trials.
        count: number of draws N.
    """
    order = sorted(tables, key=lambda w: log_widths[w]) + [w for w in range(len(log_widths)) if w not in tables]
    laws = [_conditionals(np.array([log_widths[w] for w in order]), centre, spread, law) for law in _LAWS]
    law = rng.permutation(np.arange(count) % len(_LAWS))
    shape = rng.permutation(np.arange(count) % _SHAPES)
    o = np.zeros((count, len(order)))
    grid = positions.x
    for step, width in enumerate(order):
        means = np.stack([m + (o[:, :step] - previous[:step]) @ w for m, w, _, previous in (c[step] for c in laws)])
        mean = means[law, np.arange(count)]
        sd = np.array([c[step][2] for c in laws])[law]
        if width not in tables:
            o[:, step] = mean + sd * rng.standard_normal(count)
            continue
        if step == 0:  # all shapes are weighed exactly, not only the drawn ones
            prior = np.exp(-0.5 * np.square((grid - mean[0]) / sd[0]))
            share = tables[width].evidence @ prior
            shape = _pick(np.broadcast_to(share, (1, _SHAPES)).repeat(count, axis=0), rng)
        density = tables[width].evidence[shape] * np.exp(-0.5 * np.square((grid - mean[:, None]) / sd[:, None]))
        density /= sd[:, None]
        total = density.sum(axis=1) + 1e-300
        keep = np.arange(count) if step == 0 else _resample(total, rng)
        shape, law, o = shape[keep], law[keep], o[keep]
        o[:, step] = grid[_pick(density[keep] + 1e-300, rng)]
        o[:, step] += (rng.random(count) - 0.5) / _COARSE
    back = np.argsort(order)
    return _complete(tables, positions, o[:, back], shape, lowest, rng)


def _conditionals(
    log_w: Array, centre: float, spread: float, law: tuple[float, float]
) -> list[tuple[float, Array, float, Array]]:
    """For each width in turn: mean, weights on the widths before, sd given them, and all prior means."""
    smooth, own = law
    middle = 0.5 * (log_w.min() + log_w.max())
    d = log_w - middle
    mean = centre + _SLOPE * d
    k = spread**2 + _SLOPE_SD**2 * np.outer(d, d)
    k = k + smooth**2 * np.exp(-0.5 * np.square((d[:, None] - d[None, :]) / _LENGTH)) + own**2 * np.eye(len(log_w))
    steps = []
    for i in range(len(log_w)):
        weights = np.linalg.solve(k[:i, :i], k[:i, i]) if i else np.zeros(0)
        steps.append((float(mean[i]), weights, float(np.sqrt(max(k[i, i] - k[:i, i] @ weights, 1e-6))), mean))
    return steps


def _pick(weights: Array, rng: np.random.Generator) -> Indices:
    """One index a row, with probability proportional to the row's weights (N, M)."""
    total = np.cumsum(weights, axis=1)
    target = rng.random((len(weights), 1)) * total[:, -1:]
    return np.asarray(np.minimum((total < target).sum(axis=1), weights.shape[1] - 1))


def _resample(weights: Array, rng: np.random.Generator) -> Indices:
    """Systematic resampling: N indices, each weight's share within one of its expectation."""
    total = np.cumsum(weights / weights.sum())
    total[-1] = 1.0
    return np.searchsorted(total, (np.arange(len(weights)) + rng.random()) / len(weights))


def _complete(
    tables: Mapping[int, Table], positions: Positions, o: Array, shape: Indices, lowest: float, rng: np.random.Generator
) -> Draws:
    """Each width's own shape and floor, given the optima and the shared shape."""
    count, widths = o.shape
    s = np.empty((count, widths), dtype=np.intp)
    c = np.empty((count, widths))
    kinship = _kinship()[shape]
    column = np.clip(np.rint(o * _COARSE).astype(int) - positions.first, 0, positions.count - 1)
    for width in range(widths):
        if width in tables:
            table = tables[width]
            log_l = table.log_likelihood[:, column[:, width]].T
            s[:, width] = _pick(kinship * np.exp(log_l - log_l.max(axis=1, keepdims=True)) + 1e-300, rng)
            at = s[:, width], column[:, width]
            c[:, width] = table.floor[at] + rng.standard_normal(count) / np.sqrt(table.precision[at])
        else:
            s[:, width] = _pick(kinship, rng)
            c[:, width] = lowest + 0.1 * rng.standard_normal(count)
    return Draws(o, s, c)
