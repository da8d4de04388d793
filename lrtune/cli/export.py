"""`lrtune export`: write the rule in another format."""

from typing import Annotated

import typer

from lrtune.cli.flags import Output, Rule
from lrtune.cli.terminal import result, say


def export(
    format_: Annotated[str, typer.Option("--format", metavar="python|json|yaml|toml", help="What to write.")],
    rule: Rule = None,
    output: Output = None,
) -> None:
    """Write the rule in a format that your configuration reads."""
    from lrtune.files import write_whole
    from lrtune.rule import load_rule
    from lrtune.rule.export import export_rule

    text = export_rule(load_rule(rule), format_)
    if output is None:
        result(text.rstrip("\n"))
    else:
        write_whole(output, text, follow=True)
        say(f"wrote {output}")
