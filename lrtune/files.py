"""Files of others are opened with care, files of ours are written whole or not at all.

A run folder, a cache, a table or a token folder may come from a stranger: what is opened there is a regular file of
bounded size, and no link leads out of the folder.
"""

import contextlib
import errno
import fcntl
import io
import os
import stat

Name = str | os.PathLike[str]

_TEMPORARY = ".lrtune-tmp"
MIB = 2**20


def open_handle(path: Name, flags: int = os.O_RDONLY, *, within: Name | None = None, most: int | None = None) -> int:
    """A file descriptor of a regular file. A FIFO, a device or a folder is refused at once.

    Args:
        flags: as of `os.open`.
        within: the folder that the file must lie in, links resolved; None follows links wherever they lead.
        most: bytes that the file may have; None for no limit.

    Raises:
        OSError: as `os.open`, or the file is not regular, lies elsewhere or is too large.
    """
    name = os.fspath(path)
    if within is not None:
        name, flags = _resolved(path, within), flags | os.O_NOFOLLOW
    try:
        handle = os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), name) from None
    try:
        found = os.fstat(handle)
        _check_regular(path, found)
        if most is not None and found.st_size > most:
            raise OSError(errno.EFBIG, f"larger than {_size(most)}", os.fspath(path))
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_regular(path: Name, *, within: Name) -> None:
    """What `open_handle` checks, for a file that a library opens: it is not touched here.

    Raises:
        OSError: there is no such file, it is not regular or lies outside `within`.
    """
    _check_regular(path, os.stat(_resolved(path, within)))


def _resolved(path: Name, within: Name) -> str:
    name, folder = os.path.realpath(path), os.path.realpath(within)
    if os.path.commonpath((name, folder)) != folder:
        raise OSError(errno.ELOOP, "a link that leads out of its folder", os.fspath(path))
    return name


def _check_regular(path: Name, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise OSError(errno.EINVAL, what, os.fspath(path))


def open_file(path: Name, *, within: Name | None = None, most: int | None = None) -> io.BufferedReader:
    """A regular file opened to read bytes; see `open_handle`."""
    return os.fdopen(open_handle(path, within=within, most=most), "rb")


def open_text(path: Name, *, within: Name | None = None, most: int | None = None, **how: str) -> io.TextIOWrapper:
    """A regular file opened to read text, UTF-8 unless `how` says otherwise; see `open_handle`."""
    return io.TextIOWrapper(open_file(path, within=within, most=most), **{"encoding": "utf-8", **how})  # type: ignore[arg-type]


def read_bytes(path: Name, *, within: Name | None = None, most: int = 64 * MIB) -> bytes:
    """The content of a regular file of at most `most` bytes; see `open_handle`."""
    with open_file(path, within=within, most=most) as file:
        content = file.read(most + 1)  # files of /proc say that they are empty
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {_size(most)}", os.fspath(path))
    return content


def read_text(path: Name, *, within: Name | None = None, most: int = 64 * MIB, errors: str = "strict") -> str:
    """The same as text in UTF-8, line ends as they are."""
    return read_bytes(path, within=within, most=most).decode("utf-8", errors)


def _size(count: int) -> str:
    return f"{count // MIB:,} MiB" if count >= MIB else f"{count:,} bytes"


def write_whole(path: Name, content: str | bytes, *, follow: bool = False) -> None:
    """Write `content` to `path` so that a reader sees the former file or the new one, never a part.

    A former file keeps its mode. A link is replaced by the file; `follow` writes to where it leads, which is for a
    path that the user named, never for one in a run folder.

    Raises:
        OSError: the disk is full or the folder read-only; it names `path`, and the former file is untouched.
    """
    target = os.path.realpath(path) if follow else os.fspath(path)
    data = content.encode() if isinstance(content, str) else content
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:200]}.{os.urandom(4).hex()}{_TEMPORARY}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "wb") as file:
            _lock(handle)
            file.write(data)
            file.flush()
            os.fsync(handle)
            with contextlib.suppress(FileNotFoundError):
                former = os.lstat(target)
                if stat.S_ISREG(former.st_mode):
                    os.fchmod(handle, stat.S_IMODE(former.st_mode))
            os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename, error.filename2 = os.fspath(path), None  # not the temporary one
        raise
    _sync_folder(folder or os.curdir)


def remove_leftovers(folder: Name) -> None:
    """Remove what `write_whole` left in a folder when its process was killed; files being written stay."""
    for name in os.listdir(folder):
        if name.startswith(".") and name.endswith(_TEMPORARY):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError), open_file(path, within=folder) as file:
                if _lock(file.fileno()):
                    os.unlink(path)


def _lock(handle: int) -> bool:
    """Hold a file while it is open; False where another process does, or the file system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def make_private(path: Name) -> None:
    """Make a folder for this user alone, or make it that: code may be loaded from it.

    Raises:
        OSError: it cannot be made, or is a link or another user's.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EPERM, "not a folder of this user's own", os.fspath(path))
    os.chmod(path, 0o700)


def is_private(path: Name) -> bool:
    """Whether a file or folder is this user's own, no link, and no one else may write to it."""
    found = os.lstat(path)
    return found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o022


def _sync_folder(folder: str) -> None:
    """Make the rename itself durable, where the system lets folders be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
