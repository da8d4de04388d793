"""The flags of the verbs, each declared once; `lrtune.cli.groups` puts them together."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lrtune.cli.values import (
    parse_budget,
    parse_command,
    parse_knobs,
    parse_options,
    parse_scales,
    parse_targets,
    parse_values,
    parse_widths,
)

_STUDY = "What is searched"
_LOG = "The log of a command (default: JSON lines with step and loss on stdout)"
_RUN = "Where and how it runs"
_SHOW = "What is shown"


@dataclass(frozen=True)
class Sets:
    """The field of the study that a flag sets, as a dotted path, and the parser of its value."""

    path: str
    read: Callable[[Any], Any]


def _flag(name: str, help_text: str, panel: str = _STUDY, **more: Any) -> Any:
    """A flag whose environment variable has the same name: LRTUNE_LR_MIN for ``--lr-min``."""
    variable = "LRTUNE_" + name.removeprefix("--").replace("-", "_").upper()
    return typer.Option(name, help=help_text, envvar=variable, rich_help_panel=panel, **more)


def _show(name: str, help_text: str) -> Any:
    return typer.Option(name, help=help_text, rich_help_panel=_SHOW)


StudyFile = Annotated[
    Path | None, typer.Argument(metavar="STUDY.toml", help="The study; without one, the built-in quick study.")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a search (runs/quick, say).")]
Hidden = Annotated[int, typer.Argument(metavar="HIDDEN", help="The hidden size of the model.")]

# Fields of the study. Precedence: flag, environment variable, study.toml, default.
Widths = Annotated[
    str | None, _flag("--widths", "Hidden sizes to train.", metavar="32,64,128"), Sets("widths", parse_widths)
]
LrMin = Annotated[float | None, _flag("--lr-min", "Lowest learning rate searched first."), Sets("lr_min", float)]
LrMax = Annotated[float | None, _flag("--lr-max", "Highest learning rate searched first."), Sets("lr_max", float)]
_LENGTHS = "Optimizer steps of one run; several values are a scale."
StepsSwept = Annotated[
    str | None,
    _flag("--steps", _LENGTHS, metavar="N,N"),
    Sets("scales.steps", functools.partial(parse_values, flag="--steps")),
]
Tokens = Annotated[
    str | None,
    _flag("--tokens", "Tokens of one run, in place of steps; several values are a scale.", metavar="N,N"),
    Sets("scales.tokens", functools.partial(parse_values, flag="--tokens")),
]
BatchTokens = Annotated[
    str | None,
    _flag("--batch-tokens", "Tokens of one step, for a trainer with this scale.", metavar="N,N"),
    Sets("scales.batch_tokens", functools.partial(parse_values, flag="--batch-tokens")),
]
Steps = Annotated[int | None, _flag("--steps", "Optimizer steps of one run."), Sets("steps", int)]
ReportEvery = Annotated[int | None, _flag("--report-every", "Steps between two reports."), Sets("report_every", int)]
Budget = Annotated[
    str | None,
    _flag("--budget", "Wall time: 90s, 10m, 1h30m.", metavar="TIME"),
    Sets("budget.seconds", parse_budget),
]
Trials = Annotated[int | None, _flag("--trials", "Training runs at most."), Sets("budget.trials", int)]
Tolerance = Annotated[
    float | None,
    _flag("--tolerance", "Stop when no width can lose more than this share of loss."),
    Sets("budget.tolerance", float),
]
Seed = Annotated[int | None, _flag("--seed", "The first seed."), Sets("seed", int)]
Seeds = Annotated[int | None, _flag("--seeds", "Seeds per rate of a grid design."), Sets("seeds", int)]
Design = Annotated[
    str | None, _flag("--design", "How rates are chosen.", metavar="scale-aware|grid"), Sets("design", str)
]
Points = Annotated[int | None, _flag("--points", "Rates per width of a grid design."), Sets("points", int)]
Pruner = Annotated[
    str | None, _flag("--pruner", "Whether runs may be stopped early.", metavar="collapse|none"), Sets("pruner", str)
]
Trainer = Annotated[
    str | None, _flag("--trainer", "The training function.", metavar="MODULE:FUNCTION"), Sets("trainer", str)
]
Command = Annotated[
    str | None,
    _flag(
        "--command",
        "A command line that trains. Placeholders: {learning_rate} {hidden_size} {seed} {steps} {report_every} "
        "{device}, {id} (unique per attempt), {output} (a path that is removed after the run), scales and options.",
    ),
    Sets("command", parse_command),
]
Metrics = Annotated[
    str | None,
    _flag(
        "--metrics",
        "The file or folder that the command writes, such as runs/{id}/metrics.csv, with its placeholders: CSV, JSON "
        "lines, TensorBoard events or trainer_state.json; with --loss-pattern, text.",
        _LOG,
        metavar="PATH",
    ),
    Sets("log.metrics", str),
]
Metric = Annotated[
    str | None,
    _flag("--metric", "The column, key or tag of the loss; default: loss.", _LOG, metavar="NAME"),
    Sets("log.metric", str),
]
StepColumn = Annotated[
    str | None,
    _flag("--step-column", "The column or key of the step; else step, global_step, iter, …", _LOG, metavar="NAME"),
    Sets("log.step_column", str),
]
LossPattern = Annotated[
    str | None,
    _flag(
        "--loss-pattern",
        r"A regular expression for the loss in a line of the output: 'val loss ([\d.]+)'. A group (?P<step>\d+) is the "
        "step; else the number after the word step or iter.",
        _LOG,
        metavar="REGEX",
    ),
    Sets("log.loss_pattern", str),
]
Dataset = Annotated[
    str | None,
    _flag("--dataset", "Text to train on: stdlib, a file, a folder or a Hub name."),
    Sets("options.dataset", str),
]
Option = Annotated[
    list[str] | None,
    _flag("--option", "A setting of the trainer.", metavar="NAME=VALUE"),
    Sets("options", parse_options),
]
Scale = Annotated[
    list[str] | None,
    typer.Option("--scale", help="A further swept scale.", metavar="NAME=V1,V2", rich_help_panel=_STUDY),
    Sets("scales", parse_scales),
]
Knob = Annotated[
    list[str] | None,
    typer.Option(
        "--knob",
        help="Another quantity to search, with its range: LO..HI, LO..HI*learning_rate (a ratio), LO..HI/learning_rate "
        "(a product); 0, before it adds zero.",
        metavar="NAME=LO..HI",
        rich_help_panel=_STUDY,
    ),
    Sets("knobs", parse_knobs),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="Scales that the rate is wanted for, trained or not; repeat for several.",
        metavar="NAME=V,NAME=V",
        rich_help_panel=_STUDY,
    ),
    Sets("targets", parse_targets),
]
Maximize = Annotated[
    bool | None,
    _flag("--maximize", "The trainer reports a measure of which more is better (accuracy) as its loss."),
    Sets("maximize", bool),
]
VerifyAtTarget = Annotated[
    bool | None,
    _flag("--verify-at-target", "Train at the target at last, if the remaining budget is enough."),
    Sets("verify_at_target", bool),
]
AllowInertScale = Annotated[
    bool | None,
    _flag("--allow-inert-scale", "Continue although the trainer ignores a scale."),
    Sets("allow_inert_scale", bool),
]
Name = Annotated[
    str | None,
    _flag("--name", "The study's name, where several studies share a storage.", _RUN),
    Sets("name", str),
]

# Where and how it runs; none of these changes what is measured.
Out = Annotated[Path | None, _flag("--out", "Run folder; an existing run resumes.", _RUN, metavar="RUN")]
Workers = Annotated[int | None, _flag("--workers", "Worker processes; by default from the cores.", _RUN)]
Engine = Annotated[str, _flag("--engine", "Where workers run.", _RUN, metavar="local|inline|ray")]
Address = Annotated[str | None, _flag("--address", "A Ray cluster to join (auto, or its address).", _RUN)]
Storage = Annotated[str | None, _flag("--storage", "Where workers meet: a database URL; else RUN/study.db.", _RUN)]
Device = Annotated[str, _flag("--device", "auto, cpu, cuda, cuda:0 or mps.", _RUN)]
TrialTimeout = Annotated[str | None, _flag("--trial-timeout", "Abort a run after this time.", _RUN, metavar="TIME")]
AcceptChangedTrainer = Annotated[
    # Its variable is too long a word for 80 columns.
    bool,
    _flag("--accept-changed-trainer", "Add runs although the trainer's source changed.", _RUN, show_envvar=False),
]

Activate = Annotated[
    bool, typer.Option("--activate", help="Make the rule the active one, lrtune-rule.json, in another one's place.")
]

Quiet = Annotated[bool, _show("--quiet", "Only the result.")]
JsonLines = Annotated[bool, _show("--json-lines", "Every event as one JSON object a line on stdout.")]
Json = Annotated[bool, _show("--json", "JSON on stdout.")]
DryRun = Annotated[bool, _show("--dry-run", "Print what would run and what it would cost.")]

Rule = Annotated[
    Path | None,
    typer.Option(
        "--rule",
        help="Rule file or run; else $LRTUNE_RULE, lrtune-rule.json up to the project's root, the packaged rule.",
        metavar="FILE|RUN|packaged[:muon]",
    ),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write here instead of stdout.", metavar="FILE")]
