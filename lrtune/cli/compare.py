"""`lrtune compare`: train and compare the arms of a study."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lrtune.cli.flags import DryRun, Meeting, Running, Training, Watching
from lrtune.cli.settings import settle
from lrtune.cli.terminal import result, say, stdout_console
from lrtune.cli.training import check_before, exit_if_stopped, say_import, search_options, watch
from lrtune.records.folder import default_folder


def compare(
    context: typer.Context,
    study_file: Annotated[
        Path, typer.Argument(metavar="STUDY.toml", help="A study with a table arms.NAME for each arm.")
    ],
    training: Training,
    running: Running,
    meeting: Meeting,
    watching: Watching,
    dry_run: DryRun = False,
) -> None:
    """Train the arms of a study and report the effect of each change."""
    from lrtune.compare.run import REPORT, cost, run_comparison
    from lrtune.compare.tables import TITLE, sections, to_markdown
    from lrtune.report.terminal.summary import show_sections

    settings = settle(context, study_file, training, meeting)
    folder = watching.out or default_folder(settings.study)
    options = search_options(running, meeting)
    planned = cost(settings.study)
    if dry_run:
        say_import(settings.study)
    check_before(settings.study, options)
    if dry_run:
        result(planned)
        return
    with watch(settings, folder, watching, planned) as view:
        done = run_comparison(settings.study, folder, on_event=view, **options)
    if not watching.quiet:
        say(f"ended: {done.stop_reason}")
    if done.arms:
        if sys.stdout.isatty() and not watching.json_lines:
            show_sections(stdout_console(), TITLE, sections(done))
        elif not watching.json_lines:
            result(to_markdown(done))
        say(f"wrote {folder / REPORT}")
    exit_if_stopped(done.interrupted)
