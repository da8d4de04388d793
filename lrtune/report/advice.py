"""A rule in words and curves, for the page and the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lrtune.report.terminal.chart import geometric
from lrtune.rule import Rule

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit

Point = tuple[float, float]


def fitted_curve(
    fit: "LawFit | None", scales: "int | Mapping[str, float]", rates: Sequence[float], count: int
) -> list[Point]:
    """(rate, loss) along the fit at one size or place between the extremes of `rates`; empty without a fit."""
    place = scales if isinstance(scales, Mapping) else {"hidden_size": scales}
    cells = [] if fit is None else [cell for cell in fit.cells if place.items() <= cell.scales.items()]
    low, high = min(rates), max(rates)
    if not cells or low == high:
        return []
    points = [(rate, float(cells[0].loss_at(rate))) for rate in geometric(low, high, count)]
    return [(rate, loss) for rate, loss in points if math.isfinite(loss)]


def asked_of_published(rule: Rule) -> dict[str, float]:
    """The other inputs of published rules that this rule's conditions provide."""
    depth, tokens = rule.conditions.get("depth"), rule.horizon.get("tokens")
    scales = {"depth": float(depth)} if isinstance(depth, int | float) else {}
    batch = rule.conditions.get("batch_tokens", rule.conditions.get("tokens_per_step"))
    scales |= {"batch_tokens": float(batch)} if isinstance(batch, int | float) else {}
    return {**scales, "tokens": tokens} if tokens else scales


def sentence(text: str) -> str:
    """`text` with an initial capital, unless a formula begins it, and a final full stop."""
    text = text.strip().rstrip(".")
    return f"{text if text.startswith('lr ') else text[:1].upper() + text[1:]}."


def shown(value: object) -> str:
    """A value for display: short numbers, the two ends of a range."""
    if isinstance(value, tuple | list):
        return " … ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
