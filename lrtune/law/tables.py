"""The likelihood of a cell's optimum, for every noise and shape.

    y_i = c + f(k · φ_s(x_i − o)) + ε_i,     ε_i ~ N(0, σ² / n_i + (ρ m_i² / (m_i + ½))²)

=====  ====================================================================================================
x      log2 of a learning rate;   y   relative loss (see `lrtune.law.observations`);   n   runs averaged
o      x of the least loss; on a grid wider than the sampled rates
c      the least loss, integrated out
k, s   height an octave away from the best, and the shape (`lrtune.law.atoms`)
f      compression f(h) = C ln(1 + h / C), also of the data: a loss of 60 only shows that the rate is far off
σ, ρ   noise of a run, and misfit of the shapes: a share of the observed height m_i above the cell's best, in units of
       the pilot k, and less of a small one
=====  ====================================================================================================
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import expit, log_ndtr

from lrtune.law.atoms import Array, atoms, height
from lrtune.law.priors import ATOMS, CAP, DOUBT, FAILED_SPREAD, K_COUNT, K_GRID, MISFIT, NOISE_GRID, UNSEEN

BEYOND = 3.2  # octaves outside the sampled rates
_FINE = 4  # tabulated heights per step


@dataclass(frozen=True, kw_only=True)
class CellData:
    """The runs of one cell; runs at (nearly) the same rate are merged.

    Attributes:
        x, y, count, squares: mean log2 rate, mean relative loss, runs, and sum of squares about that mean; (n,).
        early_x, early_above: log2 rate of beaten runs, and lower bounds on their loss above the best; (m,).
        failed_x: lowest log2 rate at which a run collapsed or diverged; None if none did.
        failed_spread: spread of its bound on the optimum, in octaves.
        failed_doubt: probability that it does not bound the optimum.
        doubt: variance of y beside a run's noise, where another knob's rise was taken out; (n,) or 0.
    """

    x: Array
    y: Array
    count: Array
    squares: Array
    early_x: Array
    early_above: Array
    failed_x: float | None = None
    failed_spread: float = FAILED_SPREAD
    failed_doubt: float = DOUBT
    doubt: Array | float = 0.0

    @property
    def best(self) -> int:
        """Index of the best run."""
        return int(np.argmin(self.y + 2 * np.sqrt(self.doubt)))

    def seen(self, unit: float) -> Array:
        """y above the best run, compressed, in units of the pilot k; a doubtful y may lie below the best."""
        excess = (self.y - self.y[self.best]) / unit
        return np.asarray(compress(np.maximum(excess, 0.0)) + np.minimum(excess, 0.0))

    def variance(self, seen: Array, sigma2: Array, rho: Array, unit: float) -> Array:
        """Variance of `seen` for a noise and misfit, which broadcast against (n,); in units of k²."""
        height = np.maximum(seen, 0.0)
        misfit = rho * height**2 / (height + 0.5)
        return np.asarray(sigma2 / self.count + np.square(misfit) + self.doubt / unit**2)

    @property
    def sampled(self) -> tuple[float, float]:
        """Lowest and highest sampled log2 rate."""
        failed = [] if self.failed_x is None else [self.failed_x]
        every = np.concatenate([self.x, self.early_x, failed])
        return float(every.min()), float(every.max())


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """The grid of a table: octaves between possible optima, and number of shapes."""

    step: float
    atoms: int


FINE = Resolution(step=0.1, atoms=ATOMS)


@dataclass(frozen=True, kw_only=True)
class CellTable:
    """A cell's likelihood over (ρ, σ, s, k, o), scaled to a largest value of 1.

    Attributes:
        grid: log2 rates, (G,), on whole multiples of the step.
        likelihood: (R, Σ, S, K, G), single precision.
        unseen: sd of the optimum that the shapes do not resolve, in octaves; grows with the spacing of the rates.
    """

    grid: Array
    likelihood: Array
    unseen: float

    @property
    def step(self) -> float:
        """Octaves between possible optima."""
        return float(self.grid[1] - self.grid[0])

    def blurred(self, density: Array) -> Array:
        """A density over the grid, (…, G), widened by `unseen`."""
        gap = self.grid[:, None] - self.grid[None, :]
        kernel = np.exp(-0.5 * np.square(gap / self.unseen))
        return np.asarray(density @ (kernel / kernel.sum(axis=0)))


def grid_of(data: CellData, step: float) -> Array:
    """The grid of a cell's optimum."""
    low, high = data.sampled
    first, last = round((low - BEYOND) / step), round((high + BEYOND) / step)
    return np.asarray(np.arange(first, last + 1) * step)


@cache
def _rises(resolution: Resolution) -> Array:
    """f(k φ_s(u)) in units of the pilot k, at u = −_SPAN … _SPAN octaves in steps of step / _FINE: (U, S, K)."""
    count = round(_SPAN / resolution.step * _FINE)
    u = np.arange(-count, count + 1) * (resolution.step / _FINE)
    phi = height(u[:, None], atoms(resolution.atoms)[None])
    k = K_GRID ** (np.arange(K_COUNT) - K_COUNT // 2)
    return np.asarray(compress(phi[..., None] * k).astype(np.float32))


def compress(rise: Array) -> Array:
    """f, of heights in units of the pilot k."""
    return np.asarray(CAP * np.log1p(rise / CAP))


_SPAN = 18.0


def tabulate(data: CellData, unit: float, resolution: Resolution) -> CellTable:
    """The table of one cell; `unit` is the pilot k."""
    grid = grid_of(data, resolution.step)
    size = (len(MISFIT), len(NOISE_GRID), resolution.atoms, K_COUNT, len(grid))
    total: Array = np.zeros((size[0] * size[1], size[2] * size[3] * size[4]), dtype=np.float32)
    floor = None
    if len(data.x):
        y = data.seen(unit)
        sigma2 = np.square(NOISE_GRID)
        rho = np.array(MISFIT)
        variance = data.variance(y, sigma2[None, :, None], rho[:, None, None], unit)  # (R, Σ, n)
        weight = (1 / variance).reshape(-1, len(y))
        mass = weight.sum(axis=1)
        mean_y = weight @ y / mass
        centred = y - mean_y[:, None]
        constant = 0.5 * np.log(weight).sum(axis=1) - 0.5 * np.log(mass) - 0.5 * (weight * centred**2).sum(axis=1)
        free = np.maximum(data.count - 1, 0).sum()
        scatter = (data.squares * np.square(_slope(data, unit) / unit)).sum()
        repeats = -0.5 * free * np.log(sigma2) - 0.5 * scatter / sigma2
        constant = constant + np.tile(repeats, len(MISFIT))
        # −Σ w (centred − rise + mean rise)² / 2 by products of matrices, in single precision and in place.
        rises = _at(data.x, grid, resolution)  # (n, S K G)
        mean = (weight / np.sqrt(2 * mass)[:, None]).astype(np.float32) @ rises
        middle = size[0] * size[1] // 2
        floor = mean_y[middle] - mean[middle] * np.sqrt(2 / mass[middle])  # the floor, above the cell's best
        total = (weight * centred).astype(np.float32) @ rises
        total += np.square(mean, out=mean)
        total += np.matmul((-0.5 * weight).astype(np.float32), np.square(rises, out=rises), out=mean)
        total += constant[:, None].astype(np.float32)
    if len(data.early_x) and floor is not None:
        total += _early(data, grid, floor, unit, resolution)[None].astype(np.float32)
    total = total.reshape(size)
    if data.failed_x is not None:
        bound = np.log(
            data.failed_doubt + (1 - data.failed_doubt) * np.exp(log_ndtr((data.failed_x - grid) / data.failed_spread))
        )
        total += bound.astype(np.float32)
    total -= total.max()
    return CellTable(grid=grid, likelihood=np.exp(total, out=total), unseen=_unseen(data))


def _slope(data: CellData, unit: float) -> Array:
    """The slope of f at the runs: compressed, repeats far above the best scatter as little as their mean counts."""
    return np.asarray(1 / (1 + np.maximum(data.y - data.y[data.best], 0.0) / unit / CAP))


def _at(x: Array, grid: Array, resolution: Resolution) -> Array:
    """Rises at rates x (n,) for every (s, k, o): (n, S K G)."""
    table = _rises(resolution)
    index = np.rint((x[:, None] - grid[None, :]) / (resolution.step / _FINE)).astype(int)
    index = np.clip(index + len(table) // 2, 0, len(table) - 1)
    picked = table[index]  # (n, G, S, K)
    return np.ascontiguousarray(picked.transpose(0, 2, 3, 1)).reshape(len(x), -1)


def _early(data: CellData, grid: Array, floor: Array, unit: float, resolution: Resolution) -> Array:
    """Log probability that the beaten runs lie above their lower bounds: (S K G,)."""
    total = np.zeros_like(floor)
    places, inverse = np.unique(np.round(data.early_x * 8) / 8, return_inverse=True)
    rises = _at(places, grid, resolution)
    for i in range(len(places)):
        excess = float(np.median(data.early_above[inverse == i])) / unit
        above = float(compress(np.array(excess)))
        spread = float(np.hypot(0.1, 0.4 * above))
        chance = expit(1.702 * (floor + rises[i] - above) / spread)
        total += np.log(DOUBT + (1 - DOUBT) * chance) * min(int((inverse == i).sum()), 2)
    return total


def _unseen(data: CellData) -> float:
    """The standard deviation between two sampled rates that no shape resolves."""
    x = np.unique(np.concatenate([data.x, data.early_x]))
    if len(x) < 2 or not len(data.x):
        return UNSEEN[0]
    best = int(np.argmin(np.abs(x - data.x[data.best])))
    spacing = np.diff(x[max(best - 1, 0) : best + 2]).mean()
    return float(np.hypot(UNSEEN[0], UNSEEN[1] * min(spacing, 2.0)))
