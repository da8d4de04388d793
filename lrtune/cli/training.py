"""Shared by the verbs that train: the options of a search, the check before it starts, and its view."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lrtune.cli.groups import Meeting, Running, Watching
from lrtune.cli.settings import Settings
from lrtune.cli.terminal import say
from lrtune.study.study import Study
from lrtune.study.task import cells
from lrtune.study.toml import parse_seconds
from lrtune.trainer.direction import words

if TYPE_CHECKING:
    from lrtune.report.terminal.live import View


def search_options(running: Running, meeting: Meeting | None = None) -> dict[str, Any]:
    """The options of a search that do not affect its measurements."""
    options: dict[str, Any] = {"workers": running.workers, "device": running.device}
    options["accept_changed_trainer"] = running.accept_changed_trainer
    if running.trial_timeout:
        options["trial_timeout"] = parse_seconds(running.trial_timeout, field="--trial-timeout")
    if meeting is not None:
        options |= {"engine": meeting.engine, "address": meeting.address, "storage": meeting.storage}
    return options


def say_import(study: Study) -> None:
    """Announce that a dry run imports the user's trainer module, since that runs its code."""
    if not study.command and ":" in study.trainer:
        say(f"importing trainer {study.trainer} to check the study; nothing is trained")


def check_before(study: Study, options: dict[str, Any]) -> Study:
    """The study, completed and checked before any output, so that an error is the only line.

    Raises:
        InputError: the targets, the options, the storage URL, the trainer or its settings are invalid.
    """
    from lrtune.search.options import SearchOptions
    from lrtune.search.workers.storage import normalise
    from lrtune.trainer.complete import complete
    from lrtune.trainer.find import trainer_of

    checked = SearchOptions(**options)
    if checked.storage is not None:
        normalise(checked.storage)
    return complete(study, trainer_of(study))


def rehearse_before(study: Study, folder: Path, options: dict[str, Any], *, quiet: bool) -> None:
    """Before the first run on this machine of a trainer that is not installed by name, try it once.

    Raises:
        RunFailedError: it failed, or trains for more or fewer steps than the study says.
    """
    from lrtune.search.workers.machine import shares
    from lrtune.trainer.rehearsal import is_whole, rehearse

    is_own = study.command or ":" in study.trainer
    if not is_own or options["engine"] != "local" or options["storage"] or (folder / "records.jsonl").exists():
        return
    if not quiet:
        far = "for at most a minute: its command has no {steps}" if is_whole(study) else "up to its first report"
        say(f"trying the trainer once, at hidden {min(study.widths)}, {far}")
    if not rehearse(study, device=shares(1, options["device"])[0].device) and not quiet:
        say("no report within a minute; searching all the same")


@contextlib.contextmanager
def watch(
    settings: Settings, folder: Path, watching: Watching, *lines: str, wanted: int | None = None
) -> Iterator["View"]:
    """The view of a search, after its settings and further `lines`; the runs in the folder count as done.

    Args:
        wanted: about how many runs a search for a rule takes; None for runs without a rule.
    """
    from lrtune.records.jsonl import read_records
    from lrtune.report.terminal.live import choose_view
    from lrtune.report.terminal.progress import PlaceProgress, Progress, place_of
    from lrtune.search.events import TrialEnded

    study = settings.study
    if not watching.quiet and not watching.json_lines:
        say(f"study {study.name} in {folder}: {_swept(study)}, trainer {_trainer(study)}")
        for line in [*settings.lines(), *lines]:
            say(f"  {line}")
    progress = Progress(seconds=study.budget.seconds, trials=study.budget.trials, wanted=wanted)
    progress.study, progress.what = None if wanted is None else study, words(maximize=study.maximize).what
    progress.places.update({place_of(*cell): PlaceProgress() for cell in cells(study)})
    if (folder / "records.jsonl").is_file():
        for record in read_records(folder / "records.jsonl", within=folder).records:
            progress.add(TrialEnded(record=record))
    with choose_view(progress, quiet=watching.quiet, json_lines=watching.json_lines, title=study.name) as view:
        yield view


def _swept(study: Study) -> str:
    """The values of every scale: ``hidden 32, 64; 300, 1200 steps; depth 2, 4``."""
    values = {name: ", ".join(f"{value:g}" for value in column) for name, column in study.scales.items()}
    length = values.pop("steps", f"{study.steps}") + " steps"
    length = f"{values.pop('tokens')} tokens" if "tokens" in values else length
    others = (f"{name.replace('_', ' ')} {column}" for name, column in values.items())
    return "; ".join([f"hidden {', '.join(map(str, study.widths))}", length, *others])


def _trainer(study: Study) -> str:
    if study.command:
        return study.command[0]
    return f"{study.trainer} on {study.options['dataset']}" if "dataset" in study.options else study.trainer


def exit_if_stopped(signum: int | None) -> None:
    """Exit with the code of a process ended by this signal; None for no signal."""
    if signum is not None:
        raise typer.Exit(128 + signum)
