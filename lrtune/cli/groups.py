"""The groups of flags that verbs share."""

from dataclasses import dataclass
from typing import Annotated

import typer

from lrtune.cli import flags


@dataclass(frozen=True, kw_only=True)
class Space:
    """The range of a search."""

    widths: flags.Widths = None
    lr_min: flags.LrMin = None
    lr_max: flags.LrMax = None
    knob: flags.Knob = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one run is trained."""

    steps: flags.Steps = None
    seed: flags.Seed = None
    seeds: flags.Seeds = None
    trainer: flags.Trainer = None
    dataset: flags.Dataset = None
    option: flags.Option = None
    maximize: flags.Maximize = None


@dataclass(frozen=True, kw_only=True)
class Lengths(Training):
    """How one run is trained, and the lengths to search."""

    steps: flags.StepsSwept = None  # type: ignore[assignment]
    tokens: flags.Tokens = None
    batch_tokens: flags.BatchTokens = None


@dataclass(frozen=True, kw_only=True)
class Logging:
    """Where a training program writes its measurements."""

    metrics: flags.Metrics = None
    metric: flags.Metric = None
    step_column: flags.StepColumn = None
    loss_pattern: flags.LossPattern = None


@dataclass(frozen=True, kw_only=True)
class Program(Logging):
    """A training program and its log."""

    command: flags.Command = None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The runs of a search and their number."""

    report_every: flags.ReportEvery = None
    budget: flags.Budget = None
    trials: flags.Trials = None
    tolerance: flags.Tolerance = None
    design: flags.Design = None
    points: flags.Points = None
    pruner: flags.Pruner = None
    scale: flags.Scale = None
    target: flags.Target = None
    verify_at_target: flags.VerifyAtTarget = None
    allow_inert_scale: flags.AllowInertScale = None


@dataclass(frozen=True, kw_only=True)
class Running:
    """Where runs are trained, on this machine."""

    workers: flags.Workers = None
    device: flags.Device = "auto"
    trial_timeout: flags.TrialTimeout = None
    accept_changed_trainer: flags.AcceptChangedTrainer = False


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Where runs are trained, on many machines."""

    engine: flags.Engine = "local"
    address: flags.Address = None
    name: flags.Name = None
    storage: flags.Storage = None


@dataclass(frozen=True, kw_only=True)
class Watching:
    """What a verb that trains shows, and where it writes."""

    out: flags.Out = None
    quiet: flags.Quiet = False
    json_lines: flags.JsonLines = False


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table of runs."""

    lr: Annotated[
        str | None, typer.Option("--lr", metavar="COL", help="Column of the learning rate; else guessed by name.")
    ] = None
    loss: Annotated[
        str | None, typer.Option("--loss", metavar="COL", help="Column of the loss; else guessed by name.")
    ] = None
    scale: Annotated[
        list[str] | None,
        typer.Option(
            "--scale", metavar="NAME=COL", help="A scale and its column: tokens=D; a column alone is the hidden size."
        ),
    ] = None
    knob: Annotated[
        list[str] | None,
        typer.Option(
            "--knob",
            metavar="NAME=COL",
            help="Another quantity that the sweep varied, with its column: COL, COL*learning_rate (its law is one of "
            "the ratio) or COL/learning_rate (of the product).",
        ),
    ] = None
    minimize_over: Annotated[
        list[str] | None,
        typer.Option("--minimize-over", metavar="COL", help="Swept column, or setting of records, whose best counts."),
    ] = None
    seed: Annotated[str | None, typer.Option("--seed", metavar="COL", help="Column of the seed.")] = None
    maximize: Annotated[bool, typer.Option("--maximize", help="Higher is better.")] = False
    failed_when: Annotated[
        str | None, typer.Option("--failed-when", metavar="EXPR", help='Rows to take as diverged: "loss>5".')
    ] = None
    drop_when: Annotated[
        str | None, typer.Option("--drop-when", metavar="EXPR", help="Rows that do not count: \"group in ('a', 'b')\".")
    ] = None
