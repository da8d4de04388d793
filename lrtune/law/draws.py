"""Equally likely draws from the posterior for a rule: law, deviations, and the cells' optima and curves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrtune.law import priors
from lrtune.law.atoms import Array, Indices, atoms, body, kinship
from lrtune.law.geometry import Geometry, Strays, bends
from lrtune.law.model import Model
from lrtune.law.posterior import kernels
from lrtune.law.prediction import draw_curves, draw_optima, pick
from lrtune.rule.data import HEIGHT_UNIT, RATE_UNIT, CellDraws, Draws


@dataclass(frozen=True, kw_only=True)
class Latent:
    """The law's quantities by draw, without the optima.

    Attributes:
        level, slopes, bends: of the polynomial, (D,), (D, p), (D, q).
        wander, steps: deviations at the levels of each scale, one (D, levels) a scale.
    """

    level: Array
    slopes: Array
    bends: Array
    wander: tuple[Array, ...]
    steps: tuple[Array, ...]


def draw(model: Model, count: int, *, ratio: bool, values: Sequence[Sequence[float]], extra: float = 0.0) -> Draws:
    """Draw an even number of samples, deterministically.

    Args:
        ratio: relative losses are logs.
        values: measured values of each scale, in order.
        extra: variance in octaves² of an unmeasured optimum, added to the model's.
    """
    tables, posterior, geometry, unit = model.tables, model.posterior, model.geometry, model.unit
    rng = np.random.default_rng(20)
    component = posterior.components(count)
    optima = draw_optima(tables, posterior, component, rng)
    latent = _latents(geometry, posterior.strays, component, optima, rng)
    law = latent.level[:, None] + latent.slopes @ geometry.z.T + latent.bends @ bends(geometry.z).T
    used: dict[int, int] = {}
    cells = []
    for i, table in enumerate(tables):
        shape, k = draw_curves(table, posterior.shared[component], optima[:, i], rng)
        cells.append(CellDraws(_whole(optima[:, i] - law[:, i], RATE_UNIT), _indices(shape, used), _heights(k, unit)))
    _, own_k = kernels()
    shape = pick(kinship()[posterior.shared[component, 2]], rng)
    k = pick(own_k[posterior.shared[component, 3]], rng)
    strays = posterior.strays.take(component)
    several = len(geometry.scales) > 1
    own = np.hypot(strays.own if several else np.hypot(strays.own, strays.level[:, 0]), np.sqrt(extra))
    return Draws(
        shapes=(),
        level=_whole(latent.level, RATE_UNIT),
        slopes=tuple(_whole(column, RATE_UNIT) for column in latent.slopes.T),
        bends=tuple(_whole(column, RATE_UNIT) for column in latent.bends.T),
        reach=priors.REACH,
        wander=tuple(tuple(_whole(column, RATE_UNIT) for column in part.T) for part in latent.wander),
        wander_sd=tuple(_whole(column, RATE_UNIT) for column in strays.wander.T),
        steps=tuple(tuple(_whole(column, RATE_UNIT) for column in part.T) for part in latent.steps) if several else (),
        steps_sd=tuple(_whole(column, RATE_UNIT) for column in strays.level.T) if several else (),
        own_sd=_whole(own, RATE_UNIT),
        inert=tuple(round(float(posterior.weight @ column), 3) for column in posterior.strays.inert.T),
        shape=_indices(shape, used),
        height=_heights(k, unit),
        cells=tuple(cells),
        ratio=ratio,
        values=tuple(tuple(float(v) for v in column) for column in values),
    )._replace(shapes=_shapes(used))


def _whole(values: Array, unit: float) -> tuple[int, ...]:
    return tuple(int(value) for value in np.rint(values / unit))


def _heights(k: Indices, unit: float) -> tuple[int, ...]:
    octaves = (k - priors.K_COUNT // 2) * np.log2(priors.K_GRID) + np.log2(unit)
    return _whole(octaves, HEIGHT_UNIT)


def _indices(shape: Indices, used: dict[int, int]) -> tuple[int, ...]:
    return tuple(used.setdefault(int(s), len(used)) for s in shape)


def _shapes(used: dict[int, int]) -> tuple[tuple[float, ...], ...]:
    """Rows of the table of atoms, each with its scaling factor to an average of 1 an octave from the best."""
    rows = atoms()[list(used)]
    average = 0.5 * (body(np.ones(len(rows)), rows) + body(-np.ones(len(rows)), rows))
    return tuple(
        tuple(float(f"{value:.4g}") for value in (*row, 1 / factor)) for row, factor in zip(rows, average, strict=True)
    )


def _latents(geometry: Geometry, strays: Strays, component: Indices, optima: Array, rng: np.random.Generator) -> Latent:
    """Law and deviations given the optima: Gaussian."""
    z, p = geometry.z, geometry.z.shape[1]
    levels = geometry.levels
    q = p * (p + 1) // 2
    sizes = [1, p, q, *(len(v) for v in levels), *(len(v) for v in levels)]
    places = np.cumsum([0, *sizes])
    total = int(places[-1])
    count = len(component)
    out = np.empty((count, total))
    half = rng.standard_normal((count // 2, total))
    normal = np.stack([half, -half], axis=1).reshape(count, total)
    for m in np.unique(component):
        one = strays.take(np.array([m]))
        here = np.flatnonzero(component == m)
        prior = np.zeros((total, total))
        cross = np.zeros((total, len(z)))
        mean = np.zeros(total)
        prior[0, 0], cross[0], mean[0] = one.place[0] ** 2, one.place[0] ** 2, geometry.place
        slope = slice(places[1], places[2])
        prior[slope, slope] = np.diag(np.square(one.slope_sd[0]))
        cross[slope] = np.square(one.slope_sd[0])[:, None] * z.T
        mean[slope] = one.slope_mean[0]
        bend = slice(places[2], places[3])
        prior[bend, bend] = np.diag(np.square(one.curvature[0]))
        cross[bend] = np.square(one.curvature[0])[:, None] * bends(z).T
        for i, values in enumerate(levels):
            at = slice(places[3 + i], places[4 + i])
            prior[at, at] = one.wander[0, i] ** 2 * np.exp(-np.abs(values[:, None] - values) / priors.REACH)
            cross[at] = one.wander[0, i] ** 2 * np.exp(-np.abs(values[:, None] - z[:, i]) / priors.REACH)
            at = slice(places[3 + p + i], places[4 + p + i])
            prior[at, at] = one.level[0, i] ** 2 * np.eye(len(values))
            cross[at] = one.level[0, i] ** 2 * (np.abs(values[:, None] - z[:, i]) < 1e-9)
        whole = geometry.covariance(one)[0] + 1e-8 * np.eye(len(z))
        gain = np.linalg.solve(whole, cross.T).T
        left = prior - gain @ cross.T
        value, vector = np.linalg.eigh((left + left.T) / 2)
        root = vector * np.sqrt(np.maximum(value, 0.0))
        out[here] = mean + (optima[here] - geometry.mean(one)) @ gain.T + normal[here] @ root.T
    parts = [out[:, places[i] : places[i + 1]] for i in range(len(sizes))]
    return Latent(
        level=parts[0][:, 0],
        slopes=parts[1],
        bends=parts[2],
        wander=tuple(parts[3 : 3 + p]),
        steps=tuple(parts[3 + p :]),
    )
