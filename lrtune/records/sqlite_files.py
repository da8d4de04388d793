"""Open untrusted SQLite files: read-only, with limits on time and memory."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from lrtune.errors import InputError
from lrtune.files import MIB, open_file

_MAGIC = b"SQLite format 3\x00"
_LARGEST = 2048 * MIB
_LONGEST = 16 * MIB  # of one value
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
        raise InputError(f"{path}: cannot read it as a SQLite database: {error!s:.100}") from error
    return {name for name, sql in found if not str(sql).upper().startswith("CREATE VIRTUAL")}


def connector(path: Path) -> Callable[[], sqlite3.Connection]:
    """A function that opens a read-only connection; long queries are interrupted."""
    whole = "" if Path(f"{path}-wal").exists() else "&immutable=1"  # works in a read-only folder
    url = f"file:{quote(str(path.resolve()))}?mode=ro{whole}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(url, uri=True, timeout=60, check_same_thread=False)
        steps = iter(range(_PATIENCE))
        connection.set_progress_handler(lambda: next(steps, None) is None, 1_000_000)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        return connection

    return connect
