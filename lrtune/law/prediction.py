"""Joint draws of the loss curves at places, measured or not: what a search asks of the model.

At a measured place the optimum and the curve come from its table. At any other the optimum follows the law given the
measured ones, and the curve resembles those of the measured cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import ndtr

from lrtune.law import priors
from lrtune.law.atoms import Array, Indices, atoms, height, kinship
from lrtune.law.geometry import Geometry, Strays, stray_set
from lrtune.law.model import Model
from lrtune.law.posterior import Posterior, Size, kernels, prior_shared, systematic
from lrtune.law.tables import CellData, CellTable, compress

_FINE = 16  # tabulated heights per octave
_SPAN = 30  # octaves
_ERROR = 0.05  # octaves: the error of a drawn optimum from which others are predicted
_FLOOR_SD = 0.1  # relative loss: how far an unmeasured place's floor may lie from the lowest


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """N joint draws of the curves at P places.

    Attributes:
        optimum: log2 rate, (N, P).
        shape: index of the atom, (N, P).
        rise: relative loss an octave away from the best, (N, P).
        floor: relative loss at the optimum above the cell's best run, (N, P).
        noise, misfit: sd of a run's relative loss, and the share of a height that no shape carries, (N,).
        unit: the pilot k; heights are compressed in units of it.
        atoms: number of atoms.
    """

    optimum: Array
    shape: Indices
    rise: Array
    floor: Array
    noise: Array
    misfit: Array
    unit: float
    atoms: int

    def height(self, place: int, x: Array) -> Array:
        """Relative loss above the best at log2 rates x (G,), by draw: (N, G)."""
        table = _heights(self.atoms)
        u = np.rint((x[None, :] - self.optimum[:, place, None]) * _FINE).astype(int)
        u = np.clip(u + len(table) // 2, 0, len(table) - 1)
        return np.asarray(self.rise[:, place, None] * table[u, self.shape[:, place, None]])

    def shown(self, place: int, x: Array, rng: np.random.Generator) -> Array:
        """Relative losses, compressed, that runs at x (G,) would show, by draw: (N, G)."""
        seen = self.unit * compress(self.height(place, x) / self.unit)
        spread = np.hypot(self.noise[:, None], self.misfit[:, None] * seen)
        return np.asarray(self.floor[:, place, None] + seen + spread * rng.standard_normal(seen.shape))


@cache
def _heights(count: int) -> Array:
    u = np.arange(-_SPAN * _FINE, _SPAN * _FINE + 1) / _FINE
    return np.minimum(height(u[:, None], atoms(count)[None]), 1e9)


def predict(model: Model, data: Sequence[CellData], places: Array, count: int, rng: np.random.Generator) -> Prediction:
    """Draws at the model's cells, in order, and then at further places.

    Args:
        data: the runs of the model's cells.
        places: centred log scales of the further places, (P, p).
        count: number of draws N, even.
    """
    posterior, geometry = model.posterior, model.geometry
    component = posterior.components(count)
    shared = posterior.shared[component]
    optimum = draw_optima(model.tables, posterior, component, rng)
    further = _further(geometry, posterior.strays, component, optimum, places, rng)
    shapes = model.tables[0].likelihood.shape[2]
    noise = np.array(priors.NOISE_GRID)[shared[:, 1]]
    misfit = np.array(priors.MISFIT)[shared[:, 0]]
    columns = []
    for i, (table, one) in enumerate(zip(model.tables, data, strict=True)):
        shape, k = draw_curves(table, shared, optimum[:, i], rng)
        columns.append((shape, k, _floors(one, model.unit, optimum[:, i], shape, _rise(k), noise, misfit, shapes, rng)))
    _, own_k = kernels()
    for _ in range(len(places)):
        shape, k = pick(kinship(shapes)[shared[:, 2]], rng), pick(own_k[shared[:, 3]], rng)
        columns.append((shape, k, _FLOOR_SD / model.unit * rng.standard_normal(count)))
    shape, k, floor = (np.stack(side, axis=1) for side in zip(*columns, strict=True))
    return Prediction(
        optimum=np.concatenate([optimum, further], axis=1),
        shape=shape,
        rise=model.unit * _rise(k),
        floor=model.unit * floor,
        noise=model.unit * noise,
        misfit=misfit,
        unit=model.unit,
        atoms=shapes,
    )


def predict_from_priors(
    geometry: Geometry, unit: float, size: Size, count: int, rng: np.random.Generator
) -> Prediction:
    """Draws at the places of `geometry` before any run."""
    strays = stray_set(size.strays, geometry)
    component = np.arange(count) % size.strays
    mean, covariance = geometry.mean(strays), geometry.covariance(strays)
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(geometry.z)))
    optimum = mean[component] + np.einsum("dij,dj->di", root[component], rng.standard_normal((count, len(geometry.z))))
    shapes = size.resolution.atoms
    prior = np.exp(prior_shared(shapes))
    flat = rng.permutation(systematic(prior.ravel(), count))
    shared = np.stack(np.unravel_index(flat, prior.shape), axis=1)
    _, own_k = kernels()
    every = range(len(geometry.z))
    shape = np.stack([pick(kinship(shapes)[shared[:, 2]], rng) for _ in every], axis=1)
    k = np.stack([pick(own_k[shared[:, 3]], rng) for _ in every], axis=1)
    return Prediction(
        optimum=optimum,
        shape=shape,
        rise=unit * _rise(k),
        floor=_FLOOR_SD * rng.standard_normal(optimum.shape),
        noise=unit * np.array(priors.NOISE_GRID)[shared[:, 1]],
        misfit=np.array(priors.MISFIT)[shared[:, 0]],
        unit=unit,
        atoms=shapes,
    )


def _rise(k: Indices) -> Array:
    return np.asarray(priors.K_GRID ** (k - float(priors.K_COUNT // 2)))


def _further(
    geometry: Geometry, strays: Strays, component: Indices, optimum: Array, places: Array, rng: np.random.Generator
) -> Array:
    """Optima at further places given the measured ones, (N, P)."""
    if not len(places):
        return np.empty((len(component), 0))
    n, p = len(geometry.z), len(places)
    used, component = np.unique(component, return_inverse=True)
    strays = strays.take(used)
    whole = geometry.covariance(strays) + _ERROR**2 * np.eye(n)
    cross = geometry.covariance(strays, places, geometry.z)
    gain = np.linalg.solve(whole, cross.transpose(0, 2, 1)).transpose(0, 2, 1)  # (M, P, n)
    left = geometry.covariance(strays, places, places) - gain @ cross.transpose(0, 2, 1)
    value, vector = np.linalg.eigh((left + left.transpose(0, 2, 1)) / 2)
    root = vector * np.sqrt(np.maximum(value, 0.0))[:, None, :]
    deviation = optimum - geometry.mean(strays)[component]
    mean = geometry.mean(strays, places)[component] + np.einsum("dpn,dn->dp", gain[component], deviation)
    return np.asarray(mean + np.einsum("dpq,dq->dp", root[component], rng.standard_normal((len(component), p))))


def _floors(
    data: CellData,
    unit: float,
    optimum: Array,
    shape: Indices,
    rise: Array,
    noise: Array,
    misfit: Array,
    shapes: int,
    rng: np.random.Generator,
) -> Array:
    """Floors of a cell's curves above its best run in units of the pilot, by draw: (N,)."""
    count = len(optimum)
    if not len(data.x):
        return np.asarray(_FLOOR_SD / unit * rng.standard_normal(count))
    table = _heights(shapes)
    u = np.rint((data.x[None, :] - optimum[:, None]) * _FINE).astype(int)
    u = np.clip(u + len(table) // 2, 0, len(table) - 1)
    seen = compress(rise[:, None] * table[u, shape[:, None]])
    y = data.seen(unit)
    weight = 1 / data.variance(y, np.square(noise)[:, None], misfit[:, None], unit)
    total = weight.sum(axis=1)
    return np.asarray((weight * (y - seen)).sum(axis=1) / total + rng.standard_normal(count) / np.sqrt(total))


def pick(weight: Array, rng: np.random.Generator) -> Indices:
    """One index per row, drawn in proportion to the weights."""
    total = np.cumsum(weight, axis=1)
    target = rng.permutation((np.arange(len(weight)) + 0.5) / len(weight))[:, None] * total[:, -1:]
    return np.asarray(np.minimum((total < target).sum(axis=1), weight.shape[1] - 1))


def draw_optima(
    tables: Sequence[CellTable], posterior: Posterior, component: Indices, rng: np.random.Generator
) -> Array:
    """Joint draws of the cells' optima, (N, n): the cells' marginals with the Gaussians' dependence (a copula)."""
    count, n = len(component), len(tables)
    half = rng.standard_normal((count // 2, n))
    normal = np.stack([half, -half], axis=1).reshape(count, n)
    root = np.linalg.cholesky(posterior.covariance[component] + 1e-9 * np.eye(n))
    deviation = np.einsum("dij,dj->di", root, normal)
    score = ndtr(deviation / np.sqrt(np.diagonal(posterior.covariance[component], axis1=1, axis2=2)))
    found = np.empty((count, n))
    for i, table in enumerate(tables):
        edges = np.concatenate([[table.grid[0] - table.step / 2], table.grid + table.step / 2])
        density = posterior.tilted[i]
        total = np.concatenate([np.zeros((len(density), 1)), np.cumsum(density, axis=1)], axis=1)
        raw = _inverse(total[component], score[:, i], edges)
        whole = posterior.weight @ total
        rank = np.argsort(np.argsort(raw))
        found[:, i] = np.interp((rank + 0.5) / count, whole / whole[-1], edges)
    return found


def _inverse(total: Array, score: Array, edges: Array) -> Array:
    """The edges at which cumulated densities (N, G + 1) reach a share, by linear interpolation, (N,)."""
    target = score * total[:, -1]
    at = np.clip((total < target[:, None]).sum(axis=1), 1, total.shape[1] - 1)
    rows = np.arange(len(total))
    start, end = total[rows, at - 1], total[rows, at]
    share = (target - start) / np.maximum(end - start, 1e-300)
    return np.asarray(edges[at - 1] + np.clip(share, 0.0, 1.0) * (edges[at] - edges[at - 1]))


def draw_curves(table: CellTable, shared: Indices, optima: Array, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Shape and height index of a cell's curve given its optimum, by draw; `shared`: (N, 4)."""
    _, sigmas, shapes, count, _ = table.likelihood.shape
    at = np.clip(np.rint((optima - table.grid[0]) / table.step).astype(int), 0, len(table.grid) - 1)
    noise, heights = kernels()
    chance = kinship(shapes)[shared[:, 2], :, None] * heights[shared[:, 3], None, :]
    for rho in np.unique(shared[:, 0]):
        mine = np.flatnonzero(shared[:, 0] == rho)
        sigma, which = np.unique(shared[mine, 1], return_inverse=True)
        mixed = noise[sigma].astype(np.float32) @ table.likelihood[rho].reshape(sigmas, -1)
        chance[mine] *= mixed.reshape(len(sigma), shapes, count, -1)[which, :, :, at[mine]]
    chosen = pick(chance.reshape(len(optima), -1) + 1e-30, rng)
    return chosen // count, chosen % count
