"""The flags of the verbs, each declared once; a verb takes those that it needs, alone or by the group."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

_STUDY = "What is searched"
_RUN = "Where and how it runs"
_SHOW = "What is shown"


def _study(flag: str, help_text: str, **more: object) -> typer.models.OptionInfo:
    """A flag that sets a field of the study; the environment variable of the same name does too."""
    name = "LRTUNE_" + flag.removeprefix("--").replace("-", "_").upper()
    return typer.Option(flag, help=help_text, envvar=name, rich_help_panel=_STUDY, **more)  # type: ignore[arg-type,no-any-return]


def _run(flag: str, help_text: str, **more: object) -> typer.models.OptionInfo:
    name = "LRTUNE_" + flag.removeprefix("--").replace("-", "_").upper()
    return typer.Option(flag, help=help_text, envvar=name, rich_help_panel=_RUN, **more)  # type: ignore[arg-type,no-any-return]


def _show(flag: str, help_text: str) -> typer.models.OptionInfo:
    return typer.Option(flag, help=help_text, rich_help_panel=_SHOW)  # type: ignore[no-any-return]


StudyFile = Annotated[
    Path | None, typer.Argument(metavar="STUDY.toml", help="The study; without one, the built-in quick study.")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a search (runs/quick, say).")]
Hidden = Annotated[int, typer.Argument(metavar="HIDDEN", help="The hidden size of the model.")]

# Fields of the study. A flag wins over its environment variable, that over study.toml, that over the default.
Widths = Annotated[str | None, _study("--widths", "Hidden sizes to train.", metavar="32,64,128")]
LrMin = Annotated[float | None, _study("--lr-min", "Lowest learning rate searched first.")]
LrMax = Annotated[float | None, _study("--lr-max", "Highest learning rate searched first.")]
Steps = Annotated[int | None, _study("--steps", "Optimizer steps of one run.")]
ReportEvery = Annotated[int | None, _study("--report-every", "Steps between two reports.")]
Budget = Annotated[str | None, _study("--budget", "Wall time: 90s, 10m, 1h30m.", metavar="TIME")]
Trials = Annotated[int | None, _study("--trials", "Training runs at most.")]
Tolerance = Annotated[float | None, _study("--tolerance", "Stop when no width can lose more than this share of loss.")]
Seed = Annotated[int | None, _study("--seed", "The first seed.")]
Seeds = Annotated[int | None, _study("--seeds", "Seeds per rate of a grid design.")]
Design = Annotated[str | None, _study("--design", "How rates are chosen.", metavar="scale-aware|grid")]
Points = Annotated[int | None, _study("--points", "Rates per width of a grid design.")]
Pruner = Annotated[str | None, _study("--pruner", "Whether runs may be cut early.", metavar="collapse|none")]
Trainer = Annotated[str | None, _study("--trainer", "The training function.", metavar="MODULE:FUNCTION")]
Command = Annotated[
    str | None, _study("--command", "A command line that trains, with {learning_rate} and {hidden_size} in it.")
]
Dataset = Annotated[str | None, _study("--dataset", "Text to train on: stdlib, a file, a folder or a Hub name.")]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="A setting of the trainer.",
        metavar="NAME=VALUE",
        envvar="LRTUNE_OPTION",
        rich_help_panel=_STUDY,
    ),
]
Scale = Annotated[
    list[str] | None,
    typer.Option("--scale", help="A further swept scale.", metavar="NAME=V1,V2", rich_help_panel=_STUDY),
]

# Where and how it runs; none of these changes what is measured.
Out = Annotated[Path | None, _run("--out", "Run folder; the same folder again continues.", metavar="RUN")]
Workers = Annotated[int | None, _run("--workers", "Worker processes; by default from the cores.")]
Engine = Annotated[str, _run("--engine", "Where workers run.", metavar="local|ray")]
Address = Annotated[str | None, _run("--address", "A Ray cluster to join (auto, or its address).")]
Name = Annotated[str | None, _run("--name", "The study's name, where several studies share a storage.")]
Storage = Annotated[str | None, _run("--storage", "Where workers meet: a database URL; else RUN/study.db.")]
Device = Annotated[str, _run("--device", "auto, cpu, cuda, cuda:0 or mps.")]
TrialTimeout = Annotated[str | None, _run("--trial-timeout", "Give a run up after this time.", metavar="TIME")]

Quiet = Annotated[bool, _show("--quiet", "Only the result.")]
JsonLines = Annotated[bool, _show("--json-lines", "Every event as one JSON object a line on stdout.")]
Json = Annotated[bool, _show("--json", "JSON on stdout.")]
DryRun = Annotated[bool, _show("--dry-run", "Print what would run and what it would cost.")]

Rule = Annotated[
    Path | None,
    typer.Option(
        "--rule",
        help="Rule file; else $LRTUNE_RULE, lrtune-rule.json up to the project's root, the packaged rule.",
        metavar="FILE",
    ),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write here instead of stdout.", metavar="FILE")]

# Columns of a table of runs.
LrColumn = Annotated[str, typer.Option("--lr", metavar="COL", help="Column of the learning rate.")]
LossColumn = Annotated[str, typer.Option("--loss", metavar="COL", help="Column of the loss.")]
ScaleColumns = Annotated[
    list[str] | None, typer.Option("--scale", metavar="NAME=COL", help="A scale and its column: hidden_size=width.")
]
MinimizeOver = Annotated[
    list[str] | None, typer.Option("--minimize-over", metavar="COL", help="Swept column whose best counts.")
]
SeedColumn = Annotated[str | None, typer.Option("--seed", metavar="COL", help="Column of the seed.")]
Maximize = Annotated[bool, typer.Option("--maximize", help="Higher is better.")]
FailedWhen = Annotated[
    str | None, typer.Option("--failed-when", metavar="EXPR", help='Rows to take as diverged: "loss>5".')
]


# Groups: the flags that several verbs take and hand on unread.
def space(widths: Widths = None, lr_min: LrMin = None, lr_max: LrMax = None) -> None:
    """Where a search looks; read by `settle`."""


def training(
    steps: Steps = None,
    seed: Seed = None,
    seeds: Seeds = None,
    trainer: Trainer = None,
    dataset: Dataset = None,
    option: Option = None,
) -> None:
    """How one run is trained; read by `settle`."""


def sweep(
    command_: Command = None,
    report_every: ReportEvery = None,
    budget: Budget = None,
    trials: Trials = None,
    tolerance: Tolerance = None,
    design: Design = None,
    points: Points = None,
    pruner: Pruner = None,
    scale: Scale = None,
) -> None:
    """Which runs a search makes, and how many; read by `settle`."""


def running(workers: Workers = None, device: Device = "auto", trial_timeout: TrialTimeout = None) -> None:
    """Where runs are trained, on this machine."""


def meeting(engine: Engine = "local", address: Address = None, name: Name = None, storage: Storage = None) -> None:
    """Where runs are trained, on many machines."""


def columns(
    lr: LrColumn = "lr",
    loss: LossColumn = "loss",
    scale: ScaleColumns = None,
    minimize_over: MinimizeOver = None,
    seed: SeedColumn = None,
    maximize: Maximize = False,
    failed_when: FailedWhen = None,
) -> None:
    """What is read of a table."""


def takes(*groups: Callable[..., None]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the flags of `groups`, before its own optional ones; it finds them in the `params` of its context."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(verb).parameters
        shared = [flag for group in groups for flag in inspect.signature(group).parameters.values()]
        needed = [flag for flag in own.values() if flag.default is flag.empty]
        optional = [flag for flag in own.values() if flag.default is not flag.empty]
        flags = [flag.replace(kind=flag.KEYWORD_ONLY) for flag in (*needed, *shared, *optional)]

        @functools.wraps(verb)
        def called(**given: object) -> None:
            verb(**{name: given[name] for name in own})

        called.__annotations__ = {flag.name: flag.annotation for flag in flags}
        called.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
        return called

    return decorate
