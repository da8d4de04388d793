"""`lrtune export`: write the rule in another format."""

from typing import Annotated

import typer

from lrtune.cli.flags import Output, Rule
from lrtune.cli.terminal import say
from lrtune.cli.values import parse_place, parse_widths
from lrtune.errors import plain


def export(
    format_: Annotated[str, typer.Option("--format", metavar="python|json|yaml|toml", help="What to write.")],
    rule: Rule = None,
    sizes: Annotated[
        str | None, typer.Option("--sizes", metavar="512,1024", help="Hidden sizes to list (json, yaml, toml).")
    ] = None,
    scale: Annotated[
        list[str] | None, typer.Option("--scale", metavar="NAME=VALUE", help="Another scale of the rule: steps=2000.")
    ] = None,
    output: Output = None,
) -> None:
    """Write the rule in a format that your configuration reads."""
    from lrtune.files import write_whole
    from lrtune.rule import load_rule
    from lrtune.rule.export import export_rule

    scales = parse_place(scale or [])
    widths = parse_widths(sizes, flag="--sizes") if sizes else ()
    text = export_rule(load_rule(rule), format_, sizes=widths, scales=scales)
    if output is None:
        print(plain(text.rstrip("\n")))  # as it is, also in a terminal: a wrapped line would be another text
    else:
        write_whole(output, text, follow=True)
        say(f"wrote {output}")
