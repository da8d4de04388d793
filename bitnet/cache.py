"""The cache folder, and files that appear in it whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CACHE_VARIABLE = "LRTUNE_CACHE"


def cache_folder() -> Path:
    """The folder for what can be made again: ``$LRTUNE_CACHE``, or the user's cache folder."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    try:
        from platformdirs import user_cache_path
    except ImportError:  # with torch and numpy alone
        return Path.home() / ".cache" / "lrtune"
    return Path(user_cache_path("lrtune"))


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, first: bool = False) -> None:
    """Write a file so that a reader sees all of it or none, also after a crash.

    Args:
        path: the file; missing folders are made.
        write: writes the content.
        first: keep a file that is there already, such as another process's, instead of replacing it.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if first:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        else:
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
