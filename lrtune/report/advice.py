"""A rule in words and rows: what the page and the terminal both say of it."""

from typing import NamedTuple

from lrtune.rule import Rule, recommend


class AdviceRow(NamedTuple):
    """The answer for one hidden size as text under `advice_head`, and whether the data support it."""

    cells: tuple[str, ...]
    supported: bool


def sizes(rule: Rule | None) -> list[float]:
    """The hidden sizes that a rule was measured at, ascending; none where it is not over hidden size alone."""
    if rule is None or set(rule.scales) != {"hidden_size"}:
        return []
    return sorted({cell.scales["hidden_size"] for cell in rule.cells})


def advice_head(rule: Rule) -> tuple[str, ...]:
    """The titles of the columns of `advice_rows`."""
    within = f"within {rule.tolerance * 100:g}% of loss"
    return ("hidden size", "learning rate", f"{rule.level:.0%} interval", within, "basis")


def advice_rows(rule: Rule) -> list[AdviceRow]:
    """A row for each measured size, and for twice and four times the largest; none without `sizes`."""
    measured = sizes(rule)
    return [_row(size, rule) for size in [*measured, *(measured[-1] * factor for factor in (2, 4) if measured)]]


def _row(size: float, rule: Rule) -> AdviceRow:
    answer = recommend(size, rule=rule)
    safe_range = f"{answer.safe_low:.2g} … {answer.safe_high:.2g}" if answer.safe_low and answer.safe_high else "–"
    basis = answer.basis if answer.supported else f"{answer.basis}, unsupported"
    interval = f"{answer.low:.2g} … {answer.high:.2g}"
    cells = (f"{size:g}", f"{answer.learning_rate:.3g}", interval, safe_range, basis)
    return AdviceRow(cells, answer.supported)


def sentence(text: str) -> str:
    """`text` with a capital at its start and a full stop at its end."""
    text = text.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def shown(value: object) -> str:
    """A value as people read it: short numbers, the two ends of a range."""
    if isinstance(value, tuple | list):
        return " … ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
