"""`lrtune report`: write the report page of a run."""

from typing import Annotated

import typer

from lrtune.cli.flags import Run
from lrtune.cli.terminal import result, say


def report(
    run: Run,
    images: Annotated[bool, typer.Option("--images", help="Also each figure as SVG and PNG, in RUN/figures.")] = False,
) -> None:
    """Write RUN/report.html: findings, charts and provenance in one page that needs no network."""
    from lrtune.report.page import write_report

    result(str(write_report(run, images=images)))
    if images:
        say(f"figures: {run / 'figures'}")
