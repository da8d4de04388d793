"""`lrtune check-trainer`: run a trainer for a few steps and say what is right and what is missing."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import typer

from lrtune.cli.flags import (
    BatchTokens,
    Dataset,
    Json,
    Knob,
    LrMax,
    LrMin,
    Maximize,
    Option,
    ReportEvery,
    Scale,
    Seed,
    Steps,
    Widths,
)
from lrtune.cli.groups import Logging, Program, Training
from lrtune.cli.settings import settle, typed
from lrtune.cli.terminal import command, result, result_json, say
from lrtune.errors import InputError, counted
from lrtune.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Tried:
    """The short runs that test a trainer."""

    widths: Widths = "32,64"
    steps: Steps = 20
    report_every: ReportEvery = None  # as in a search of these steps; 5 of 20
    lr_min: LrMin = None
    lr_max: LrMax = None
    batch_tokens: BatchTokens = None
    scale: Scale = None
    knob: Knob = None
    seed: Seed = None
    dataset: Dataset = None
    option: Option = None
    maximize: Maximize = None


def check_trainer(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="module:function, an installed name, or a quoted command line."),
    ],
    tried: Tried,
    logging: Logging,
    json_: Json = False,
) -> None:
    """Run a trainer for a few steps at two sizes and say what is right, missing and wrong.

    If a command prints no JSON lines of lrtune, its log is looked for, and the flags that name it are proposed.
    """
    from lrtune.trainer import check

    by_command = "{learning_rate}" in target
    named = Program(command=target) if by_command else Training(trainer=target)
    study = settle(context, None, tried, logging, named).study
    if lengths := {"steps", "tokens"} & set(study.scales):
        raise InputError(f"--scale {lengths.pop()}: expected --steps with one value, since a check makes short runs")
    findings = []
    given = {flag.removeprefix("--") for flag in typed(context, tried)} & {"widths", "steps", "report-every"}
    if not given & {"steps", "report-every"}:
        study = dataclasses.replace(study, report_every=5)
    search = dataclasses.replace(Study(), **{name: getattr(study, name) for name in given & {"widths", "steps"}})
    for finding in check.check_trainer(dataclasses.replace(study, pruner="none"), search):
        findings.append(finding)
        if not json_:
            result(f"{finding.level:8} {finding.text}")
    if json_:
        result_json([dataclasses.asdict(finding) for finding in findings])
    if wrong := sum(finding.level == "wrong" for finding in findings):
        say(f"lrtune: fix {counted(wrong, 'problem')} before starting a search")
        raise typer.Exit(1)
    if not json_:
        words = ["--command" if by_command else "--trainer", target, *typed(context, tried, logging)]
        say(f"next: {command('search', *words, *(flag for finding in findings for flag in finding.flags))}")
