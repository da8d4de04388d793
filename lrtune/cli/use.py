"""`lrtune use`: make a rule the active one."""

from pathlib import Path
from typing import Annotated

import typer

from lrtune.cli.terminal import result


def use(
    source: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="The folder of a search, or a rule file.")],
) -> None:
    """Make a rule the project's active one: lrtune-rule.json; the former one is kept as lrtune-rule.json.bak."""
    from lrtune.rule import load_rule
    from lrtune.rule.active import activate

    rule = load_rule(source)
    run = source if source.is_dir() else source.parent
    is_of_run = source.exists() and (run / "study.toml").is_file()  # not so a packaged rule
    result(activate(rule, [run] if is_of_run else [], force=True)[1])
