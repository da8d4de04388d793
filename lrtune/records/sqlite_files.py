"""Open untrusted SQLite files: read-only, with limits on time and memory."""

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from lrtune.errors import InputError, plain
from lrtune.files import MIB, open_file

_MAGIC = b"SQLite format 3\x00"
_LARGEST = 2048 * MIB
_LONGEST = 32 * MIB  # of one row; a record has at most 16 MiB
_PATIENCE = 2_000  # times a million steps of SQLite's machine: a minute or two


def is_sqlite(path: Path) -> bool:
    """Whether a file starts with SQLite's signature."""
    try:
        with open_file(path) as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def table_names(path: Path) -> set[str]:
    """The tables of a database, without views and virtual tables, which can run arbitrary queries.

    Raises:
        InputError: the file is too large or cannot be read.
    """
    try:
        open_file(path, most=_LARGEST).close()
        with closing(connector(path)()) as connection:
            found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"{path}: cannot read it as a SQLite database: {_short(error)}") from error
    return {name for name, sql in found if not str(sql).upper().startswith("CREATE VIRTUAL")}


def _short(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or plain(error))[:100]


def connector(path: Path) -> Callable[[], sqlite3.Connection]:
    """A function that opens a read-only connection, also in a read-only folder; long queries are interrupted."""
    copies: list[Path] = []

    def connect() -> sqlite3.Connection:
        if copies:
            return _connect(copies[0])
        if not os.path.lexists(f"{path}-wal"):  # immutable mode reads everything and creates no file
            return _connect(path, "&immutable=1")
        open_file(f"{path}-wal").close()
        connection = _connect(path)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            if "unable to open" not in str(error) and "readonly" not in str(error):
                raise
            copies.append(_copied(path))  # SQLite cannot create the index of the write-ahead log in this folder
            return connect()
        return connection

    return connect


def _copied(path: Path) -> Path:
    """A copy of a database with its write-ahead log, removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="lrtune-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for end in ("", "-wal"):
        with open_file(f"{path}{end}", most=_LARGEST) as file, open(folder / f"study.db{end}", "wb") as copy:
            shutil.copyfileobj(file, copy)
    return folder / "study.db"


def _connect(path: Path, more: str = "") -> sqlite3.Connection:
    url = f"file:{quote(str(path.resolve()))}?mode=ro{more}"
    connection = sqlite3.connect(url, uri=True, timeout=60, check_same_thread=False)
    steps = iter(range(_PATIENCE))
    connection.set_progress_handler(lambda: next(steps, None) is None, 1_000_000)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    return connection
