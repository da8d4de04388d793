"""The prior of the optima: Gaussian given their deviation from a power law."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtri

from lrtune.law import priors
from lrtune.law.atoms import Array, Flags, Indices


@dataclass(frozen=True, kw_only=True)
class Strays:
    """Deviations of the optima from a power law, M settings, in octaves.

    Attributes:
        slope_mean, slope_sd: prior of each scale's slope, (M, p).
        curvature: sd of each second-degree coefficient, (M, p (p + 1) / 2).
        wander, level: sd of the short-range and of a level's independent deviation, by scale, (M, p).
        own: sd of a cell's independent deviation, (M,).
        place: sd of the optimum in the middle of the cells, (M,).
        inert: True if the best rate does not depend on the scale, (M, p).
    """

    slope_mean: Array
    slope_sd: Array
    curvature: Array
    wander: Array
    level: Array
    own: Array
    place: Array
    inert: Flags

    def take(self, index: Indices) -> "Strays":
        """The settings at these indices."""
        return Strays(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Cells in log scale.

    Attributes:
        scales: names.
        z: centred log scales of the cells, (n, p).
        place: prior mean of the optimum in the middle of the cells, log2 rate.
        slopes: prior mean and sd of the slope by scale; `priors.OTHER_SLOPE` for others.
        near: its prior sd in octaves where a range of rates is expected to hold it; five of six settings believe that.
    """

    scales: tuple[str, ...]
    z: Array
    place: float
    near: float | None = None
    slopes: Mapping[str, tuple[float, float]] = field(default_factory=lambda: priors.SLOPES)

    @property
    def levels(self) -> tuple[Array, ...]:
        """The cells' values of each scale, in order."""
        return tuple(np.unique(column) for column in self.z.T)

    @property
    def prior_mean(self) -> Array:
        """Prior mean of each cell's optimum, (n,)."""
        return np.asarray(self.place + self.z @ self.prior_slopes[:, 0])

    @property
    def prior_slopes(self) -> Array:
        """Prior mean and sd of each scale's slope, (p, 2)."""
        return np.array([self.slopes.get(name, priors.OTHER_SLOPE) for name in self.scales])

    def mean(self, strays: Strays, at: Array | None = None) -> Array:
        """Prior mean of optima, (M, n)."""
        z = self.z if at is None else at
        return np.asarray(self.place + strays.slope_mean @ z.T)

    def covariance(self, strays: Strays, left: Array | None = None, right: Array | None = None) -> Array:
        """Prior covariance between the optima at two sets of places (the cells' by default), (M, a, b)."""
        a, b = (self.z if side is None else side for side in (left, right))
        found = np.square(strays.place)[:, None, None] + np.einsum(
            "ap,mp,bp->mab", a, np.square(strays.slope_sd), b, optimize=True
        )
        found += (bends(a) * np.square(strays.curvature)[:, None]) @ bends(b).T
        for i in range(a.shape[1]):
            gap = np.abs(a[:, None, i] - b[None, :, i])
            found += np.square(strays.wander[:, i])[:, None, None] * np.exp(-gap / priors.REACH)
            found += np.square(strays.level[:, i])[:, None, None] * (gap < 1e-9)
        same = (np.abs(a[:, None] - b[None]) < 1e-9).all(axis=2)
        return np.asarray(found + np.square(strays.own)[:, None, None] * same)


def bends(z: Array) -> Array:
    """The second-degree terms at each place, (n, p (p + 1) / 2)."""
    p = z.shape[1]
    return np.stack([z[:, i] * z[:, j] * (0.5 if i == j else 1.0) for i in range(p) for j in range(i, p)], axis=1)


def stray_set(count: int, geometry: Geometry) -> Strays:
    """A fixed set, spread evenly over the priors (R-sequence, Roberts 2018)."""
    p = len(geometry.scales)
    dimensions = 2 + 3 * p
    phi = 1.0
    for _ in range(80):
        phi = (1 + phi) ** (1 / (dimensions + 1))
    u = (0.5 + np.arange(1, count + 1)[:, None] * phi ** -np.arange(1.0, dimensions + 1.0)) % 1
    normal = ndtri(np.clip(u, 0.005, 0.995))
    prior = geometry.prior_slopes
    own = _log_normal(priors.OWN, normal[:, 1])
    own[-1] = priors.LAWLESS  # one of the set
    inert = u[:, 2 : 2 + p] < priors.INERT
    place = np.full(count, priors.PLACE)
    if geometry.near is not None:
        place[np.arange(count) % 6 != 5] = geometry.near
    return Strays(
        slope_mean=np.where(inert, 0.0, prior[:, 0]),
        slope_sd=np.where(inert, priors.INERT_SLOPE, prior[:, 1]),
        curvature=np.stack(
            [
                _log_normal(priors.CURVATURE if i == j else priors.INTERACTION, normal[:, 0])
                for i in range(p)
                for j in range(i, p)
            ],
            axis=1,
        ),
        own=own,
        place=place,
        wander=_log_normal(priors.WANDER, normal[:, 2 + p : 2 + 2 * p]),
        level=_log_normal(priors.LEVEL, normal[:, 2 + 2 * p :]),
        inert=inert,
    )


def _log_normal(prior: Sequence[float], normal: Array) -> Array:
    return np.asarray(prior[0] * np.exp(prior[1] * normal))
