"""Print to the terminal: results to stdout, everything else to stderr."""

import json
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lrtune.errors import plain

if TYPE_CHECKING:
    from rich.console import Console


def result(text: str) -> None:
    """Print a result to stdout, without terminal control sequences."""
    print(_fitted(plain(text), sys.stdout))


def result_json(value: Any) -> None:
    """Print a result to stdout as one indented JSON object."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Print a message to stderr; nothing after stderr is closed (``2>&1 | head``)."""
    try:
        if sys.stderr is not None:
            print(_fitted(plain(text), sys.stderr), file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _fitted(text: str, stream: TextIO | None) -> str:
    """The text for a terminal: long lines wrap between words, indented to their last column."""
    width = _columns(stream)
    if width is None:
        return text
    return "\n".join(line if len(line) <= width else _wrapped(line, width) for line in text.split("\n"))


def _wrapped(line: str, width: int) -> str:
    column = max((gap.end() for gap in re.finditer(r"(^| ) +(?=\S)", line)), default=2)
    indent = " " * (column if column <= width * 0.6 else 4)
    parts = textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts)


def stdout_console() -> "Console":
    """A Rich console on stdout, as wide as the terminal and 80 columns in a pipe."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:  # Rich's default exits with code 1
            raise BrokenPipeError

    return Output(highlight=False)


def table(rows: Iterable[Sequence[str]], header: Sequence[str]) -> str:
    """Columns of plain text, left-aligned, two spaces apart."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def command(*words: str) -> str:
    """A command line for this shell: `lrtune …` if it is on the path, else `python -m lrtune …`."""
    here = Path(sys.executable).parent
    found = shutil.which("lrtune")
    if found is not None and Path(found).parent == here:
        head = "lrtune"
    elif (here / "lrtune").exists():
        head = _shown(here / "lrtune")
    else:
        head = f"{_shown(Path(sys.executable))} -m lrtune"
    return f"{head} {shlex.join(words)}"


def result_command(head: str, *words: str) -> None:
    """Print a head and a command line to stdout; ``\\`` breaks a line that is longer than the terminal."""
    print(head, _broken(plain(command(*words)), "  ", sys.stdout), sep="\n")


def say_commands(commands: Sequence[tuple[str, str]]) -> None:
    """Print command lines and what each does to stderr: side by side, or one below the other if that is too wide."""
    longest, room = max(len(line) for line, _ in commands), _columns(sys.stderr)
    if room is None or all(longest + 4 + len(what) <= room for _, what in commands):
        say("\n".join(f"  {line:{longest}}  {what}" for line, what in commands))
        return
    for line, what in commands:
        say(f"  {what}\n{_broken(plain(line), '    ', sys.stderr)}")


def _broken(line: str, indent: str, stream: TextIO | None) -> str:
    """A command line, indented; ``\\`` breaks one that is longer than the terminal."""
    room = _columns(stream)
    if room is None:
        return indent + line
    width = room - len(indent) - 2  # " \\" behind it
    parts = textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False, subsequent_indent="  ")
    return " \\\n".join(indent + part for part in parts)


def _columns(stream: TextIO | None) -> int | None:
    """The columns of a terminal; None for a pipe or file, and if the process started without it (``>&-``)."""
    return shutil.get_terminal_size().columns if stream is not None and stream.isatty() else None


def _shown(path: Path) -> str:
    """The shortest form of a path from the working folder."""
    try:
        inside = path.absolute().relative_to(Path.cwd())
    except ValueError:
        return shlex.quote(str(path))
    return shlex.quote(str(inside) if len(inside.parts) > 1 else f"./{inside}")
