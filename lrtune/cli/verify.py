"""`lrtune verify`: train at the recommended rate and at other rates."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lrtune.cli.flags import Hidden, Program, Rule, Running, Training, Watching
from lrtune.cli.settings import settle
from lrtune.cli.terminal import result, say
from lrtune.cli.training import check_before, exit_if_stopped, search_options, watch


def verify(
    context: typer.Context,
    hidden: Hidden,
    training: Training,
    program: Program,
    running: Running,
    watching: Watching,
    rule: Rule = None,
    study_file: Annotated[
        Path | None, typer.Option("--study", metavar="STUDY.toml", help="How to train; default: the quick study.")
    ] = None,
    baseline: Annotated[
        float | None, typer.Option("--baseline", help="The rate to compare with; default: half and double.")
    ] = None,
) -> None:
    """Train at the recommended rate and at other rates, on fresh seeds, and report whether the rule holds."""
    from lrtune.compare.verify import run_verification, to_markdown
    from lrtune.rule import load_rule

    loaded = load_rule(rule)
    settings = settle(context, study_file, training, program)
    study = replace(settings.study, widths=(hidden,))
    folder = watching.out or Path("runs") / f"verify-{hidden}"
    options = search_options(running)
    check_before(study, options)
    with watch(replace(settings, study=study), folder, watching) as view:
        done = run_verification(
            hidden, study, folder, rule=loaded, baseline=baseline, seed=training.seed, on_event=view, **options
        )
    if not watching.json_lines:
        result(to_markdown(done))
    exit_if_stopped(done.interrupted)
    say(f"wrote {done.path}")
    if not done.holds:
        raise typer.Exit(1)
