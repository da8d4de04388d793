"""Verbs around a search: `init` writes a study, `check-trainer` tries a trainer, `doctor` looks at the machine."""

import dataclasses
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from lrtune.cli import options as flag
from lrtune.cli.terminal import command, result, result_json, say, table
from lrtune.errors import InputError


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: lrtune init && lrtune search study.toml")(init)
    app.command("check-trainer", epilog="Example: lrtune check-trainer mypackage.train:train --widths 32,64")(
        check_trainer
    )
    app.command(epilog="Example: lrtune doctor --json")(doctor)


def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("study.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented study.toml to start from."""
    from lrtune.files import write_whole

    if path.is_dir():
        path = path / "study.toml"
    if path.exists() and not force:
        raise InputError(f"{path}: expected no such file yet; name another one, or replace it with --force")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: expected a folder to write {path.name} into, but there is none")
    write_whole(path, resources.files("lrtune.study").joinpath("study-template.toml").read_text(encoding="utf-8"))
    result(str(path))
    say(f"next: edit {path}, then {command('search', str(path))}")


def check_trainer(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="module:function, an installed name, or a quoted command line."),
    ],
    widths: flag.Widths = "32,64",
    steps: flag.Steps = 20,
    report_every: flag.ReportEvery = 5,
    lr_min: flag.LrMin = None,
    lr_max: flag.LrMax = None,
    seed: flag.Seed = None,
    dataset: flag.Dataset = None,
    option: flag.Option = None,
    json_: flag.Json = False,
) -> None:
    """Run a trainer for a few steps at two sizes and say what is right, missing and wrong."""
    from lrtune.cli.settings import settle
    from lrtune.trainer.check import check_trainer as run_check

    by_command = "{learning_rate}" in target
    context.params.update({"command": target} if by_command else {"trainer": target})
    study = dataclasses.replace(settle(context, None).study, pruner="none")
    findings = []
    for finding in run_check(study):
        findings.append(finding)
        if not json_:
            result(f"{finding.level:8} {finding.text}")
    wrong = sum(finding.level == "wrong" for finding in findings)
    if json_:
        result_json([dataclasses.asdict(finding) for finding in findings])
    if wrong:
        say(f"lrtune: {wrong} thing{'s' * (wrong > 1)} to mend before a search")
        raise typer.Exit(1)
    if not json_:
        flags = ["--command", target] if by_command else ["--trainer", target]
        say(f"next: {command('search', *flags)}")


def doctor(json_: flag.Json = False) -> None:
    """Say what is installed, which device and threads will be used, and which rule is active."""
    from lrtune.cli.doctor import look

    lines = list(look())
    if json_:
        result_json([dataclasses.asdict(line) for line in lines])
    else:
        result(table(((line.name, line.state, line.text) for line in lines), ("what", "state", "")))
    if any(line.state == "problem" for line in lines):
        raise typer.Exit(1)
