"""What the trials of one width say: how likely they are for each noise, shape and position of the optimum.

Notation (beside that of `lrtune.law.shapes`)
--------
x       log2 of a learning rate;   o    x of the lowest loss of the width;   z = x − o.
y       relative loss: log(loss) where losses are positive, so that 0.01 is one percent (see
`lrtune.search.sampling.sampler`). c       y at o, the floor of the width's curve;   c ~ N(c_0, 0.3²), integrated out
in closed form. σ_j     noise of one trial, one of J fixed sizes.

    y = c + g_s(x − o) + ε,     ε ~ N(0, σ²/n + ρ(g)²) for the mean of n trials at one rate

A trial that ended early enters without its value. Cut beside a better one, it says that its own y would have been
larger than that one's: both with their noise, or one lucky trial would rule out all others near the optimum.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit, log_ndtr

from lrtune.law.shapes import COUNT, FINE, REACH, Array, height_table, kinship, misfit, misfit_table

SIGMA = np.array([0.0015, 0.003, 0.006, 0.012, 0.024])  # σ_j
SIGMA_PRIOR = np.exp(-0.5 * np.square(np.log(SIGMA / 0.004) / 0.8))
SIGMA_PRIOR /= SIGMA_PRIOR.sum()
COARSE = 4  # positions o per octave
_FLOOR_NOISE = 0.0007  # no shape is exact: added to the noise of any one rate
_REPEATS = 4  # so many repeats of one rate count towards σ: the seeds of a study may all be one seed
_FACTORS = 6  # weights that are multiplied before a logarithm is taken: the product stays below 1e34
_FLOOR_PRIOR = 0.3  # sd of c around the lowest y of all


@dataclass(frozen=True)
class Cell:
    """Trials of one width at (nearly) one rate: their mean x and y, count, and sum of squares around the mean."""

    x: float
    y: float
    count: int = 1
    squares: float = 0.0


@dataclass(frozen=True)
class Censored:
    """A trial that ended early: its height exceeds `margin`; `above` where that is a sign of too high a rate.

    With `over`, it is only known that the trial's own y, noise and all, would have exceeded `over` + `margin`: it was
    cut beside a trial that reached `over`, which may itself have been lucky.
    """

    x: float
    margin: float
    above: bool = False
    over: float | None = None


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
    """The grid of possible optima: K values of x, 1/COARSE octave apart, on whole multiples of it."""

    first: int
    count: int

    @staticmethod
    def over(low: float, high: float) -> "Positions":
        """The grid that reaches two octaves beyond [low, high] either way."""
        first = int(np.floor((low - 2) * COARSE))
        return Positions(first, int(np.ceil((high + 2) * COARSE)) - first + 1)

    @cached_property
    def x(self) -> Array:
        return np.asarray((self.first + np.arange(self.count)) / COARSE)


@dataclass(frozen=True)
class Table:
    """What the trials of one width say: log L[j, s, o] with the floor integrated out, and the floor's posterior.

    Attributes:
        log_likelihood: (J, S, K) for a shape of the width's own.
        floor, precision: mean and inverse variance of c given (j, s, o), each (J, S, K).
    """

    log_likelihood: Array
    floor: Array
    precision: Array

    @cached_property
    def evidence(self) -> Array:
        """Σ_s' P(s' | s) L[j, s', o], scaled to a largest value of 1: (J, S, K)."""
        scaled = np.exp(self.log_likelihood.astype(np.float64) - self.log_likelihood.max())  # far tails count too
        return np.asarray(kinship() @ scaled)


def tabulate(data: WidthData, positions: Positions, lowest: float) -> Table:
    """The table of one width. `lowest` is the lowest y of all widths, where the prior of the floor sits.

    In single precision, which halves the time: so y is counted from `lowest` on here, or sums would cancel.
    """
    size = (len(SIGMA), COUNT, positions.count)
    precision = np.full(size, _FLOOR_PRIOR**-2, dtype=np.float32)
    weighted, squares = np.zeros_like(precision), np.zeros_like(precision)
    log_l: Array = np.zeros_like(precision)
    weight, product = np.empty_like(precision), np.ones_like(precision)
    sigma2 = np.square(SIGMA).astype(np.float32)[:, None, None]
    for index, cell in enumerate(data.cells, start=1):
        around = _heights(cell.x, positions, misfit_table()) + np.float32(_FLOOR_NOISE**2)
        floor = np.float32(cell.y - lowest) - _heights(cell.x, positions)
        np.reciprocal(np.add(around, sigma2 / np.float32(cell.count), out=weight), out=weight)
        precision += weight
        product *= weight
        if index % _FACTORS == 0 or index == len(data.cells):
            log_l += np.log(product)
            product.fill(1.0)
        weight *= floor
        weighted += weight
        weight *= floor
        squares += weight
        if cell.count > 1:
            free = min(cell.count - 1, _REPEATS)
            squares_each = cell.squares / (cell.count - 1) + _FLOOR_NOISE**2
            log_l -= (free * (np.log(sigma2) + squares_each / sigma2)).astype(np.float32)
    mean: Array = weighted / precision
    log_l = np.float32(0.5) * (log_l - np.log(precision) - (squares - weighted * mean))
    variance: Array = 1 / precision
    for censored in data.censored:
        if censored.over is None:
            log_l += _log_censored(censored, positions)
        else:
            log_each, mean, variance = _exceeds(censored, positions, sigma2, mean, variance, lowest)
            log_l += log_each
    return Table(log_l, mean + np.float32(lowest), 1 / variance)


def _heights(x: float, positions: Positions, of: Array | None = None) -> Array:
    """g_s(x − o) for all shapes and positions, (S, K), by linear interpolation in the height table (or another)."""
    table = height_table() if of is None else of
    stride = FINE // COARSE
    at = (x + REACH) * FINE - positions.first * stride
    base = int(np.floor(at + 1e-9))
    share = np.float32(at - base)
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


def _exceeds(
    censored: Censored, positions: Positions, sigma2: Array, mean: Array, variance: Array, lowest: float
) -> tuple[Array, Array, Array]:
    """log P(y > over + margin) by (s, o), and the floor's mean (counted from `lowest`) and variance given it.

    Moments of a normal cut off at one side (assumed-density filtering; Minka 2001, eq. 3.12 ff.).
    """
    assert censored.over is not None
    g = _heights(censored.x, positions)
    around = np.float32(np.square(censored.margin / 2)) + _heights(censored.x, positions, misfit_table()) + sigma2
    total = np.sqrt(variance + around)
    z = (mean + g - np.float32(censored.over + censored.margin - lowest)) / total
    log_l = log_ndtr(z)
    hazard = np.exp(-0.5 * z * z - log_l) / np.float32(np.sqrt(2 * np.pi))
    share = variance / total
    mean = mean + share * hazard
    variance = variance - np.square(share) * hazard * (hazard + z)
    return np.maximum(log_l, -7.0), mean, np.maximum(variance, 1e-8)
