"""`lrtune compare`: a study's arms, trained over seeds with paired data, and the table that answers which one works."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrtune.compare.arms import QUARTERS, ArmResult, Effect, effects, gather_arms
from lrtune.errors import InputError, RunFailedError
from lrtune.files import write_whole
from lrtune.records.record import TrialRecord, task_of
from lrtune.search.events import OnEvent
from lrtune.search.run import run_fixed
from lrtune.study.study import Study
from lrtune.study.task import Task

REPORT = "compare.md"
TITLE = "Arms compared"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What comparing arms gave: the arms, the effect of each factor, and how the runs ended."""

    arms: list[ArmResult]
    effects: list[Effect]
    stop_reason: str
    interrupted: int | None = None


def tasks(study: Study) -> list[Task]:
    """The runs of all arms, every arm's first seed first, so that an early end leaves arms that can be compared.

    Raises:
        InputError: the study has no arms, or one of them cannot be run.
    """
    arms = [study.arm(name) for name in study.arms]
    if not arms:
        raise InputError("arms: expected at least one [arms.NAME] table in study.toml, but there is none")
    return [
        Task(
            hidden_size=arm.hidden_size,
            learning_rate=arm.learning_rate,
            seed=study.seed + seed,
            arm=arm.name,
            scales={} if arm.steps == study.steps else {"steps": float(arm.steps)},
            options=arm.departures,
        )
        for seed in range(max(arm.seeds for arm in arms))
        for arm in arms
        if seed < arm.seeds
    ]


def cost(study: Study) -> str:
    """One line on what `run_comparison` is about to train."""
    planned = tasks(study)
    steps = sum(int(task.scales.get("steps", study.steps)) for task in planned)
    sizes = sorted({task.hidden_size for task in planned})
    widths = ", ".join(map(str, sizes))
    return f"{len(planned)} runs of {len(study.arms)} arms at hidden size {widths}: {steps:,} optimizer steps in all"


def run_comparison(study: Study, out: Path, *, on_event: OnEvent | None = None, **options: Any) -> Comparison:
    """Train what is missing of all arms into a run folder and compare them; writes compare.md there.

    Nothing is pruned unless the study says so: a comparison wants whole curves.

    Args:
        study, out, on_event, **options: as of `lrtune.search.run.run_search`.

    Raises:
        InputError: no arms, an arm that cannot be run; nothing was started.
        RunFailedError: no arm has a run that ended, and nobody stopped it.
    """
    comparison = train_arms(study, out, on_event=on_event, **options)
    if comparison.arms:
        write_whole(out / REPORT, to_markdown(comparison))
    return comparison


def train_arms(study: Study, out: Path, *, on_event: OnEvent | None = None, **options: Any) -> Comparison:
    """`run_comparison` without its file. Stopped before any run has ended, it gives a comparison without arms."""
    planned = tasks(study)
    result = run_fixed(study, planned, out, on_event=on_event, **options)
    # The folder may hold runs of arms as they were before they were edited.
    wanted = {task.key for task in planned}
    records = [record for record in result.records if task_of(record).key in wanted and record.status != "failed"]
    if not records and result.interrupted is not None:
        return Comparison(arms=[], effects=[], stop_reason=result.stop_reason, interrupted=result.interrupted)
    if not records:
        raise RunFailedError(f"arms: no run of any arm ended ({result.stop_reason}); see {out}/records.jsonl")
    return compare_records(records, study, stop_reason=result.stop_reason, interrupted=result.interrupted)


def compare_records(
    records: Sequence[TrialRecord],
    study: Study | None = None,
    *,
    stop_reason: str = "",
    interrupted: int | None = None,
) -> Comparison:
    """The comparison that records hold; with their study, changes are named from what to what."""
    arms = gather_arms(records, study.pruning if study else None)
    found = effects(arms, study.options if study else None)
    return Comparison(arms=arms, effects=found, stop_reason=stop_reason, interrupted=interrupted)


def table(arms: Sequence[ArmResult], column: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of Phase 4's table: a count at each quarter of the steps, loss, phase, how it ended."""
    horizons = {arm.steps for arm in arms}
    only = next(iter(horizons)) if len(horizons) == 1 else None
    marks = [_thousands(share * only) if only else f"{share:.0%}" for share in QUARTERS]
    header = ["arm", "rate", *marks, "loss", "diversity", "phase", "ended"]
    rows = []
    for arm in arms:
        counts = [_short(arm, column, share) for share in QUARTERS]
        phases, ended = _tally(arm.phases.values()), _tally(arm.outcomes.values())
        rows.append([arm.name, f"{arm.learning_rate:g}", *counts, str(arm.loss), str(arm.diversity), phases, ended])
    return header, rows


def _thousands(steps: float) -> str:
    return f"{steps / 1000:g}k" if steps >= 1000 else f"{steps:g}"


def _short(arm: ArmResult, column: str, share: float) -> str:
    spread = arm.at(column, share)
    if spread.mean is None:
        return "–"
    text = f"{spread.mean:.3g}"
    return text if not spread.deviation else f"{text} ± {spread.deviation:.1g}"


def _tally(values: Any) -> str:
    """``recovered``, or ``recovered 2, collapsed 1`` where seeds differ."""
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} {count}" for value, count in sorted(counts.items(), key=lambda item: -item[1]))


def effect_table(found: Sequence[Effect]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the attribution; an effect within twice its spread reads ``none``."""
    header = ["factor", "change", "arms", "seeds", "effect on loss", "effect on diversity"]
    rows = [
        [
            effect.factor,
            effect.change,
            f"{effect.before} → {effect.after}",
            str(effect.loss.count),
            _effect(effect.on_loss, effect.loss.mean, effect.loss_noise),
            _effect(effect.on_diversity, effect.diversity.mean, effect.diversity_noise),
        ]
        for effect in found
    ]
    return header, rows


def _effect(counted: float | None, seen: float | None, noise: float | None) -> str:
    if seen is None:
        return "unknown"
    if noise is None:
        return f"not repeated ({seen:+.3f})"
    return f"{seen:+.3f} ± {noise:.2g}" if counted is not None else f"none ({seen:+.3f} ± {noise:.2g})"


# What a model's weights do while it is stuck: columns that the bundled trainer reports.
_WEIGHTS = {
    "flipped_share": "share of ternary weights that flipped since the last report",
    "zero_share": "share of ternary weights that are zero",
    "update_ratio": "size of one update ÷ size of the weights",
}
_COUNTS = {
    "distinct": "Distinct answers to 20 held-out contexts",
    "distinct_random": "Distinct answers to 20 random prompts (the count of the Phase 4 write-up)",
}


@dataclass(frozen=True)
class Section:
    """One table of a comparison: `key` is the column that names its rows, `note` stands under it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    key: int = 0


def sections(comparison: Comparison) -> list[Section]:
    """The whole comparison: what each arm did, which factor decides, and what the weights did meanwhile."""
    known = {name for arm in comparison.arms for record in arm.records.values() for name in record.curve}
    counts = {name: title for name, title in _COUNTS.items() if name in known} or {"diversity": "Diversity"}
    found: list[Section] = []
    for name, title in counts.items():
        header, rows = table(comparison.arms, name)
        # How an arm ended stands in the first table alone.
        shown = len(header) if not found else 2 + len(QUARTERS)
        found.append(Section(title, header[:shown], [row[:shown] for row in rows]))
    note = "An effect within twice its spread over seeds counts as none."
    if comparison.effects:
        found.append(Section("Which factor decides", *effect_table(comparison.effects), note, key=2))
    for name, title in _WEIGHTS.items():
        if name in known:
            marks = [f"{share:.0%}" for share in QUARTERS]
            rows = [[arm.name, *(_short(arm, name, share) for share in QUARTERS)] for arm in comparison.arms]
            found.append(Section(f"The {title}", ["arm", *marks], rows))
    return found


def to_markdown(comparison: Comparison) -> str:
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
