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


def left_out(model: Model, count: int) -> Array:
    """Draws of each cell's optimum as the cells with other values of the first scale predict it, log2 rate, (N, n).

    NaN if there are no such cells. `count` is N, even.
    """
    geometry, posterior = model.geometry, model.posterior
    size = geometry.z[:, 0]
    prior, mean = geometry.covariance(posterior.strays), geometry.mean(posterior.strays)
    component = posterior.components(count)
    drawn = np.full((count, len(size)), np.nan)
    normal = np.array([[scatter(d)] for d in range(count)])
    for value in np.unique(size):
        own, rest = np.flatnonzero(size == value), np.flatnonzero(size != value)
        if not len(rest):
            continue
        noise = np.zeros((len(mean), len(rest), len(rest)))
        noise[:, np.arange(len(rest)), np.arange(len(rest))] = 1 / posterior.site_precision[:, rest]
        site = posterior.site_shift[:, rest] / posterior.site_precision[:, rest]
        cross = prior[:, own[:, None], rest]
        gain = np.linalg.solve(prior[:, rest[:, None], rest] + noise, cross.transpose(0, 2, 1)).transpose(0, 2, 1)
        expected = mean[:, own] + (gain @ (site - mean[:, rest])[..., None])[..., 0]
        variance = np.diagonal(prior, axis1=1, axis2=2)[:, own] - (gain * cross).sum(axis=2)
        drawn[:, own] = expected[component] + normal * np.sqrt(np.maximum(variance, 0.0))[component]
    return drawn
