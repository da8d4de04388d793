"""`lrtune worker`: join a search from anywhere."""

from pathlib import Path
from typing import Annotated

import typer

from lrtune.cli.flags import Device
from lrtune.cli.training import exit_if_stopped


def worker(
    storage: Annotated[str, typer.Option("--storage", envvar="LRTUNE_STORAGE", help="The storage URL of the search.")],
    study: Annotated[str, typer.Option("--study", help="The name of its study.")],
    workers: Annotated[int, typer.Option("--workers", min=1, help="Training processes.")] = 1,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads per process.")] = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="A folder for checkpoints, preferably shared by all machines.")
    ] = None,
    trainer: Annotated[
        str | None,
        typer.Option(
            "--trainer", help="Run only this trainer; default: the one in the storage.", metavar="MODULE:FUNCTION"
        ),
    ] = None,
) -> None:
    """Join a search from anywhere: train its trials until it ends."""
    from lrtune.search.workers.local import join

    signum = join(
        storage,
        study,
        workers=workers,
        device=device,
        threads=threads,
        checkpoints=checkpoints,
        trainer=trainer,
    )
    exit_if_stopped(signum)
