"""Verbs that train: `search`, `compare`, `verify`, `worker`."""

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrtune.cli import options as flag
from lrtune.cli.settings import Settings, settle
from lrtune.cli.terminal import command, result, result_json, say, stdout_console
from lrtune.errors import InputError, LrtuneError, RunFailedError
from lrtune.study.study import Study, parse_seconds

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.report.terminal.live import View
    from lrtune.search.run import SearchResult


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: lrtune search --widths 32,64,128 --budget 10m --out runs/first")(search)
    app.command(epilog="Example: lrtune compare studies/phase4/study.toml --dry-run")(compare)
    app.command(epilog="Example: lrtune verify 256 --steps 2000")(verify)
    app.command(epilog="Example: lrtune worker --storage postgresql://me@db/lrtune --study reference")(worker)


@flag.takes(flag.space, flag.training, flag.sweep, flag.running, flag.meeting)
def search(
    context: typer.Context,
    study_file: flag.StudyFile = None,
    out: flag.Out = None,
    dry_run: flag.DryRun = False,
    quiet: flag.Quiet = False,
    json_lines: flag.JsonLines = False,
) -> None:
    """Train short runs at several sizes and rates, and fit the rule hidden size → learning rate.

    Without arguments it runs the built-in quick study. The same command again continues where it stopped.
    """
    from lrtune.search.run import run_search

    settings = settle(context, study_file)
    study = settings.study
    folder = out or _default_folder(study)
    how = _how(context)
    if dry_run:
        _show_plan(study, folder, how, json_lines)
        return
    _check(study, how)
    with _watch(settings, folder, quiet=quiet, json_lines=json_lines) as view:
        done = run_search(study, folder, on_event=view, **how)
    _conclude(done, quiet=quiet, json_lines=json_lines)


def _default_folder(study: Study) -> Path:
    """The run folder of a study by its name, which may hold what a file's name cannot."""
    return Path("runs") / (re.sub(r"[^\w.+-]+", "-", study.name).strip(".-") or "study")


def _how(context: typer.Context) -> dict[str, Any]:
    """The options of a search that change nothing of what is measured, from the flags of the verb."""
    names = ("workers", "engine", "address", "storage", "device")
    how = {name: context.params[name] for name in names if name in context.params}
    if text := context.params.get("trial_timeout"):
        how["trial_timeout"] = parse_seconds(text, field="--trial-timeout")
    return how


def _check(study: Study, how: dict[str, Any]) -> None:
    """What a search checks first, before anything is said of it: an error stands alone on its line."""
    from lrtune.search.session import Options
    from lrtune.search.workers.storage import normalise
    from lrtune.trainer.find import resolve_trainer

    options = Options(**how)
    if options.storage is not None:
        normalise(options.storage)
    trainer = resolve_trainer(study.trainer, study.command)
    if trainer.check is not None:
        trainer.check(study)


def _announce(settings: Settings, folder: Path) -> None:
    study = settings.study
    sizes = ", ".join(map(str, study.widths))
    say(f"study {study.name} in {folder}: hidden {sizes}, {study.steps} steps, trainer {_trainer(study)}")
    for line in settings.lines():
        say(f"  {line}")


def _trainer(study: Study) -> str:
    if study.command:
        return study.command[0]
    return f"{study.trainer} on {study.options['dataset']}" if "dataset" in study.options else study.trainer


def _show_plan(study: Study, folder: Path, how: dict[str, Any], as_json: bool) -> None:
    from lrtune.search.plan import plan

    planned = plan(study, folder, **how)
    if as_json:
        result_json(vars(planned))
    else:
        result(str(planned))


def _conclude(done: "SearchResult", *, quiet: bool, json_lines: bool) -> None:
    """Show what was found, write the report, say what to type next, and exit as the search ended."""
    from lrtune.report.terminal.summary import next_commands, show

    fit = _fitted(done)
    if not json_lines and not quiet:
        show(stdout_console(), done.records, done.rule, fit, why=done.why_no_rule)
        say(f"ended: {done.stop_reason}")
    written = _write_report(done.out, fit)
    rule_path = str(done.out / "rule.json") if done.rule is not None else None
    if json_lines:
        end = {
            "event": "ended",
            "why": done.stop_reason,
            "rule": rule_path,
            "why_no_rule": None if done.rule else done.why_no_rule,
        }
        result(json.dumps(end))
    elif quiet:
        if rule_path is not None:
            result(rule_path)
    else:
        say(f"report: {written}")
        nexts = next_commands(done.rule, done.out, command)
        longest = max(len(line) for line, _ in nexts)
        say("next:")
        for line, what in nexts:
            say(f"  {line:{longest}}  {what}")
    if done.interrupted is not None:
        raise typer.Exit(128 + done.interrupted)
    if done.rule is None:
        raise RunFailedError(f"no rule: {done.why_no_rule}")


def _fitted(done: "SearchResult") -> "LawFit | None":
    """The fit behind the rule, for its curves; the charts do without where there is none."""
    from lrtune.law.fit import fit_law

    if done.rule is None:
        return None
    with contextlib.suppress(LrtuneError):
        return fit_law([r for r in done.records if r.arm is None], scales=tuple(done.rule.scales))
    return None


def _write_report(out: Path, fit: "LawFit | None") -> str:
    """Where the report of a search is; where its extra is not installed, why there is none."""
    from lrtune.errors import MissingExtraError

    try:
        from lrtune.report.page import write_report

        return str(write_report(out, fit=fit))
    except (MissingExtraError, InputError) as error:
        return str(error)


@flag.takes(flag.training, flag.running, flag.meeting)
def compare(
    context: typer.Context,
    study_file: Annotated[
        Path, typer.Argument(metavar="STUDY.toml", help="A study with a table arms.NAME for each arm.")
    ],
    out: flag.Out = None,
    dry_run: flag.DryRun = False,
    quiet: flag.Quiet = False,
    json_lines: flag.JsonLines = False,
) -> None:
    """Train the arms of a study side by side, and say which change does what."""
    from lrtune.compare.run import REPORT, TITLE, cost, run_comparison, sections, to_markdown
    from lrtune.report.terminal.summary import show_sections

    settings = settle(context, study_file)
    folder = out or _default_folder(settings.study)
    planned = cost(settings.study)
    _check(settings.study, _how(context))
    if dry_run:
        result(planned)
        return
    with _watch(settings, folder, quiet=quiet, json_lines=json_lines, cost=planned) as view:
        done = run_comparison(settings.study, folder, on_event=view, **_how(context))
    if not quiet:
        say(f"ended: {done.stop_reason}")
    if done.arms:
        if sys.stdout.isatty() and not json_lines:
            show_sections(stdout_console(), TITLE, sections(done))
        elif not json_lines:
            result(to_markdown(done))
        say(f"wrote {folder / REPORT}")
    if done.interrupted is not None:
        raise typer.Exit(128 + done.interrupted)


@flag.takes(flag.training, flag.running)
def verify(
    context: typer.Context,
    hidden: flag.Hidden,
    rule: flag.Rule = None,
    study_file: Annotated[
        Path | None, typer.Option("--study", metavar="STUDY.toml", help="How to train; else the quick study.")
    ] = None,
    baseline: Annotated[float, typer.Option("--baseline", help="The rate to set beside it.")] = 0.0015,
    command_: flag.Command = None,
    out: flag.Out = None,
    quiet: flag.Quiet = False,
    json_lines: flag.JsonLines = False,
) -> None:
    """Train at the recommended rate and at a baseline, on fresh seeds, and say whether the rule holds."""
    from lrtune.compare.verify import run_verification, to_markdown
    from lrtune.rule.ask import load_rule

    found = load_rule(rule)
    settings = settle(context, study_file)
    folder = out or Path("runs") / f"verify-{hidden}"
    settings = replace(settings, study=replace(settings.study, widths=(hidden,)))
    _check(settings.study, _how(context))
    with _watch(settings, folder, quiet=quiet, json_lines=json_lines) as view:
        first = context.params.get("seed")
        done = run_verification(
            hidden, settings.study, folder, rule=found, baseline=baseline, seed=first, on_event=view, **_how(context)
        )
    if not json_lines:
        result(to_markdown(done))
    if done.interrupted is not None:
        raise typer.Exit(128 + done.interrupted)
    say(f"wrote {done.path}")
    if not done.holds:
        raise typer.Exit(1)


def worker(
    storage: Annotated[
        str, typer.Option("--storage", envvar="LRTUNE_STORAGE", help="The URL that the search was given.")
    ],
    study: Annotated[str, typer.Option("--study", help="The name of its study.")],
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes to train in.")] = 1,
    device: flag.Device = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of each.")] = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="A folder for checkpoints, best one that all machines share.")
    ] = None,
) -> None:
    """Join a search from anywhere: train its trials until it ends."""
    from lrtune.search.workers.local import join

    signum = join(storage, study, workers=workers, device=device, threads=threads, checkpoints=checkpoints)
    if signum is not None:
        raise typer.Exit(128 + signum)


@contextlib.contextmanager
def _watch(settings: Settings, folder: Path, *, quiet: bool, json_lines: bool, cost: str = "") -> Iterator["View"]:
    """The view of a search, announced by the settings that are no defaults and, where it is known, by its cost."""
    from lrtune.report.terminal.live import choose_view
    from lrtune.report.terminal.progress import Progress, WidthProgress

    study = settings.study
    if not quiet and not json_lines:
        _announce(settings, folder)
        if cost:
            say(cost)
    progress = Progress(seconds=study.budget.seconds, trials=study.budget.trials)
    progress.widths.update({width: WidthProgress() for width in study.widths})
    with choose_view(progress, quiet=quiet, json_lines=json_lines, title=study.name) as view:
        yield view
