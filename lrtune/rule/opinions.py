"""What published rules say at a size, and whether the size lies in their measured range."""

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from lrtune.errors import InputError
from lrtune.rule.published import FAMILY_NAMES, MUON, PUBLISHED, PublishedRule

_NAME, _RATE = 23, 15  # columns


class Opinion(NamedTuple):
    """One rule's rate at a size.

    Attributes:
        learning_rate: None if a needed scale is missing; `why` names it.
        why: whether the size lies in its domain, or what it needs.
        note: its conditions, and what was not checked.
    """

    name: str
    learning_rate: float | None
    stage2_learning_rate: float | None
    in_domain: bool
    why: str
    note: str
    source: str
    family: str


class PublishedRates(NamedTuple):
    """Our answer, if any, and those of the published rules; prints as a table, with the conditions below each."""

    hidden_size: float
    ours: float | None
    opinions: tuple[Opinion, ...]

    def __str__(self) -> str:
        lines = [f"published peak rates at hidden {self.hidden_size:g}"]
        if self.ours is not None:
            lines.append(f"  {'ours':{_NAME}}  {self.ours:.3g}")
        for opinion in self.opinions:
            rate = "–" if opinion.learning_rate is None else f"{opinion.learning_rate:.3g}"
            rate += "" if opinion.stage2_learning_rate is None else f" → {opinion.stage2_learning_rate:.3g}"
            lines.append(f"  {opinion.name:{_NAME}}  {rate:{_RATE}}  {opinion.why}")
            lines.append(f"      {opinion.note} ({opinion.source})")
        return "\n".join(lines)


def family(conditions: Mapping[str, object]) -> str:
    """The family of published rules for a model, from the ``model`` that its trainer names; empty if unknown."""
    model = str(conditions.get("model", "")).lower()
    found = next((name for name, words in FAMILY_NAMES.items() if any(word in model for word in words)), "")
    return found + MUON if found and "muon" in str(conditions.get("optimizer", "")).lower() else found


def published_rates(hidden_size: float, *, ours: float | None = None, own: str = "", **scales: float) -> PublishedRates:
    """Every published rule's rate at this size; ``str()`` of the result is a table.

    Args:
        hidden_size: the model's width.
        ours: our recommendation, printed in the same table.
        own: the model's `family`, whose rules come first.
        **scales: ``tokens``, ``parameters``, ``depth``; all optional.

    Raises:
        InputError: a scale is not a positive number.
    """
    given = {"hidden_size": hidden_size, **scales}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise InputError(f"{name}: expected a positive number, but got {value!r:.40}")
    if "parameters" not in given and "depth" in given:
        given["parameters"] = 12.0 * given["depth"] * hidden_size**2
    if "compute" not in given and "parameters" in given and "tokens" in given:
        given["compute"] = 6.0 * given["parameters"] * given["tokens"]
    ordered = sorted(PUBLISHED, key=lambda rule: rule.family != own)
    return PublishedRates(hidden_size, ours, tuple(_opinion(rule, given) for rule in ordered))


_FROM = {
    "parameters": "--scale depth=… or --scale parameters=…",
    "tokens": "--tokens",
    "compute": "size and --tokens",
    "batch_tokens": "--batch-tokens",
}


def _opinion(rule: PublishedRule, given: Mapping[str, float]) -> Opinion:
    doubt = [f"not checked against the source: {rule.unverified}"] if rule.unverified else []
    told = partial(Opinion, rule.name, note="; ".join([rule.note, *doubt]), source=rule.source, family=rule.family)
    missing = [name for name in rule.needs if name not in given]
    if missing:
        why = f"needs {', '.join(_FROM.get(name, name) for name in missing)}"
        return told(None, None, False, why)
    if rule.ratio_only:
        return told(None, None, True, "only a ratio")
    rate, second = _evaluate(rule, given)
    outside = [] if rule.domain else ["measured at sizes that are not known"]
    for name, (low, high) in rule.domain.items():
        if not low <= given[name] <= high:
            span = f"{low:g}" if low == high else f"{low:g} … {high:g}"
            outside.append(f"outside its {name}, {span}")
    if rate is None:
        return told(None, None, False, "gives no positive rate there")
    return told(rate, second, not outside, "; ".join(outside) or "inside its domain")


def _evaluate(rule: PublishedRule, given: Mapping[str, float]) -> tuple[float | None, float | None]:
    if rule.table:
        return _look_up(rule, given["hidden_size"])
    if rule.log_slope is not None:
        rate = rule.factor + rule.log_slope * math.log(given["parameters"])
        return (rate if rate > 0 else None), None
    rate = rule.factor * math.prod(given[name] ** power for name, power in rule.exponents.items())
    return min(rate, rule.most), None


def _look_up(rule: PublishedRule, hidden_size: float) -> tuple[float, float | None]:
    """The table's row; linear in log–log between rows, the nearest row outside."""
    table = rule.table
    if rule.threshold is not None:
        return table[0 if hidden_size < rule.threshold else -1][1], None
    below = [row for row in table if row[0] <= hidden_size] or [table[0]]
    above = [row for row in table if row[0] >= hidden_size] or [table[-1]]
    left, right = below[-1], above[0]
    if left[0] >= right[0]:
        return left[1], left[2]
    share = math.log(hidden_size / left[0]) / math.log(right[0] / left[0])
    rate = left[1] * (right[1] / left[1]) ** share
    second = None if left[2] is None or right[2] is None else left[2] * (right[2] / left[2]) ** share
    return rate, second
