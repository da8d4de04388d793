"""What is known of one cell once the law is fitted: its optimum, its safe range, its curve."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lrtune.law.cells import Cell
from lrtune.law.curve import Array, CellEvidence, blurred

_BLUR = 1.4  # a curve's shape is common to all cells: what it gets wrong does not average out


@dataclass(frozen=True, kw_only=True)
class LawCell:
    """What is known of one combination of scales, all runs of all others taken into account.

    Attributes:
        learning_rate, low, high: the optimum with its interval.
        bound: ``lower`` or ``upper`` where only that side of the optimum was sampled.
        safe_low, safe_high: rates that cost at most the tolerance.
        trials, loss: runs, and the least loss that the curve reaches.
        sensitivity: mean rise of the loss over the sampled rates (arXiv 2309.14322, §2.2).
        loss_at: expected loss at a learning rate.
    """

    scales: dict[str, float]
    learning_rate: float
    low: float
    high: float
    bound: str | None
    safe_low: float | None
    safe_high: float | None
    trials: int
    loss: float | None
    sensitivity: float | None
    loss_at: Callable[[float], float] = field(repr=False)


def describe_cell(cell: Cell, evidence: CellEvidence, post: Array, tolerance: float, level: float) -> LawCell:
    """The cell's optimum, safe range and curve from its posterior over the grid; `LawCell` says what each is."""
    grid = evidence.grid
    post = _blur(evidence, post)
    low, middle, high = _quantiles(grid, post, level)
    curve = post @ evidence.rise
    least = float(post @ evidence.least)
    known = math.isfinite(least)
    safe = _safe(grid, curve, middle, tolerance * abs(least)) if known else (None, None)

    def loss_at(learning_rate: float) -> float:
        return least + float(np.interp(math.log2(learning_rate), grid, curve - curve.min()))

    return LawCell(
        scales=cell.scales,
        learning_rate=2.0**middle,
        low=2.0**low,
        high=2.0**high,
        bound=_bound(cell, grid, post, evidence.sampled),
        safe_low=safe[0],
        safe_high=safe[1],
        trials=len(cell.records),
        loss=least if known else None,
        sensitivity=_sensitivity(cell),
        loss_at=loss_at,
    )


def _quantiles(grid: Array, post: Array, level: float) -> tuple[float, float, float]:
    """Both ends of the central interval and the median, a uniform density within each step of the grid."""
    step = grid[1] - grid[0]
    edges = np.concatenate([[grid[0] - step / 2], grid + step / 2])
    total = np.concatenate([[0.0], np.cumsum(post)]) / post.sum()
    low, middle, high = np.interp([(1 - level) / 2, 0.5, (1 + level) / 2], total, edges)
    return float(low), float(middle), float(high)


def _bound(cell: Cell, grid: Array, post: Array, sampled: tuple[float, float]) -> str | None:
    """Whether the optimum likely lies outside of the rates that were run, or below all of them because all failed."""
    if not len(cell.data.x):
        return "upper" if cell.data.failed.any() else None
    if post[grid > sampled[1]].sum() > 0.5:
        return "lower"
    return "upper" if post[grid < sampled[0]].sum() > 0.5 else None


def _safe(grid: Array, curve: Array, middle: float, allowed: float) -> tuple[float, float]:
    """Ends of the interval around the optimum in which the expected rise stays within what is allowed."""
    rise = curve - curve.min()
    best = int(np.argmin(curve))
    over = np.flatnonzero(rise > allowed)
    left = over[over < best].max() if (over < best).any() else 0
    right = over[over > best].min() if (over > best).any() else len(grid) - 1
    low = _crossing(grid, rise, left, left + 1, allowed)
    high = _crossing(grid, rise, right, right - 1, allowed)
    return 2.0 ** min(low, middle), 2.0 ** max(high, middle)


def _crossing(grid: Array, rise: Array, outside: int, inside: int, allowed: float) -> float:
    a, b = rise[outside], rise[inside]
    share = 0.0 if a == b else float(np.clip((a - allowed) / (a - b), 0, 1))
    return float(grid[outside] + share * (grid[inside] - grid[outside]))


def _sensitivity(cell: Cell) -> float | None:
    """Mean over the sampled log rates of min(loss, loss at init) less the best loss (arXiv 2309.14322)."""
    start = [r.curve["loss"][0] for r in cell.records if r.curve.get("loss") and r.curve["step"][0] == 0]
    at_init = [value for value in start if value is not None]
    if len(np.unique(cell.data.x)) < 2:
        return None
    ceiling = max(at_init) if at_init else float(cell.data.loss.max())
    x = np.concatenate([cell.data.x, cell.data.censored_x[cell.data.failed]])
    loss = np.concatenate([np.minimum(cell.data.loss, ceiling), np.full(int(cell.data.failed.sum()), ceiling)])
    places, inverse = np.unique(np.round(x, 6), return_inverse=True)
    mean = np.bincount(inverse, loss) / np.bincount(inverse)
    return float(np.trapezoid(mean - mean.min(), places) / (places[-1] - places[0]))


def _blur(evidence: CellEvidence, post: Array) -> Array:
    step = float(evidence.grid[1] - evidence.grid[0])
    density = np.exp(blurred(np.log(np.maximum(post, 1e-300)), step, _BLUR * evidence.unseen))
    return np.asarray(density / density.sum())
