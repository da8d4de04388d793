"""The loss of one width over its learning rate, smoothed from recorded runs, and the noise of these runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from lrtune.errors import InputError

Array = NDArray[np.float64]

LEAST_RATES = 4  # with a finite loss, for a surface
_BANDWIDTH = 0.75  # octaves: sd of the smoother's weights
_NEAR = 0.05  # largest relative regret at which residuals count as noise


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The smoothed loss of one width as a function of log2 rate.

    Attributes:
        x: recorded log2 rates, rising, (R,).
        y: their smoothed log loss, (R,).
        dead: log2 rate at and above which every recorded run diverged; inf if none did.
        shared, own: sd of log loss between seeds (the same for all rates), and between runs.
        best_x, best_y: the minimum of the smoothed curve.
    """

    x: Array
    y: Array
    dead: float
    shared: float
    own: float
    best_x: float
    best_y: float

    def log_loss(self, x: Array | float) -> Array:
        """Smoothed log loss: a cubic through the smoothed points, straight lines outside their range."""
        return _curve(self.x, self.y, np.asarray(x, dtype=float))

    def regret(self, rate: float) -> float:
        """Relative loss of a rate above the best one; 1 if runs diverge there."""
        x = math.log2(rate)
        return 1.0 if x >= self.dead else float(np.expm1(self.log_loss(x) - self.best_y))


def smooth(rates: Sequence[float], losses: Sequence[Sequence[float]]) -> Surface:
    """Smooth one width's runs.

    Args:
        rates: recorded learning rates, each once.
        losses: final losses by rate and seed, (R, S); NaN or inf where a run diverged.

    Raises:
        InputError: fewer than four rates have a finite loss.
    """
    order = np.argsort(rates)
    x_all = np.log2(np.asarray(rates, dtype=float)[order])
    table = np.asarray(losses, dtype=float)[order]
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(np.isfinite(table) & (table > 0), np.log(table), np.nan)
    alive = np.isfinite(logs).any(axis=1)
    if alive.sum() < LEAST_RATES:
        raise InputError(f"records: expected at least {LEAST_RATES} rates with a finite loss, but got {alive.sum()}")
    x, kept = x_all[alive], logs[alive]
    above = x_all[~alive & (x_all > x[np.nanargmin(np.nanmean(kept, axis=1))])]
    means = np.nanmean(kept, axis=1)
    y = np.array([_local(x, means, at) for at in x])
    fine = np.linspace(x[0], x[-1], 2001)
    values = _curve(x, y, fine)
    best = int(np.argmin(values))
    shared, own = _noise(kept - y[:, None], y - values[best] < _NEAR)
    return Surface(
        x=x,
        y=y,
        dead=float(above[0] + x[-1]) / 2 if len(above) else math.inf,
        shared=shared,
        own=own,
        best_x=float(fine[best]),
        best_y=float(values[best]),
    )


def _noise(residuals: Array, near: NDArray[np.bool_]) -> tuple[float, float]:
    """(sd by seed, sd by run) of the residuals (R, S) near the best: a two-way table's variance components."""
    kept = residuals[near] if near.sum() > 1 else residuals
    kept = kept[:, np.isfinite(kept).all(axis=0)]
    rates, seeds = kept.shape
    if seeds < 2 or rates < 2:
        return 0.0, float(np.nanstd(residuals[near]))
    by_seed = kept.mean(axis=0)
    inner = kept - kept.mean(axis=1, keepdims=True) - by_seed + kept.mean()
    own = float(np.square(inner).sum() / ((rates - 1) * (seeds - 1)))
    return math.sqrt(max(float(by_seed.var(ddof=1)) - own / rates, 0.0)), math.sqrt(own)


def _local(x: Array, y: Array, at: float) -> float:
    """Local quadratic regression; a point next to a cliff stays unsmoothed."""
    weight = np.exp(-0.5 * np.square((x - at) / _BANDWIDTH))
    weight *= np.exp(-np.abs(y - y[np.argmin(np.abs(x - at))]) / 0.1)  # avoid smoothing across a cliff
    basis = np.stack([np.ones_like(x), x - at, np.square(x - at)], axis=1)
    root = np.sqrt(weight)[:, None]
    solution, *_ = np.linalg.lstsq(basis * root, y * root[:, 0], rcond=None)
    return float(solution[0])


def _curve(x: Array, y: Array, at: Array) -> Array:
    """A monotone cubic (PCHIP) through the points; straight lines with a minimum slope outside."""
    cubic = PchipInterpolator(x, y)
    first, last = cubic(x[[0, -1]], nu=1)
    below, above = np.maximum(x[0] - at, 0.0), np.maximum(at - x[-1], 0.0)
    return np.asarray(cubic(np.clip(at, x[0], x[-1])) + below * max(-first, 0.01) + above * max(last, 0.02))
