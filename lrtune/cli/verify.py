"""`lrtune verify`: train at the recommended rate and at other rates."""

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrtune.cli.flags import Hidden, Rule
from lrtune.cli.groups import Program, Running, Training, Watching
from lrtune.cli.settings import quick_study, settle
from lrtune.cli.terminal import result, say, table
from lrtune.cli.training import check_before, exit_if_stopped, search_options, watch
from lrtune.cli.values import parse_place
from lrtune.errors import InputError
from lrtune.rule.file import PACKAGED
from lrtune.study.study import Study

if TYPE_CHECKING:
    from lrtune import rule as rules


def verify(
    context: typer.Context,
    hidden: Hidden,
    training: Training,
    program: Program,
    running: Running,
    watching: Watching,
    rule: Rule = None,
    study_file: Annotated[
        Path | None, typer.Option("--study", metavar="STUDY.toml", help="How to train; default: as the rule's runs.")
    ] = None,
    scale: Annotated[
        list[str] | None, typer.Option("--scale", metavar="NAME=VALUE", help="Another scale of the rule: depth=12.")
    ] = None,
    baseline: Annotated[
        float | None, typer.Option("--baseline", help="The rate to compare with; default: half and double.")
    ] = None,
) -> None:
    """Is the recommended rate better than its half and its double? Whole runs on fresh seeds, of the rule's trainer."""
    from lrtune.compare.setting import study_differences
    from lrtune.compare.verify import cost, rows, run_verification, texts, verdict_line, verification_study
    from lrtune.rule import load_rule

    loaded = load_rule(rule)
    settings = settle(context, study_file, training, program)
    if not (study_file or training.trainer or program.command):
        settings = replace(settings, study=_as_fitted(loaded, settings.study, training))
    study = replace(settings.study, widths=(hidden,), targets=(), verify_at_target=False)
    has_lengths = {"steps", "tokens"} & {*loaded.scales, *settings.study.scales}
    scales = parse_place(scale or [], steps=training.steps if has_lengths else None)
    for line in study_differences(loaded, study):
        say(f"differs: {line}")
    folder = watching.out or Path("runs") / f"verify-{hidden}"
    options = search_options(running)
    check_before(study, options)
    how: dict[str, Any] = {"rule": loaded, "baseline": baseline, "seed": training.seed, "scales": scales}
    planned = verification_study(hidden, study, **how)
    price = cost(planned, loaded)
    with watch(replace(settings, study=replace(planned, scales={})), folder, watching, price) as view:
        done = run_verification(hidden, study, folder, on_event=view, **how, **options)
    if not watching.json_lines:
        result(verdict_line(done))
        header, lines = rows(done)
        result(table(lines, header))
        for name, text in texts(done).items():
            result(f"{name}, by the model at the recommended rate:\n{textwrap.indent(text, '  ')}")
    exit_if_stopped(done.interrupted)
    say(f"wrote {done.path}")
    if not done.known and not done.holds:
        raise typer.Exit(1)


def _as_fitted(rule: "rules.Rule", given: Study, training: Training) -> Study:
    """The study of the rule's runs with the flags of this command line; for the packaged rule, the quick study.

    Raises:
        InputError: the rule was fitted to runs of other programs.
    """
    from lrtune.compare.setting import study_of

    own = study_of(rule)
    if own is None:
        if rule.source != PACKAGED:
            raise InputError(
                "verify: this rule was fitted to a table; say how to train: --trainer, --command or --study"
            )
        return given
    set_here = {
        name: getattr(given, name) for name in ("steps", "seed", "seeds") if getattr(training, name) is not None
    }
    own = replace(own, **set_here)
    usual = quick_study().options
    flagged = {name: value for name, value in given.options.items() if usual.get(name) != value}
    return replace(own, options={**own.options, **flagged})
