"""What a rule holds for besides its scales: conditions, the rest of the advice, and the horizon of the runs."""

from collections.abc import Iterable, Sequence

from lrtune.records.record import TrialRecord
from lrtune.rule.data import ADVICE, Condition

_MOST = 40


def conditions(records: Sequence[TrialRecord], scales: Sequence[str]) -> dict[str, Condition]:
    """Everything that the runs share, and the range of what they do not; scales of the law are left out."""
    columns: dict[str, list[Condition]] = {}
    for record in records:
        facts = record.facts
        values: dict[str, Condition | None] = {
            **{name: value for name, value in facts.conditions.items() if name not in ADVICE},
            "vocabulary_size": facts.vocabulary_size,
            "tokens_per_step": facts.tokens_per_step,
            **dict(record.scales),
        }
        if record.hidden_size > 1:
            values["hidden_size"] = float(record.hidden_size)
        for name, value in values.items():
            if value is not None and name not in scales:
                columns.setdefault(name, []).append(value)
    found = {name: _together(column) for name, column in list(columns.items())[:_MOST]}
    return {name: value for name, value in found.items() if value is not None}


def _together(column: Sequence[Condition]) -> Condition | None:
    """One value, a range of numbers, or the few texts that occur."""
    if all(value == column[0] for value in column):
        return column[0]
    numbers = [float(v) for v in column if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(column):
        return min(numbers), max(numbers)
    texts = sorted({str(value) for value in column})
    return ", ".join(texts) if len(texts) <= 4 else None


def advice(records: Iterable[TrialRecord]) -> dict[str, float]:
    """Stage-2 ratio, weight decay and warm-up (in steps, and as a share of them), where all runs had the same."""
    found: dict[str, set[float]] = {}
    for record in records:
        for name in ADVICE:
            value = record.facts.conditions.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12:
                found.setdefault(name, set()).add(float(value))
                if name == "warmup_steps":
                    found.setdefault("warmup_share", set()).add(round(value / record.steps, 2))
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def horizon(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Tokens and steps of the longest runs; a table that does not say its steps has none."""
    found = {}
    for name in ("tokens", "steps"):
        values = [value for value in (record.scale(name) for record in records) if value is not None]
        if values and max(values) > 1:
            found[name] = float(max(values))
    return found
