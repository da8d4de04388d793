"""`lrtune search`: train short runs at several sizes and rates, and fit the rule."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lrtune.cli.fit import warn_of_other_sizes
from lrtune.cli.flags import Activate, DryRun, StudyFile
from lrtune.cli.groups import Lengths, Meeting, Program, Running, Space, Sweep, Watching
from lrtune.cli.settings import quick_study, settle, typed
from lrtune.cli.terminal import command, result, result_command, result_json, say, say_commands, stdout_console
from lrtune.cli.training import (
    check_before,
    exit_if_stopped,
    rehearse_before,
    say_import,
    search_options,
    watch,
)
from lrtune.errors import InputError, RunFailedError, counted
from lrtune.records.folder import default_folder
from lrtune.study.study import Study

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.search.options import SearchResult


_TOLD = ("learning_rate", "low", "high", "basis", "supported", "regret", "regret_90")  # of a target, in JSON


def search(
    context: typer.Context,
    space: Space,
    training: Lengths,
    program: Program,
    sweep: Sweep,
    running: Running,
    meeting: Meeting,
    watching: Watching,
    study_file: StudyFile = None,
    activate: Activate = False,
    dry_run: DryRun = False,
) -> None:
    """Train short runs at several sizes and rates, and fit the rule hidden size → learning rate.

    Without arguments it runs the built-in quick study. Run the same command again to resume a search.
    """
    settings = settle(context, study_file, space, training, program, sweep, meeting)
    folder = watching.out or default_folder(settings.study)
    options = search_options(running, meeting) | {"activate": activate}
    from lrtune.search.plan import check_budget, plan

    if dry_run:
        say_import(settings.study)
    check_budget(settings.study)
    study, pace = _fitted(check_before(settings.study, options), options)
    settings = replace(settings, study=study)
    if dry_run:
        if pace:
            say(pace)
        planned = plan(settings.study, folder, **options)
        result_json(asdict(planned)) if watching.json_lines else result(str(planned))
        return
    from lrtune.search.run import run_search

    rehearse_before(settings.study, folder, options, quiet=watching.quiet)
    planned = plan(settings.study, folder, noisy=False, **options)
    time = "" if planned.seconds is None else f", {planned.seconds:.0f} s on {counted(planned.workers, 'worker')}"
    cost = f"{planned.estimate}; {planned.done} done{time}"
    with watch(settings, folder, watching, *([pace] if pace else []), cost, wanted=planned.runs) as view:
        done = run_search(settings.study, folder, on_event=view, **options)
    _conclude(done, settings.study, watching, typed(context, running, meeting, of_study=False))


def _fitted(study: Study, options: dict[str, Any]) -> tuple[Study, str]:
    """The built-in study fitted to the machine, and a line about its steps; another study as it is, without a line."""
    from lrtune.search.quick import fitted
    from lrtune.search.workers.machine import shares
    from lrtune.trainer.find import trainer_of

    usual, parts, timed = quick_study(), shares(options["workers"], options["device"]), trainer_of(study).step_seconds
    own = ("trainer", "command", "options", "scales", "knobs", "widths", "budget")
    is_built_in = all(getattr(study, name) == getattr(usual, name) for name in own)
    if timed is None or not is_built_in or options["engine"] != "local" or parts[0].device != "cpu":
        return study, ""
    return fitted(study, timed(study), len(parts))


def _conclude(done: "SearchResult", study: Study, watching: Watching, flags: list[str]) -> None:
    """Write the report, show the result and the next commands, and exit with the search's code."""
    report = _write_report(done.out, done.fit)
    if watching.json_lines:
        _print_end(done, study, flags)
    elif not watching.quiet:
        _show_end(done, study, report, flags)
    elif done.rule is not None:
        result(str(done.out / "rule.json"))
    exit_if_stopped(done.interrupted)
    if done.rule is None:
        raise RunFailedError(f"no rule: {done.why_no_rule}")


def _show_end(done: "SearchResult", study: Study, report: str, flags: list[str]) -> None:
    """The result and why it ended to stdout, the rest to stderr."""
    from lrtune.report.findings import is_fault_of_trainer, trainer_to_check
    from lrtune.report.outlook import again, outlook_of
    from lrtune.report.terminal.conclusion import conclusion
    from lrtune.report.terminal.summary import next_commands, show
    from lrtune.search.target import verification_cost

    why = "" if done.why_no_rule == done.stop_reason else done.why_no_rule
    show(stdout_console(), done.records, done.rule, done.fit, why=why, targets=done.targets)
    found = outlook_of(done, study)
    for line in [*([done.verified] if done.verified else []), *conclusion(done, study, found)]:
        result(line)
    words = again(study, done.out, done.records, done.ending, found, done.workers)
    if words is not None:
        result_command("continue:", *words, *flags)
    for note in done.notes:
        say(note)
    if done.rule is not None:
        warn_of_other_sizes(done.rule)
    say(f"report: {report}")
    cost = verification_cost(study, done.targets[0], done.records) if done.targets else ""
    say("next:")
    suspect = trainer_to_check(study) if is_fault_of_trainer(done.ending, done.no_rule) else ""
    more = next_commands(done.rule, done.out, command, done.targets, cost, is_active=done.is_active, suspect=suspect)
    say_commands(more)


def _print_end(done: "SearchResult", study: Study, flags: list[str]) -> None:
    from lrtune.report.outlook import again, outlook_of

    found = outlook_of(done, study)
    words = again(study, done.out, done.records, done.ending, found, done.workers)
    rule = None if done.rule is None else str(done.out / "rule.json")
    event = {
        "event": "ended",
        "ending": done.ending.name.lower(),
        "why": done.stop_reason,
        "rule": rule,
        "no_rule": done.no_rule and done.no_rule.name.lower(),
        "why_no_rule": done.why_no_rule or None,
        "targets": [
            {"scales": dict(told.scales)} | {name: getattr(told, name) for name in _TOLD} for told in done.targets
        ],
        "verified": done.verified or None,
        "notes": list(done.notes),
        "good_enough": None if found is None else found.is_enough and not done.ending.is_hopeless,
        "continue": None if words is None else ["lrtune", *words, *flags],
    }
    result(json.dumps(event))


def _write_report(out: Path, fit: "LawFit | None") -> str:
    """The path of the search's report, or the error that prevented it."""
    from lrtune.report.page import write_report

    try:
        return str(write_report(out, fit=fit))
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"cannot write {error.filename}: {error.strerror}"
