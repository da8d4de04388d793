"""Verbs that train: `search` and `worker`."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lrtune.cli import options as flag
from lrtune.cli.settings import Settings, settle
from lrtune.cli.terminal import command, result, result_json, say, stdout_console
from lrtune.errors import InputError, LrtuneError, RunFailedError
from lrtune.study import Study, parse_seconds

if TYPE_CHECKING:
    from lrtune.law import LawFit
    from lrtune.search import SearchResult


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: lrtune search --widths 32,64,128 --budget 10m --out runs/first")(search)


def search(
    context: typer.Context,
    study_file: flag.StudyFile = None,
    widths: flag.Widths = None,
    lr_min: flag.LrMin = None,
    lr_max: flag.LrMax = None,
    steps: flag.Steps = None,
    report_every: flag.ReportEvery = None,
    budget: flag.Budget = None,
    trials: flag.Trials = None,
    tolerance: flag.Tolerance = None,
    seed: flag.Seed = None,
    seeds: flag.Seeds = None,
    design: flag.Design = None,
    points: flag.Points = None,
    pruner: flag.Pruner = None,
    trainer: flag.Trainer = None,
    command_: flag.Command = None,
    dataset: flag.Dataset = None,
    option: flag.Option = None,
    scale: flag.Scale = None,
    out: flag.Out = None,
    workers: flag.Workers = None,
    engine: flag.Engine = "local",
    address: flag.Address = None,
    storage: flag.Storage = None,
    device: flag.Device = "auto",
    trial_timeout: flag.TrialTimeout = None,
    dry_run: flag.DryRun = False,
    quiet: flag.Quiet = False,
    json_lines: flag.JsonLines = False,
) -> None:
    """Train short runs at several sizes and rates, and fit the rule hidden size → learning rate.

    Without arguments it runs the built-in quick study. The same command again continues where it stopped.
    """
    from lrtune.live import choose_view
    from lrtune.progress import Progress
    from lrtune.search import run_search

    settings = settle(context, study_file)
    study = settings.study
    folder = out or Path("runs") / study.name
    how = _how(workers, engine, address, storage, device, trial_timeout)
    if dry_run:
        _show_plan(study, folder, how, json_lines)
        return
    if not quiet and not json_lines:
        _announce(settings, folder)
    progress = Progress(seconds=study.budget.seconds, trials=study.budget.trials)
    with choose_view(progress, quiet=quiet, json_lines=json_lines, title=study.name) as view:
        done = run_search(study, folder, on_event=view, **how)
    _conclude(done, quiet=quiet, json_lines=json_lines)


def _how(
    workers: int | None,
    engine: str,
    address: str | None,
    storage: str | None,
    device: str,
    trial_timeout: str | None,
) -> dict[str, Any]:
    """The options of `run_search` that change nothing of what is measured."""
    timeout = None if trial_timeout is None else parse_seconds(trial_timeout, field="--trial-timeout")
    return {
        "workers": workers,
        "engine": engine,
        "address": address,
        "storage": storage,
        "device": device,
        "trial_timeout": timeout,
    }


def _announce(settings: Settings, folder: Path) -> None:
    say(f"study {settings.study.name}, in {folder}")
    for line in settings.lines():
        say(f"  {line}")


def _show_plan(study: Study, folder: Path, how: dict[str, Any], as_json: bool) -> None:
    from lrtune.search import plan

    planned = plan(study, folder, **how)
    if as_json:
        result_json(vars(planned))
    else:
        result(str(planned))


def _conclude(done: "SearchResult", *, quiet: bool, json_lines: bool) -> None:
    """Show what was found, write the report, say what to type next, and exit as the search ended."""
    from lrtune.summary import next_commands, show

    if not json_lines:
        fit = _fitted(done)
        if not quiet:
            show(stdout_console(), done.records, done.rule, fit, why=done.why_no_rule)
            say(f"ended: {done.stop_reason}")
            _write_report(done.out)
            nexts = next_commands(done.rule, done.out, command)
            longest = max(len(line) for line, _ in nexts)
            say("next:")
            for line, what in nexts:
                say(f"  {line:{longest}}  {what}")
        elif done.rule is not None:
            result(str(done.out / "rule.json"))
    if done.interrupted is not None:
        raise typer.Exit(128 + done.interrupted)
    if done.rule is None:
        raise RunFailedError(f"no rule: {done.why_no_rule}")


def _fitted(done: "SearchResult") -> "LawFit | None":
    """The fit behind the rule, for its curves; the charts do without where there is none."""
    from lrtune.law import fit_law

    if done.rule is None:
        return None
    with contextlib.suppress(LrtuneError):
        return fit_law([r for r in done.records if r.arm is None], scales=tuple(done.rule.scales))
    return None


def _write_report(out: Path) -> None:
    """The report at the end of a search; where its extra is not installed, say so and go on."""
    from lrtune.errors import MissingExtraError

    try:
        from lrtune.report import write_report

        say(f"report: {write_report(out)}")
    except (MissingExtraError, InputError) as error:
        say(f"report: {error}")
