"""`lrtune compare`: train and compare the arms of a study, or its parametrizations."""

import json
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrtune.cli.flags import DryRun
from lrtune.cli.groups import Meeting, Running, Training, Watching
from lrtune.cli.settings import Settings, settle
from lrtune.cli.terminal import result, say, stdout_console
from lrtune.cli.training import check_before, exit_if_stopped, say_import, search_options, watch
from lrtune.errors import MissingExtraError
from lrtune.extras import import_extra
from lrtune.records.folder import default_folder
from lrtune.study.study import Study

if TYPE_CHECKING:
    from lrtune.compare.tables import Section
    from lrtune.compare.transfer import Transfers
    from lrtune.report.terminal.live import View

Parametrizations = Annotated[
    str | None,
    typer.Option(
        "--parametrizations",
        metavar="standard,mup",
        help="Values of the trainer's option `parametrization`: search under each, and say what carrying the smallest "
        "size's best rate to the largest costs.",
    ),
]


def compare(
    context: typer.Context,
    study_file: Annotated[
        Path, typer.Argument(metavar="STUDY.toml", help="A study, with a table arms.NAME for each arm.")
    ],
    training: Training,
    running: Running,
    meeting: Meeting,
    watching: Watching,
    parametrizations: Parametrizations = None,
    dry_run: DryRun = False,
) -> None:
    """Train the arms of a study and report the effect of each change, or compare its parametrizations."""
    settings = settle(context, study_file, training, meeting)
    folder = watching.out or default_folder(settings.study)
    options = search_options(running, meeting)
    if dry_run:
        say_import(settings.study)
    if parametrizations is not None:
        names = [name.strip() for name in parametrizations.split(",")]
        _compare_parametrizations(settings, names, folder, watching, options, dry_run=dry_run)
    else:
        _compare_arms(settings, folder, watching, options, dry_run=dry_run)


def _compare_arms(
    settings: Settings, folder: Path, watching: Watching, options: dict[str, Any], *, dry_run: bool
) -> None:
    from lrtune.compare.run import REPORT, cost, run_comparison
    from lrtune.compare.tables import TITLE, sections, to_markdown

    planned = cost(settings.study)
    check_before(settings.study, options)
    if dry_run:
        result(planned)
        return
    with watch(settings, folder, watching, planned) as view:
        done = run_comparison(settings.study, folder, on_event=view, **options)
    if not watching.quiet:
        say(f"ended: {done.stop_reason}")
    if done.arms:
        _show(TITLE, sections(done), to_markdown(done), watching)
        say(f"wrote {folder / REPORT}")
    exit_if_stopped(done.interrupted)


def _compare_parametrizations(
    settings: Settings, names: list[str], folder: Path, watching: Watching, options: dict[str, Any], *, dry_run: bool
) -> None:
    from lrtune.compare.transfer import REPORT, TITLE, check, of, run_transfer, section, sentence, to_markdown
    from lrtune.search.plan import plan

    check(settings.study, names)
    for name in names:
        check_before(of(settings.study, name), options)
    planned = {name: plan(of(settings.study, name), folder / name, noisy=dry_run, **options) for name in names}
    if dry_run:
        result("\n\n".join(f"{name}:\n{planned[name]}" for name in names))
        return

    def watched(own: Study, place: Path) -> "AbstractContextManager[View]":
        expected = planned[place.name]
        cost = f"{expected.estimate}; {expected.done} done"
        return watch(replace(settings, study=own), place, watching, cost, wanted=expected.runs)

    done = run_transfer(settings.study, names, folder, watched=watched, **options)
    if done.found and watching.json_lines:
        figures = ("name", "exponent", "low", "high", "carried", "best", "loss", "regret", "regret_90")
        rows = [{name: getattr(one, name) for name in figures} for one in done.found]
        result(json.dumps({"event": "compared", "says": sentence(done), "parametrizations": rows}))
    elif done.found:
        _show(f"{TITLE}: {sentence(done)}", [section(done)], to_markdown(done), watching)
        for note in done.notes:
            say(note)
        say(f"wrote {folder / REPORT}{_draw(done, folder)}")
    exit_if_stopped(done.interrupted)


def _draw(done: "Transfers", folder: Path) -> str:
    """Draw the chart into the folder; its name, or why there is none."""
    try:
        import_extra("altair", extra="report", purpose="the chart")
        from lrtune.report.page import write_images
        from lrtune.report.plots.transfer import transfer_figure

        figure = transfer_figure(done)
        return "".join(f", {path.name}" for path in write_images([figure] if figure else [], folder))
    except MissingExtraError as error:
        return f"; no chart: {error}"


def _show(title: str, tables: "list[Section]", markdown: str, watching: Watching) -> None:
    """Tables in a terminal, Markdown in a pipe, nothing among JSON lines."""
    from lrtune.report.terminal.summary import show_sections

    if sys.stdout.isatty() and not watching.json_lines:
        show_sections(stdout_console(), title, tables)
    elif not watching.json_lines:
        result(markdown)
