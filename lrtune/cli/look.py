"""Verbs that look at a run: `status`, `report`, `dashboard`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrtune.cli import options as flag
from lrtune.cli.terminal import result, result_json, say
from lrtune.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from lrtune.search.status import Status


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: lrtune status runs/quick --json")(status)
    app.command(epilog="Example: lrtune report runs/quick --images")(report)
    app.command(epilog="Example: lrtune dashboard runs/quick --port 8080")(dashboard)


def status(run: flag.Run, storage: flag.Storage = None, json_: flag.Json = False) -> None:
    """How a run stands: trials by verdict, the best so far, and its records checked against its storage."""
    from lrtune.search.status import status as look

    found = look(run, storage=storage)
    if json_:
        result_json(_status_data(found))
    else:
        result(str(found))


def _status_data(found: "Status") -> dict[str, Any]:
    best = {
        str(size): {"learning_rate": record.learning_rate, "loss": record.loss, "trial": record.trial}
        for size, record in sorted(found.best.items())
    }
    return {
        "run": str(found.out),
        "study": found.study.name,
        "trials": dict(found.counts),
        "waiting": found.waiting,
        "running": found.running,
        "searching": found.searching,
        "best": best,
        "records_whole": found.is_whole,
        "problems": found.problems(),
    }


def report(
    run: flag.Run,
    images: Annotated[bool, typer.Option("--images", help="Also each figure as SVG and PNG, in RUN/figures.")] = False,
) -> None:
    """Write RUN/report.html: what was found, its charts and its provenance in one page that needs no network."""
    from lrtune.report.page import write_report

    result(str(write_report(run, images=images)))
    if images:
        say(f"figures: {run / 'figures'}")


def dashboard(
    run: flag.Run,
    storage: flag.Storage = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Open optuna-dashboard on the run's storage."""
    try:
        from optuna_dashboard import run_server
    except ImportError as error:
        raise MissingExtraError("dashboard", "optuna-dashboard", "the dashboard") from error
    from lrtune.search.workers.storage import normalise, sqlite_url

    if storage is None and not (run / "study.db").exists():
        raise InputError(f"{run}: expected a run with a study.db in it; for another storage, name it with --storage")
    url = normalise(storage) if storage is not None else sqlite_url(run)
    say(f"http://{host}:{port}  (Ctrl-C ends it)")
    try:
        run_server(url, host=host, port=port)
    except OSError as error:
        raise InputError(f"--port: expected a free port, but {port} is not ({error.strerror})") from error
