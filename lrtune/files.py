"""Safe reads of untrusted files, and atomic writes.

A run folder, cache, table or token folder may come from a stranger. Reads accept only regular files of bounded size
and refuse links that lead out of the folder. `contextlib` and `fcntl` are imported by the writers alone: a script that
asks for a rate only reads.
"""

import errno
import io
import os
import stat

TYPE_CHECKING = False  # `typing` is not imported: see `lrtune.named`
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Name = str | os.PathLike[str]

_TEMPORARY = ".lrtune-tmp"
MIB = 2**20


def open_handle(path: Name, flags: int = os.O_RDONLY, *, within: Name | None = None, most: int | None = None) -> int:
    """Open a regular file and return its descriptor. Refuses a FIFO, device or folder without blocking.

    Args:
        flags: see `os.open`.
        within: the folder that must contain the file after links are resolved; None allows any target.
        most: largest file size in bytes; None for no limit.

    Raises:
        OSError: see `os.open`; or the file is not regular, lies outside `within` or is too large.
    """
    name = os.fspath(path)
    if within is not None:
        name, flags = _resolved(path, within), flags | os.O_NOFOLLOW
    try:
        handle = os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), name) from None
    try:
        info = os.fstat(handle)
        _check_regular(path, info)
        if most is not None and info.st_size > most:
            raise OSError(errno.EFBIG, f"larger than {_size(most)}", os.fspath(path))
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_regular(path: Name, *, within: Name) -> None:
    """Make the checks of `open_handle` for a file that a library will open.

    Raises:
        OSError: the file is missing, not regular or outside `within`.
    """
    _check_regular(path, os.stat(_resolved(path, within)))


def _resolved(path: Name, within: Name) -> str:
    name, folder = os.path.realpath(path), os.path.realpath(within)
    if os.path.commonpath((name, folder)) != folder:
        raise OSError(errno.ELOOP, "the link leads out of its folder", os.fspath(path))
    return name


def _check_regular(path: Name, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        what = "a folder" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        raise OSError(errno.EINVAL, what, os.fspath(path))


def open_file(path: Name, *, within: Name | None = None, most: int | None = None) -> io.BufferedReader:
    """Open a regular file to read bytes; see `open_handle`."""
    return os.fdopen(open_handle(path, within=within, most=most), "rb")


def read_bytes(path: Name, *, within: Name | None = None, most: int = 64 * MIB) -> bytes:
    """Read a regular file of at most `most` bytes; see `open_handle`."""
    with open_file(path, within=within, most=most) as file:
        content = file.read(most + 1)  # files in /proc report size 0
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {_size(most)}", os.fspath(path))
    return content


def read_text(path: Name, *, within: Name | None = None, most: int = 64 * MIB, errors: str = "strict") -> str:
    """Read a regular file as UTF-8 text, with line ends unchanged."""
    return read_bytes(path, within=within, most=most).decode("utf-8", errors)


def _size(count: int) -> str:
    return f"{count // MIB:,} MiB" if count >= MIB else f"{count:,} bytes"


def write_whole(
    path: Name,
    content: "str | bytes | Callable[[io.BufferedWriter], object]",
    *,
    follow: bool = False,
    private: bool = False,
) -> None:
    """Write a file atomically: a reader sees the old content or the new one, never a part.

    `content` may be a function that writes it. The mode of an existing file is kept, unless others may not read it
    (`private`). A link is replaced; `follow` writes to its target instead. Use `follow` only for paths that the user
    named, never in a run folder.

    Raises:
        OSError: the disk is full, the folder is read-only, `path` is a device or a pipe. The error names `path`; the
            old file is unchanged.
    """
    import contextlib

    target = os.path.realpath(path) if follow else os.fspath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:200]}.{os.urandom(4).hex()}{_TEMPORARY}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if private else 0o666)
        with os.fdopen(handle, "wb") as file:
            _lock(handle)
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(handle)
            with contextlib.suppress(FileNotFoundError):
                former = os.lstat(target).st_mode
                if stat.S_ISREG(former):
                    os.fchmod(handle, 0o600 if private else stat.S_IMODE(former))
                elif not stat.S_ISLNK(former) and not stat.S_ISDIR(former):
                    raise OSError(errno.EINVAL, "not a regular file", target)
            os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename, error.filename2 = os.fspath(path), None  # the user knows no temporary name
        raise
    _sync_folder(folder or os.curdir)


def remove_leftovers(folder: Name) -> None:
    """Remove temporary files that a killed `write_whole` left in a folder; keep those of running writers."""
    import contextlib

    for name in os.listdir(folder):
        if name.startswith(".") and name.endswith(_TEMPORARY):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError), open_file(path, within=folder) as file:
                if _lock(file.fileno()):
                    os.unlink(path)


def _lock(handle: int) -> bool:
    """Lock an open file; False if another process holds the lock or the file system has no locks."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def cache_folder() -> "Path":
    """The folder for reproducible files: ``$LRTUNE_CACHE``, or the user's cache folder."""
    from pathlib import Path

    if named := os.environ.get("LRTUNE_CACHE"):
        return Path(named).expanduser()
    try:
        import platformdirs
    except ImportError:
        return Path.home() / ".cache" / "lrtune"
    return platformdirs.user_cache_path("lrtune")


def make_private(path: Name) -> None:
    """Create a folder that only this user can access, or restrict an existing one: code may be loaded from it.

    Raises:
        OSError: the folder cannot be created, is a link or belongs to another user.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    info = os.lstat(path)
    if info.st_uid != os.geteuid() or not stat.S_ISDIR(info.st_mode):
        raise OSError(errno.EPERM, "not a folder that this user owns", os.fspath(path))
    os.chmod(path, 0o700)


def is_private(path: Name) -> bool:
    """Whether this user owns the file or folder, it is not a link, and no one else may write to it."""
    info = os.lstat(path)
    return info.st_uid == os.geteuid() and not stat.S_ISLNK(info.st_mode) and not info.st_mode & 0o022


def _sync_folder(folder: str) -> None:
    """Make a rename durable, on systems that can sync folders."""
    import contextlib

    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
