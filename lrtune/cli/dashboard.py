"""`lrtune dashboard`: optuna-dashboard on a run's storage."""

from pathlib import Path
from typing import Annotated

import typer

from lrtune.cli.flags import Run, Storage
from lrtune.cli.terminal import say
from lrtune.errors import InputError, redact
from lrtune.extras import import_extra


def dashboard(
    run: Run,
    storage: Storage = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Open optuna-dashboard on the run's storage."""
    server = import_extra("optuna_dashboard", extra="dashboard", purpose="the dashboard", package="optuna-dashboard")
    from lrtune.search.workers.storage import normalise, sqlite_url

    file = run / "study.db"
    if storage is None and not (file.is_file() and file.resolve().parent == run.resolve()):
        raise InputError(f"{run}: expected a run with a study.db; use --storage for another storage")
    url = normalise(storage) if storage is not None else sqlite_url(run)
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
        raise InputError(f"--storage: no such file: {redact(url)}")  # SQLite would create it
    say(f"http://{host}:{port}  (Ctrl-C ends it)")
    try:
        server.run_server(url, host=host, port=port)
    except OSError as error:
        raise InputError(f"--port: cannot listen on {host}:{port}: {error.strerror}") from error
