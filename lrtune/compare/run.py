"""Train the arms of a study over paired seeds (`lrtune compare`)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lrtune.compare.effects import ArmsComparison, compare_records
from lrtune.compare.tables import to_markdown
from lrtune.errors import InputError, RunFailedError
from lrtune.files import write_whole
from lrtune.records.record import task_of
from lrtune.search.events import OnEvent
from lrtune.study.study import Study
from lrtune.study.task import Task, steps_of
from lrtune.trainer.find import trainer_of

REPORT = "compare.md"


def tasks(study: Study) -> list[Task]:
    """The runs of all arms, the first seed of every arm first, so that an early stop leaves comparable arms.

    Raises:
        InputError: the study has no arms or an invalid one.
    """
    arms = [study.arm(name) for name in study.arms]
    fixed = {name: values[0] for name, values in study.scales.items() if len(values) == 1}
    if not arms:
        raise InputError("arms: expected at least one [arms.NAME] table in study.toml, but got none")
    return [
        Task(
            hidden_size=arm.hidden_size,
            learning_rate=arm.learning_rate,
            seed=study.seed + seed,
            arm=arm.name,
            scales=fixed if arm.steps == study.steps else {**fixed, "steps": float(arm.steps)},
            options=arm.departures,
            knobs=arm.knobs,
        )
        for seed in range(max(arm.seeds for arm in arms))
        for arm in arms
        if seed < arm.seeds
    ]


def cost(study: Study) -> str:
    """One line on the runs that `run_comparison` will train."""
    planned = tasks(study)
    steps = sum(steps_of(task, study) for task in planned)
    sizes = sorted({task.hidden_size for task in planned})
    widths = ", ".join(map(str, sizes))
    return f"{len(planned)} runs of {len(study.arms)} arms at hidden size {widths}: {steps:,} optimizer steps in all"


def run_comparison(study: Study, out: Path, *, on_event: OnEvent | None = None, **options: Any) -> ArmsComparison:
    """Train the missing runs of all arms into a run folder, compare the arms and write compare.md there.

    Nothing is pruned by default, since a comparison needs whole curves.

    Args:
        study, out, on_event, **options: as of `lrtune.search.run.run_search`.

    Raises:
        InputError: no arms, or an invalid one; nothing was started.
        RunFailedError: no run of any arm ended, and no signal stopped the search.
    """
    titles = trainer_of(study).column_titles
    comparison = replace(train_arms(study, out, on_event=on_event, **options), column_titles=titles)
    if comparison.arms:
        write_whole(out / REPORT, to_markdown(comparison))
    return comparison


def train_arms(study: Study, out: Path, *, on_event: OnEvent | None = None, **options: Any) -> ArmsComparison:
    """`run_comparison` without its file. If stopped before any run ended, the comparison has no arms."""
    planned = tasks(study)
    from lrtune.search.run import run_fixed  # loads Optuna

    result = run_fixed(study, planned, out, on_event=on_event, **options)
    # The folder may contain runs of earlier versions of the arms.
    wanted = {task.key for task in planned}
    records = [record for record in result.records if task_of(record).key in wanted and record.status != "failed"]
    if not records and result.interrupted is not None:
        return ArmsComparison(arms=[], effects=[], stop_reason=result.stop_reason, interrupted=result.interrupted)
    if not records:
        raise RunFailedError(f"arms: no run of any arm ended ({result.stop_reason}); see {out}/records.jsonl")
    return compare_records(records, study, stop_reason=result.stop_reason, interrupted=result.interrupted)
