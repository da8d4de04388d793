"""`lrtune init`: write a commented study.toml."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from lrtune.cli.terminal import command, result, say
from lrtune.errors import InputError


def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("study.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented study.toml to start from."""
    from lrtune.files import write_whole

    if path.is_dir():
        path = path / "study.toml"
    if path.exists() and not force:
        raise InputError(f"{path}: already exists; choose another name, or replace it with --force")
    write_whole(path, resources.files("lrtune.study").joinpath("study-template.toml").read_text(encoding="utf-8"))
    result(str(path))
    say(f"next: edit {path}, then {command('search', str(path))}")
