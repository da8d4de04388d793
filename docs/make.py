"""Writes docs/flags.md and docs/python.md from the code; `python docs/make.py` after a change of either.

tests/test_pages.py fails if they are out of date.
"""

import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import typer

import lrtune
from lrtune.cli.app import application

FOLDER = Path(__file__).resolve().parent
_GENERATED = "<!-- Written by docs/make.py: edit the code, then run it again. -->"


def flags() -> str:
    """Every verb with its arguments and flags."""
    lines = ["# Flags", "", _GENERATED, ""]
    lines += ["Flags of a study may also be set by `LRTUNE_NAME`, the flag's name in capitals: `LRTUNE_LR_MIN` for"]
    lines += ["`--lr-min`. Precedence: flag, environment variable, `study.toml`, default."]
    for name, verb in typer.main.get_command(application()).commands.items():  # type: ignore[attr-defined]
        lines += ["", f"## lrtune {name}", "", _paragraphs(verb.help), "", "| | | |", "|---|---|---|"]
        lines += [_row(parameter) for parameter in verb.params if parameter.name != "help"]
        lines += ["", (verb.epilog or "").replace("Example: ", "Example: `") + "`"]
    return "\n".join(lines) + "\n"


def _row(parameter: Any) -> str:
    flag = ", ".join(f"`{name}`" for name in parameter.opts if name.startswith("-"))
    value = (parameter.metavar or ("" if parameter.is_flag else "VALUE")) if flag else ""
    default = parameter.default if type(parameter.default) in (str, int, float) else ""
    notes = [getattr(parameter, "help", ""), f"Default: {default}." if default else ""]
    notes += ["Required."] if parameter.required and flag else []
    return f"| {flag or f'`{parameter.metavar}`'} | {_cell(value)} | {_cell(' '.join(notes))} |"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def api() -> str:
    """Every public name with its signature and docstring."""
    lines = ["# Python", "", _GENERATED, "", inspect.getdoc(lrtune) or ""]
    for name in lrtune.__all__:
        lines += ["", f"## lrtune.{name}", "", *_signature(name), _docstring(inspect.getdoc(getattr(lrtune, name)))]
    return "\n".join(lines) + "\n"


def _signature(name: str) -> list[str]:
    found = getattr(lrtune, name)
    if isinstance(found, type) and (is_dataclass(found) or issubclass(found, tuple | Exception)):
        return []  # its attributes are in the docstring
    parameters = inspect.signature(found).parameters.values()
    shown = ", ".join(_parameter(each) for each in parameters if each.name != "self")
    return ["```text", f"{name}({shown})", "```", ""]


def _parameter(parameter: inspect.Parameter) -> str:
    """A parameter with its default, if that is the same on every machine."""
    star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    default = parameter.default
    is_plain = default is None or isinstance(default, str | int | float | tuple)
    return f"{star}{parameter.name}" + (f"={default!r}" if default is not parameter.empty and is_plain else "")


def _docstring(text: str | None) -> str:
    """A docstring as Markdown: sections in bold, entries as a list, examples as code."""
    lines: list[str] = []
    in_code = in_section = False
    for line in (text or "").splitlines():
        is_code = line.startswith((">>> ", "... ")) or (in_code and bool(line.strip()))
        if is_code != in_code:
            lines.append("```pycon" if is_code else "```")
        in_code = is_code
        title = re.fullmatch(r"(Args|Attributes|Raises|Returns|Warns):", line)
        if in_code:
            lines.append(line)
        elif title:
            lines += [f"**{title.group(1)}**", ""]
            in_section = True
        elif in_section and re.match(r" {4}\S", line):
            lines.append(f"- {_code(line.strip())}")
        elif in_section and line.startswith("     "):
            lines[-1] += f" {_code(line.strip())}"
        else:
            in_section = in_section and not line.strip()
            lines.append(_code(line))
    return "\n".join([*lines, "```"] if in_code else lines)


def _code(text: str) -> str:
    """Double backquotes as single ones."""
    return text.replace("``", "`")


def _paragraphs(text: str | None) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(text or ""))


PAGES = {"flags.md": flags, "python.md": api}

if __name__ == "__main__":
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write(), encoding="utf-8")
