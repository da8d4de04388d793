"""A rule in words and rows, for the page and the terminal."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lrtune.report.terminal.chart import geometric
from lrtune.rule import Rule, recommend

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit

Point = tuple[float, float]


class AdviceRow(NamedTuple):
    """The answer for one hidden size as texts under `advice_head`, and whether the data support it."""

    cells: tuple[str, ...]
    supported: bool


def sizes(rule: Rule | None) -> list[float]:
    """The measured hidden sizes, ascending; empty for a rule over other scales."""
    if rule is None or set(rule.scales) != {"hidden_size"}:
        return []
    return sorted({cell.scales["hidden_size"] for cell in rule.cells})


def advice_head(rule: Rule) -> tuple[str, ...]:
    """The titles of the columns of `advice_rows`."""
    within = f"within {rule.tolerance * 100:g}% of loss"
    return ("hidden size", "learning rate", f"{rule.level:.0%} interval", within, "basis")


def advice_rows(rule: Rule) -> list[AdviceRow]:
    """A row for each measured size, and for twice and four times the largest; empty without `sizes`."""
    measured = sizes(rule)
    return [_row(size, rule) for size in [*measured, *(measured[-1] * factor for factor in (2, 4) if measured)]]


def _row(size: float, rule: Rule) -> AdviceRow:
    answer = recommend(size, rule=rule)
    safe_range = f"{answer.safe_low:.2g} … {answer.safe_high:.2g}" if answer.safe_low and answer.safe_high else "–"
    basis = answer.basis if answer.supported else f"{answer.basis}, unsupported"
    interval = f"{answer.low:.2g} … {answer.high:.2g}"
    cells = (f"{size:g}", f"{answer.learning_rate:.3g}", interval, safe_range, basis)
    return AdviceRow(cells, answer.supported)


def fitted_curve(fit: "LawFit | None", hidden_size: int, rates: Sequence[float], count: int) -> list[Point]:
    """(rate, loss) along the fit of one size between the extremes of `rates`; empty without a fit."""
    cells = [] if fit is None else [cell for cell in fit.cells if cell.scales.get("hidden_size") == hidden_size]
    low, high = min(rates), max(rates)
    if not cells or low == high:
        return []
    points = [(rate, float(cells[0].loss_at(rate))) for rate in geometric(low, high, count)]
    return [(rate, loss) for rate, loss in points if math.isfinite(loss)]


def asked_of_published(rule: Rule) -> dict[str, float]:
    """The other inputs of published rules that this rule's conditions provide."""
    depth, tokens = rule.conditions.get("depth"), rule.horizon.get("tokens")
    scales = {"depth": float(depth)} if isinstance(depth, int | float) else {}
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
