"""A comparison of arms as tables for a terminal and as Markdown."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lrtune.compare.arms import QUARTERS, ArmResult
from lrtune.compare.effects import ArmsComparison, Difference, Effect

TITLE = "Arms compared"


def table(arms: Sequence[ArmResult], column: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the arms: a column at each quarter of the steps, the loss, the phase, the outcomes."""
    horizons = {arm.steps for arm in arms}
    only = next(iter(horizons)) if len(horizons) == 1 else None
    marks = [_thousands(share * only) if only else f"{share:.0%}" for share in QUARTERS]
    header = ["arm", "rate", *marks, arms[0].words.what, "diversity", "phase", "ended"]
    rows = []
    for arm in arms:
        counts = [_short(arm, column, share) for share in QUARTERS]
        phases, ended = _tally(arm.phases.values()), _tally(arm.outcomes.values())
        rows.append([arm.name, f"{arm.learning_rate:g}", *counts, str(arm.measure), str(arm.diversity), phases, ended])
    return header, rows


def _thousands(steps: float) -> str:
    return f"{steps / 1000:g}k" if steps >= 1000 else f"{steps:g}"


def _short(arm: ArmResult, column: str, share: float) -> str:
    spread = arm.at(column, share)
    if spread.mean is None:
        return "–"
    text = f"{spread.mean:.3g}"
    return text if not spread.deviation else f"{text} ± {spread.deviation:.1g}"


def _tally(values: Iterable[str]) -> str:
    """``recovered``, or ``recovered 2, collapsed 1`` if seeds differ."""
    counts = Counter(values)
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{value} {n}" for value, n in counts.most_common())


def effect_table(effects: Sequence[Effect], what: str = "loss") -> tuple[list[str], list[list[str]]]:
    """Header and rows of the attribution; an effect within twice its spread reads ``none``."""
    header = ["factor", "change", "arms", "seeds", f"effect on {what}", "effect on diversity"]
    rows = [
        [
            effect.factor,
            effect.change,
            f"{effect.before} → {effect.after}",
            str(effect.loss.count),
            _effect(effect.loss),
            _effect(effect.diversity),
        ]
        for effect in effects
    ]
    return header, rows


def _effect(difference: Difference) -> str:
    if difference.mean is None:
        return "unknown"
    if difference.noise is None:
        return f"not repeated ({difference.mean:+.3f})"
    text = f"{difference.mean:+.3f} ± {difference.noise:.2g}"
    return text if difference.counted is not None else f"none ({text})"


@dataclass(frozen=True)
class Section:
    """One table of a comparison: `key` is the column of row names, `note` is printed below the table."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    key: int = 0


def sections(comparison: ArmsComparison) -> list[Section]:
    """The whole comparison: the arms' results, the factors' effects, and the trainer's further columns."""
    recorded = {name for arm in comparison.arms for record in arm.records.values() for name in record.curve}
    titles = {name: title for name, title in comparison.column_titles.items() if name in recorded}
    (first, title), *others = (titles or {"diversity": "Diversity"}).items()
    parts = [Section(title, *table(comparison.arms, first))]
    if comparison.effects:
        note = "An effect within twice its spread over seeds counts as none."
        effects = effect_table(comparison.effects, comparison.arms[0].words.what)
        parts.append(Section("Which factor decides", *effects, note, key=2))
    for name, title in others:
        marks = [f"{share:.0%}" for share in QUARTERS]
        rows = [[arm.name, *(_short(arm, name, share) for share in QUARTERS)] for arm in comparison.arms]
        parts.append(Section(title, ["arm", *marks], rows))
    return parts


def to_markdown(comparison: ArmsComparison) -> str:
    """The whole comparison as Markdown tables."""
    parts = [f"# {TITLE}\n"]
    for section in sections(comparison):
        parts.append(f"## {section.title}\n\n{markdown(section.header, section.rows)}")
        parts += [f"{section.note}\n"] if section.note else []
    return "\n".join(parts)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
