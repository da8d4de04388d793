"""All verbs as one Typer application, each with an example."""

import os
from typing import Annotated

import typer

from lrtune.cli import (
    check,
    check_trainer,
    compare,
    dashboard,
    doctor,
    export,
    fit,
    init,
    lr,
    report,
    search,
    status,
    use,
    verify,
    worker,
)
from lrtune.cli.groups import with_groups

# In the order of the help page.
_VERBS = (
    (search.search, "lrtune search --widths 32,64,128 --budget 10m --out runs/first"),
    (compare.compare, "lrtune compare studies/phase4/study.toml --dry-run"),
    (verify.verify, "lrtune verify 256 --steps 2000"),
    (worker.worker, "lrtune worker --storage postgresql://me@db/lrtune --study reference"),
    (lr.lr, "python train.py --lr $(lrtune lr 256 --plain)"),
    (use.use, "lrtune use runs/first"),
    (export.export, "lrtune export --format python -o learning_rate.py"),
    (fit.fit, "lrtune fit sweep.csv --lr lr --loss val_loss --scale hidden_size=d_model"),
    (check.check, "lrtune check lrtune-rule.json --against runs/quick"),
    (status.status, "lrtune status runs/quick --json"),
    (report.report, "lrtune report runs/quick --images"),
    (dashboard.dashboard, "lrtune dashboard runs/quick --port 8080"),
    (init.init, "lrtune init && lrtune search study.toml"),
    (check_trainer.check_trainer, "lrtune check-trainer mypackage.train:train --widths 32,64"),
    (doctor.doctor, "lrtune doctor --json"),
)
_TRAINS = ("worker", "check-trainer")  # verbs that run a trainer in their process; it may need all threads

app = typer.Typer(
    name="lrtune",
    help="Find the peak learning rate that a model of a given hidden size should be trained with.",
    epilog="Example: lrtune search && lrtune lr 256",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb, example in _VERBS:
    app.command(epilog=f"Example: {example}")(with_groups(verb))


def _version(wanted: bool) -> None:
    if wanted:
        from lrtune import __version__

        print(f"lrtune {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; allowed anywhere.")] = False,
) -> None:
    if context.invoked_subcommand not in _TRAINS:
        # Our matrices are small: more threads would only busy-wait and take CPU time from the workers.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
