"""The cache folder, and atomic writes to it."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CACHE_VARIABLE = "LRTUNE_CACHE"


def cache_folder() -> Path:
    """The folder for reproducible files: ``$LRTUNE_CACHE``, or the user's cache folder."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    try:
        from platformdirs import user_cache_path
    except ImportError:  # installed with torch and numpy only
        return Path.home() / ".cache" / "lrtune"
    return Path(user_cache_path("lrtune"))


def private_folder(name: str) -> Path:
    """A cache folder that only this user can access: code may be loaded from it.

    Raises:
        OSError: the folder cannot be created, is a link or belongs to another user.
    """
    folder = cache_folder() / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = folder.lstat()
    if info.st_uid != os.geteuid() or not stat.S_ISDIR(info.st_mode):
        raise PermissionError(errno.EPERM, "not a folder that this user owns", str(folder))
    folder.chmod(0o700)
    return folder


def is_private(path: Path) -> bool:
    """Whether this user owns the file, it is not a link, and no one else may write to it."""
    info = path.lstat()
    return info.st_uid == os.geteuid() and not stat.S_ISLNK(info.st_mode) and not info.st_mode & 0o022


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, first: bool = False) -> None:
    """Write a file atomically: a reader sees all of it or none, even after a crash.

    Args:
        path: the file; missing folders are created.
        write: writes the content.
        first: keep an existing file (from another process, for example) instead of replacing it.

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
