"""`lrtune dashboard`: optuna-dashboard on a run's storage."""

from typing import Annotated

import typer

from lrtune.cli.flags import Run, Storage
from lrtune.cli.terminal import say
from lrtune.errors import InputError
from lrtune.extras import import_extra


def dashboard(
    run: Run,
    storage: Storage = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Open optuna-dashboard on the run's storage."""
    server = import_extra("optuna_dashboard", extra="dashboard", purpose="the dashboard", package="optuna-dashboard")
    from lrtune.search.optuna_study import open_to_look
    from lrtune.search.workers.storage import sqlite_url

    file = run / "study.db"
    if storage is None and not (file.is_file() and file.resolve().parent == run.resolve()):
        raise InputError(f"{run}: expected a run with a study.db; use --storage for another storage")
    opened = open_to_look(storage or sqlite_url(run))
    say(f"http://{host}:{port}  (Ctrl-C ends it)")
    try:
        server.run_server(opened, host=host, port=port)
    except OSError as error:
        raise InputError(f"--port: cannot listen on {host}:{port}: {error.strerror}") from error
