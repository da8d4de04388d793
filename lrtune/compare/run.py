"""`lrtune compare`: the arms of a study, trained over seeds with paired data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lrtune.compare.effects import ArmsComparison, compare_records
from lrtune.compare.tables import to_markdown
from lrtune.errors import InputError, RunFailedError
from lrtune.files import write_whole
from lrtune.records.record import task_of
from lrtune.search.events import OnEvent
from lrtune.search.run import run_fixed
from lrtune.study.study import Study
from lrtune.study.task import Task, steps_of
from lrtune.trainer.find import resolve_trainer

REPORT = "compare.md"


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
    steps = sum(steps_of(task, study) for task in planned)
    sizes = sorted({task.hidden_size for task in planned})
    widths = ", ".join(map(str, sizes))
    return f"{len(planned)} runs of {len(study.arms)} arms at hidden size {widths}: {steps:,} optimizer steps in all"


def run_comparison(study: Study, out: Path, *, on_event: OnEvent | None = None, **options: Any) -> ArmsComparison:
    """Train what is missing of all arms into a run folder and compare them; writes compare.md there.

    Nothing is pruned unless the study says so: a comparison wants whole curves.

    Args:
        study, out, on_event, **options: as of `lrtune.search.run.run_search`.

    Raises:
        InputError: no arms, an arm that cannot be run; nothing was started.
        RunFailedError: no arm has a run that ended, and nothing stopped it.
    """
    titles = resolve_trainer(study.trainer, study.command).column_titles
    comparison = replace(train_arms(study, out, on_event=on_event, **options), column_titles=titles)
    if comparison.arms:
        write_whole(out / REPORT, to_markdown(comparison))
    return comparison


def train_arms(study: Study, out: Path, *, on_event: OnEvent | None = None, **options: Any) -> ArmsComparison:
    """`run_comparison` without its file. Stopped before any run has ended, it gives a comparison without arms."""
    planned = tasks(study)
    result = run_fixed(study, planned, out, on_event=on_event, **options)
    # The folder may also hold runs of arms from before they were edited.
    wanted = {task.key for task in planned}
    records = [record for record in result.records if task_of(record).key in wanted and record.status != "failed"]
    if not records and result.interrupted is not None:
        return ArmsComparison(arms=[], effects=[], stop_reason=result.stop_reason, interrupted=result.interrupted)
    if not records:
        raise RunFailedError(f"arms: no run of any arm ended ({result.stop_reason}); see {out}/records.jsonl")
    return compare_records(records, study, stop_reason=result.stop_reason, interrupted=result.interrupted)
