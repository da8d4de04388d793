"""The cache folder, and files that appear in it whole or not at all."""

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
    """The folder for what can be made again: ``$LRTUNE_CACHE``, or the user's cache folder."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    try:
        from platformdirs import user_cache_path
    except ImportError:  # with torch and numpy alone
        return Path.home() / ".cache" / "lrtune"
    return Path(user_cache_path("lrtune"))


def private_folder(name: str) -> Path:
    """A folder of the cache for this user alone: code may be loaded from it.

    Raises:
        OSError: it cannot be made, or is a link or another user's.
    """
    folder = cache_folder() / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
        raise PermissionError(errno.EPERM, "not a folder of this user's own", str(folder))
    folder.chmod(0o700)
    return folder


def is_private(path: Path) -> bool:
    """Whether a file is this user's own, no link, and no one else may write to it."""
    found = path.lstat()
    return found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o022


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
