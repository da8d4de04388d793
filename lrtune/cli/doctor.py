"""`lrtune doctor`: what is installed here, which device and threads would be used, and which rule is active."""

import dataclasses
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import typer

from lrtune.cli.flags import Json
from lrtune.cli.terminal import result, result_json, table
from lrtune.errors import LrtuneError

State = Literal["ok", "missing", "problem"]


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    name: str
    state: State
    text: str


# extra → the packages that it brings, as distribution and as module
_EXTRAS = {
    "bitnet": (("torch", "torch"), ("datasets", "datasets"), ("tokenizers", "tokenizers")),
    "report": (("altair", "altair"), ("vl-convert-python", "vl_convert")),
    "cluster": (("ray", "ray"), ("psycopg", "psycopg")),
    "dashboard": (("optuna-dashboard", "optuna_dashboard"),),
    "config": (("omegaconf", "omegaconf"), ("PyYAML", "yaml")),
}


def doctor(json_: Json = False) -> None:
    """Say what is installed, which device and threads will be used, and which rule is active."""
    lines = list(look())
    if json_:
        result_json([dataclasses.asdict(line) for line in lines])
    else:
        result(table(((line.name, line.state, line.text) for line in lines), ("what", "state", "")))
    if any(line.state == "problem" for line in lines):
        raise typer.Exit(1)


def look() -> Iterator[Line]:
    """Look around; a line as each thing is known. Nothing is started or written."""
    from lrtune import __version__

    version = ".".join(map(str, sys.version_info[:3]))
    yield Line("lrtune", "ok", f"{__version__}, Python {version} on {platform.system()} {platform.machine()}")
    yield Line(
        "core", "ok", ", ".join(_installed(name) or name for name in ("optuna", "numpy", "scipy", "typer", "rich"))
    )
    for extra, packages in _EXTRAS.items():
        yield _extra(extra, packages)
    yield from _torch()
    yield _compiler()
    yield _cores()
    yield _cache()
    yield _rule()


def _installed(distribution: str) -> str | None:
    import importlib.metadata

    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return None


def _extra(extra: str, packages: tuple[tuple[str, str], ...]) -> Line:
    absent = [name for name, module in packages if importlib.util.find_spec(module) is None]
    if absent:
        return Line(extra, "missing", f"no {', '.join(absent)}: pip install 'lrtune[{extra}]'")
    return Line(extra, "ok", ", ".join(_installed(name) or name for name, _ in packages))


def _torch() -> Iterator[Line]:
    if importlib.util.find_spec("torch") is None:
        return
    try:
        import torch
    except Exception as error:  # a broken install raises anything
        yield Line("device", "problem", f"torch cannot be imported: {type(error).__name__}: {error}")
        return
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Line("device", "ok", f"cuda: {', '.join(names)}")
    elif torch.backends.mps.is_available():
        yield Line("device", "ok", "mps (Apple GPU)")
    else:
        yield Line("device", "ok", "cpu")
    yield Line("threads", "ok", f"torch would use {torch.get_num_threads()} in one process; a search divides them")
    problem = _wrong_bitnet()
    yield problem or Line("bitnet package", "ok", "the bundled one")


def _wrong_bitnet() -> Line | None:
    """PyPI has another distribution that installs a top-level `bitnet`."""
    from pathlib import Path

    spec = importlib.util.find_spec("bitnet")
    if spec is None or spec.origin is None:
        return Line("bitnet package", "problem", "not found: reinstall lrtune")
    if not (Path(spec.origin).parent / "ternary" / "quantize.py").exists():
        return Line(
            "bitnet package", "problem", f"another project's is imported from {spec.origin}: pip uninstall bitnet"
        )
    return None


def _compiler() -> Line:
    found = next(
        (name for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and shutil.which(name)), None
    )
    if found is None:
        return Line("compiler", "missing", "no C++ compiler: training steps run uncompiled, up to twice as slow")
    return Line("compiler", "ok", str(shutil.which(found)))


def _cores() -> Line:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Line("cores", "ok", f"{usable} usable of {os.cpu_count()}")


def _cache() -> Line:
    if importlib.util.find_spec("platformdirs") is None:
        return Line("cache", "missing", "platformdirs comes with lrtune[bitnet]")
    import platformdirs

    folder = platformdirs.user_cache_path("lrtune")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    return Line("cache", "ok", f"{folder} ({size / 2**20:.0f} MiB)")


def _rule() -> Line:
    from lrtune.rule.ask import find_rule, load_rule

    try:
        path, how = find_rule()
        load_rule(path)
    except LrtuneError as error:
        return Line("rule", "problem", str(error))
    return Line("rule", "ok", f"{path} ({how})")
