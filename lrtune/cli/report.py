"""`lrtune report`: write the report page of a run."""

from pathlib import Path
from typing import Annotated

import typer

from lrtune.cli.flags import Run
from lrtune.cli.terminal import result, say
from lrtune.errors import InputError


def report(
    run: Run,
    images: Annotated[
        bool, typer.Option("--images", help="Also each figure as SVG and PNG, in figures/ next to it.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The page; default: RUN/report.html.")
    ] = None,
) -> None:
    """Write RUN/report.html: findings, charts and provenance in one page that needs no network."""
    from lrtune.report.page import write_report

    try:
        path = write_report(run, output=output, images=images)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot write it: {error.strerror}; choose another file with -o") from None
    result(str(path))
    if images:
        say(f"figures: {path.with_name('figures')}")
