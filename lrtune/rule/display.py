"""Rules and answers for people: rows of a table, a line for a prompt, HTML for a notebook."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lrtune.errors import plain
from lrtune.rule.advice import KnobAdvice, Recommendation, Transfer
from lrtune.rule.answer import answer
from lrtune.rule.data import Rule
from lrtune.rule.question import EXTRAPOLATED, number

_SHOWN_VALUES = 5


class AdviceRow(NamedTuple):
    """The answer at one place as texts under `advice_head`, and whether the data support it."""

    cells: tuple[str, ...]
    supported: bool


def sizes(rule: Rule | None) -> list[float]:
    """The measured hidden sizes, ascending; empty for a rule over other scales."""
    return _values(rule, "hidden_size") if rule is not None and set(rule.scales) == {"hidden_size"} else []


def advice_head(rule: Rule) -> tuple[str, ...]:
    """The titles of the columns of `advice_rows`."""
    within = f"within {rule.tolerance * 100:g}% of loss"
    names = (name.replace("_", " ") for name in rule.scales)
    return (*names, "learning rate", f"{rule.level:.0%} interval", *rule.knobs, within, "basis")


def advice_rows(rule: Rule, targets: Sequence[Mapping[str, float]] = ()) -> list[AdviceRow]:
    """A row for each measured value of the first scale, and for each target or twice and four times the largest.

    The other scales stand at their largest measured values. One measured value alone has no further rows.
    """
    first, *others = rule.scales
    measured = _values(rule, first)
    top = {name: rule.scales[name].high for name in others}
    places: list[Mapping[str, float]] = [{first: size, **top} for size in measured]
    places += targets or [{first: measured[-1] * factor, **top} for factor in (2, 4) if len(measured) > 1]
    return [_row(place, rule) for number, place in enumerate(places) if place not in places[:number]]


def _values(rule: Rule, scale: str) -> list[float]:
    return sorted({cell.scales[scale] for cell in rule.cells})


def _row(scales: Mapping[str, float], rule: Rule) -> AdviceRow:
    told = answer(rule, None, scales)
    safe_range = f"{told.safe_low:.2g} … {told.safe_high:.2g}" if told.safe_low and told.safe_high else "–"
    basis = told.basis if told.supported else f"{told.basis}, unsupported"
    interval = f"{told.low:.2g} … {told.high:.2g}"
    knobs = (f"{one.value:.3g}" for one in told.knobs.values())
    places = (f"{value:.10g}" for value in scales.values())
    return AdviceRow((*places, f"{told.learning_rate:.3g}", interval, *knobs, safe_range, basis), told.supported)


def rule_sentence(rule: Rule) -> str:
    """The laws, and where they were measured."""
    return (
        f"{plain('; '.join(law_lines(rule)))}; measured at {', '.join(_measured(rule, name) for name in rule.scales)}"
    )


def _measured(rule: Rule, name: str) -> str:
    values = [f"{value:g}" for value in _values(rule, name)]
    shown = ", ".join(values) if len(values) <= _SHOWN_VALUES else f"{values[0]} … {values[-1]} ({len(values)})"
    return f"{name} {shown}"


def law_lines(rule: Rule) -> list[str]:
    """The law of the rate and those of the other knobs, a sentence each."""
    return [rule.reason, *(law.rule.reason for law in rule.knobs.values())]


def knob_text(one: KnobAdvice) -> str:
    """A knob's value with its intervals; for one that does not matter the range of values that will do."""
    safe = () if one.safe_low is None or one.safe_high is None else (one.safe_low, one.safe_high)
    if safe and not one.matters and one.value:
        return f"any from {safe[0]:.3g} to {safe[1]:.3g} costs under {one.tolerance * 100:g}% of loss"
    text = f"{one.value:.3g} ({one.low:.3g} … {one.high:.3g})"
    if not one.supported:
        return f"{text}, not supported by the data"
    return text + (f", safe {safe[0]:.3g} … {safe[1]:.3g}" if safe else "")


def basis_text(told: Recommendation | Transfer) -> str:
    """``measured``, ``interpolated``, or how far beyond the measured scales; and whether it is supported."""
    text = next((line for line in told.warnings if line.startswith(EXTRAPOLATED)), told.basis)
    return text if told.supported else f"{text}; not supported by the data"


def answer_sentence(told: Recommendation) -> str:
    """The rate, its interval and its basis."""
    place = ", ".join(f"{name} {number(value)}" for name, value in told.scales.items())
    interval = f"{told.low:.3g} … {told.high:.3g}, {told.level:.0%} interval"
    return f"{told.learning_rate:.3g} at {place} ({interval}), {basis_text(told)}"


def transfer_sentence(told: Transfer) -> str:
    """The rate, its interval, the ratio and its basis."""
    interval = f"{told.low:.3g} … {told.high:.3g}, {told.level:.0%} interval"
    return f"{told.learning_rate:.3g} ({interval}), {told.ratio:.3g} times the given rate, {basis_text(told)}"


def law_sentence(rule: Rule | None, why_none: str) -> str:
    """The law as a sentence; without a rule, the reason."""
    return f"no rule: {plain(why_none)}" if rule is None else rule_sentence(rule)


def rule_html(rule: Rule | None, sentence: str = "", targets: Sequence[Mapping[str, float]] = ()) -> str:
    """A sentence, by default the law, above a row for each size and target."""
    if rule is None:
        return _block(sentence, (), ())
    return _block(sentence or rule_sentence(rule), advice_head(rule), [row.cells for row in advice_rows(rule, targets)])


def answer_html(told: Recommendation) -> str:
    """The answer and its details, and reasons for caution."""
    share = {"safe range": (told.safe_low, told.safe_high), "1 run in 10 collapses": (told.collapse_10,)}
    rows = [(name, " … ".join(f"{rate:.3g}" for rate in rates)) for name, rates in share.items() if all(rates)]
    if told.regret is not None:
        rows.append(("expected cost", f"{told.regret:.2%} of loss above the best"))
    rows += [(plain(name), f"{knob_text(one)}; {plain(one.law)}") for name, one in told.knobs.items()]
    rows += [("note", plain(line)) for line in told.warnings]
    return _block(answer_sentence(told), (), rows)


def _block(sentence: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A sentence above a table, escaped."""
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>" if body else ""
    return f"<p>{html.escape(sentence)}</p>{table}"
