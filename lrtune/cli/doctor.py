"""`lrtune doctor`: show the installed packages, each trainer's state, and the active rule."""

import dataclasses
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import typer

from lrtune.cli.flags import Json
from lrtune.cli.terminal import result, result_json, table
from lrtune.errors import LrtuneError, MissingExtraError, plain

_DEVELOPERS = "dev"  # the extra for developers of lrtune


@dataclass(frozen=True)
class Line:
    """One check; its state is ok, missing or problem."""

    name: str
    state: str
    text: str


def doctor(json_: Json = False) -> None:
    """Show the installed packages, the device and threads, and the active rule."""
    lines = [Line(line.name, line.state, plain(line.text)) for line in look()]
    if json_:
        result_json([dataclasses.asdict(line) for line in lines])
    else:
        result(table(((line.name, line.state, line.text) for line in lines), ("what", "state", "")))
    if any(line.state == "problem" for line in lines):
        raise typer.Exit(1)


def look() -> Iterator[Line]:
    """Yield a line per check. Imports the installed trainers."""
    from lrtune import __version__
    from lrtune.extras import packages

    version = ".".join(map(str, sys.version_info[:3]))
    yield Line("lrtune", "ok", f"{__version__}, Python {version} on {platform.system()} {platform.machine()}")
    for extra, names in packages().items():
        if extra != _DEVELOPERS:
            yield _packages(extra, names)
    yield from _trainers()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Line("cores", "ok", f"{usable} usable of {os.cpu_count()}")
    yield _cache()
    yield _rule()


def _packages(extra: str, names: list[str]) -> Line:
    import importlib.metadata

    installed, absent = [], []
    for name in names:
        try:
            installed.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        return Line(extra or "core", "missing", f"no {', '.join(absent)}: pip install 'lrtune[{extra}]'")
    return Line(extra or "core", "ok", ", ".join(installed))


def _trainers() -> Iterator[Line]:
    from lrtune.trainer.find import installed_trainers, resolve_trainer

    for name in installed_trainers():
        try:
            trainer = resolve_trainer(name)
        except LrtuneError as error:
            yield Line(f"trainer {name}", "missing" if isinstance(error, MissingExtraError) else "problem", str(error))
            continue
        yield Line(f"trainer {name}", "ok", "found")
        yield from (Line(*line) for line in (trainer.doctor() if trainer.doctor is not None else ()))


def _cache() -> Line:
    from lrtune.files import cache_folder

    folder = cache_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    return Line("cache", "ok", f"{folder} ({size / 2**20:.0f} MiB)")


def _rule() -> Line:
    from lrtune.rule import find_rule, load_rule

    try:
        path, how = find_rule()
        load_rule(path)
    except LrtuneError as error:
        return Line("rule", "problem", str(error))
    return Line("rule", "ok", f"{path} ({how})")
