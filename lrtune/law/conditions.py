"""A rule's conditions, the rest of its advice, and the horizon of its runs."""

from collections.abc import Sequence

from lrtune.records.record import TrialRecord
from lrtune.rule.data import ADVICE, Condition

_MOST = 40


def conditions(records: Sequence[TrialRecord], scales: Sequence[str]) -> dict[str, Condition]:
    """Settings with their common value or range in the runs that state them, without the law's scales."""
    columns: dict[str, list[Condition]] = {}
    for record in records:
        facts = record.facts
        values: dict[str, Condition | None] = {
            **{name: value for name, value in facts.conditions.items() if name not in ADVICE},
            "vocabulary_size": facts.vocabulary_size,
            "tokens_per_step": facts.tokens_per_step,
            **dict(record.scales),
        }
        if "batch_tokens" in scales:
            del values["tokens_per_step"]
            values.pop("batch", None)
        if record.hidden_size > 1:
            values["hidden_size"] = float(record.hidden_size)
        for name, value in values.items():
            if value is not None and name not in scales:
                columns.setdefault(name, []).append(value)
    summary = {name: _together(column) for name, column in list(columns.items())[:_MOST]}
    return {name: value for name, value in summary.items() if value is not None}


def _together(column: Sequence[Condition]) -> Condition | None:
    """The common value, a range of numbers, or a list of up to four texts."""
    if all(value == column[0] for value in column):
        return column[0]
    numbers = [float(v) for v in column if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(column):
        return min(numbers), max(numbers)
    texts = sorted({str(value) for value in column})
    return ", ".join(texts) if len(texts) <= 4 else None


def advice(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Stage-2 ratio, weight decay and warm-up (steps and share of steps), each if all runs state the same value."""
    seen: dict[str, list[float]] = {}
    for record in records:
        for name in ADVICE:
            value = record.facts.conditions.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12:
                seen.setdefault(name, []).append(float(value))
                if name == "warmup_steps":
                    seen.setdefault("warmup_share", []).append(round(value / record.steps, 2))
    return {name: values[0] for name, values in seen.items() if values == [values[0]] * len(records)}


def horizon(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Tokens and steps of the longest runs; empty for a table without them."""
    longest = {}
    for name in ("tokens", "steps"):
        values = [value for value in (record.scale(name) for record in records) if value is not None]
        if values and max(values) > 1:
            longest[name] = float(max(values))
    return longest
