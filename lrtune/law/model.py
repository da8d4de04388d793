"""The joint model of all cells: their likelihood tables, their geometry, and the posterior."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrtune.law.atoms import Array
from lrtune.law.geometry import Geometry
from lrtune.law.posterior import Posterior, Size, infer
from lrtune.law.priors import SLOPES
from lrtune.law.tables import CellData, CellTable, tabulate
from lrtune.rule.drawn import scatter

FULL = Size()


@dataclass(frozen=True, kw_only=True)
class Model:
    """The posterior with its inputs.

    Attributes:
        unit: the pilot k: a typical rise of the relative loss an octave away from the best.
        centres: the centres of the scales' logarithms, as values of the scales, (p,).
    """

    unit: float
    centres: Array
    geometry: Geometry
    tables: tuple[CellTable, ...]
    posterior: Posterior


def build(
    data: Sequence[CellData],
    scales: Sequence[str],
    values: Array,
    size: Size = FULL,
    slopes: Mapping[str, tuple[float, float]] = SLOPES,
) -> Model:
    """The model of cells with these values of the scales, (n, p); `slopes` are those of `Geometry`."""
    logs = np.log(values)
    centre = np.array([np.unique(np.round(column, 9)).mean() for column in logs.T])
    unit = pilot(data)
    middles = [float(np.median(one.x)) if len(one.x) else float(np.mean(one.sampled)) for one in data]
    geometry = Geometry(scales=tuple(scales), z=logs - centre, place=float(np.mean(middles)), slopes=slopes)
    tables = tuple(tabulate(one, unit, size.resolution) for one in data)
    return Model(
        unit=unit,
        centres=np.exp(centre),
        geometry=geometry,
        tables=tables,
        posterior=infer(tables, geometry, size),
    )


def pilot(data: Sequence[CellData], usual: float | None = None) -> float:
    """A typical k: the median over cells of the rise from the best loss to its neighbours an octave off.

    `usual` counts as one more cell, in the mean of logarithms.
    """
    rises = []
    for one in data:
        if len(one.x) < 2:
            continue
        best = one.best
        distance = np.abs(one.x - one.x[best])
        near = (distance > 0) & (distance <= 3.0)
        if near.any():
            rises.append(float(np.median((one.y[near] - one.y[best]) / distance[near] ** 1.5)))
    positive = [rise for rise in rises if rise > 0]
    if usual is not None:
        known = math.log(max(float(np.median(positive)), 1e-9)) * len(positive) if positive else 0.0
        return math.exp((known + math.log(usual)) / (len(positive) + 1))
    return max(float(np.median(positive)), 1e-9) if positive else 1e-3


def without_own_level(model: Model, scale: int, count: int) -> Array:
    """Draws of each cell's optimum as the cells with other values of a scale predict it, log2 rate, (N, n).

    `scale` is its index; it has several values. `count` is N, even.
    """
    geometry, posterior = model.geometry, model.posterior
    level, n = geometry.z[:, scale], len(geometry.z)
    component = posterior.components(count)
    drawn = np.empty((count, n))
    normal = np.array([[scatter(d)] for d in range(count)])
    noise = 1 / posterior.site_precision
    site = posterior.site_shift * noise
    whole = geometry.covariance(posterior.strays)
    whole[:, np.arange(n), np.arange(n)] += noise
    inverse = np.linalg.inv(whole)
    pull = inverse @ (site - geometry.mean(posterior.strays))[..., None]
    for value in np.unique(level):
        own = np.flatnonzero(level == value)
        # Leave-one-out (Rasmussen & Williams 2006, eq. 5.12) of a block of cells.
        spread = np.linalg.inv(inverse[:, own[:, None], own])
        expected = site[:, own] - (spread @ pull[:, own])[..., 0]
        variance = np.diagonal(spread, axis1=1, axis2=2) - noise[:, own]
        drawn[:, own] = expected[component] + normal * np.sqrt(np.maximum(variance, 0.0))[component]
    return drawn
