"""Opens a storage URL for many processes at once, with retries while the database is away."""

import os
import random
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc

from lrtune.errors import InputError, MissingExtraError, RunFailedError, redact
from lrtune.files import check_regular
from lrtune.records.sqlite_files import connector, table_names
from lrtune.search.workers.tables import LEASES, STUDIES

_T = TypeVar("_T")
FIRST_PATIENCE = 10.0  # seconds to wait at the first contact with a storage
_BUSY_SECONDS = 60
_FOR_GOOD = ("disk is full", "disk i/o error", "readonly", "read-only", "no such table", "malformed", "not a database")
# PostgreSQL's codes of a server during failover or shutdown: another server takes over.
_FAILOVER = ("25006", "57P01", "57P02", "57P03")


def sqlite_url(folder: Path) -> str:
    """The URL of a run folder's database.

    Raises:
        InputError: one of its files is not a regular file, or is a link out of the folder.
    """
    for end in ("", "-wal", "-shm", "-journal"):
        try:
            check_regular(folder / f"study.db{end}", within=folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InputError(f"{error.filename}: cannot open the study's storage: {error.strerror}") from None
    path = str((folder / "study.db").resolve())
    return sa.URL.create("sqlite", database=path).render_as_string()


def normalise(url: str) -> str:
    """The URL with lrtune's database driver.

    Raises:
        InputError: this is not a database URL, or the database is not supported.
    """
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise InputError(
            f"storage: expected postgresql://USER@HOST/DATABASE or sqlite:///FILE, but got {redact(url)!r}"
        ) from None
    if "\0" in url or "@" in (parsed.host or ""):
        raise InputError(f"storage: expected no zero byte, and %40 for @ in a password, but got {redact(url)!r}")
    if not _is_host(parsed.host or ""):
        raise InputError(f"storage: expected a host name, but got {parsed.host!r:.60}")
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise InputError("storage: expected a file in sqlite:///FILE, since workers are separate processes")
        return url
    raise InputError(f"storage: expected postgresql:// or sqlite:///, but got {redact(url)!r}")


def _is_host(name: str) -> bool:
    try:
        return len(name) <= 253 and len(name.encode("idna")) <= 253
    except UnicodeError:
        return False


def exists(url: str) -> bool:
    """Whether the file of a SQLite URL exists, which opening it would create; True for a server."""
    return not url.startswith("sqlite") or os.path.exists(sa.make_url(url).database or "")


def engine_arguments(url: str) -> dict[str, Any]:
    """The keyword arguments of `sqlalchemy.create_engine` for `url`."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": _BUSY_SECONDS}}
    keepalive = {"keepalives": 1, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
    return {
        "pool_pre_ping": True,
        "pool_size": 2,
        "max_overflow": 3,
        "connect_args": {"connect_timeout": 10, **keepalive},
    }


def tune(engine: sa.Engine) -> None:
    """Tune SQLite: wait for locks, allow reads during a write, and skip the sync at each commit. Make PostgreSQL
    reconnect after a failover.

    With a write-ahead log, ``synchronous=NORMAL`` loses nothing when a process dies. A power cut may lose the last
    commits, but never the file.
    """
    if engine.name != "sqlite":

        @event.listens_for(engine, "handle_error")
        def _reconnect(context: Any) -> None:
            if getattr(context.original_exception, "sqlstate", None) in _FAILOVER:
                context.is_disconnect = True

        return
    engine.dispose()

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()


def open_engine(url: str) -> sa.Engine:
    """An engine for `url`, tuned for many processes.

    Raises:
        InputError: the URL is invalid, or its driver is not installed.
    """
    url = normalise(url)
    try:
        engine = sa.create_engine(url, **engine_arguments(url))
    except ImportError:
        raise MissingExtraError("cluster", "psycopg", "--storage postgresql://") from None
    tune(engine)
    return engine


def open_to_read(url: str) -> sa.Engine:
    """A read-only engine, which also works in a read-only folder of a SQLite file.

    Raises:
        InputError: the URL is invalid, its driver is not installed, or the file lacks the tables of a search.
    """
    url, arguments = reading(url, {LEASES.name, STUDIES.name})
    return sa.create_engine(url, **arguments) if arguments else open_engine(url)


def reading(url: str, tables: Set[str]) -> tuple[str, dict[str, Any]]:
    """A URL and the arguments of `sqlalchemy.create_engine` that open a SQLite file only to read; none for others.

    Raises:
        InputError: the URL is invalid, or the file lacks one of the tables. Views do not count.
    """
    url = normalise(url)
    if not url.startswith("sqlite"):
        return url, {}
    path = Path(sa.make_url(url).database or "")
    missing = tables - table_names(path)
    if missing:
        raise InputError(f"{path}: expected the database of a search, but it has no table {min(missing)}")
    return "sqlite://", {"creator": connector(path), "poolclass": sa.NullPool}


def patiently(call: Callable[[], _T], *, patience: float = 180.0) -> _T:
    """The result of `call`, retried while the database is locked or away; `call` must be safe to repeat.

    Raises:
        RunFailedError: the database was away for `patience` seconds, or retrying cannot help.
    """
    deadline = time.monotonic() + patience
    pause = 0.05
    while True:
        try:
            return call()
        except Exception as error:
            if not is_passing(error):
                raise_described(error)
                raise
            if time.monotonic() + pause > deadline:
                raise RunFailedError(f"storage: not reachable for {patience:.0f} s: {describe(error)}") from None
            time.sleep(pause * (0.5 + random.random()))
            pause = min(2.0, pause * 2)


def raise_described(error: Exception) -> None:
    """Raise a one-line `RunFailedError` for a database error; for other errors do nothing."""
    if isinstance(_database_error(error), exc.SQLAlchemyError):
        raise RunFailedError(f"storage: {describe(error)}") from None


def is_passing(error: BaseException) -> bool:
    """True for a temporary error: a lock, a restart, a failover, a lost connection."""
    cause = _database_error(error)
    if not isinstance(cause, exc.DBAPIError):
        return isinstance(cause, exc.TimeoutError)
    if getattr(cause.orig, "sqlstate", None) in _FAILOVER:
        return True
    text = str(cause.orig).lower()
    if any(sign in text for sign in _FOR_GOOD) or "password authentication" in text or "does not exist" in text:
        return False
    if isinstance(cause, exc.OperationalError):
        return "sqlite" not in type(cause.orig).__module__ or "locked" in text or "busy" in text
    return cause.connection_invalidated or isinstance(cause, exc.InterfaceError)


def _database_error(error: BaseException) -> BaseException:
    """The SQLAlchemy error behind an error of Optuna's storage."""
    cause = error.__cause__
    return cause if isinstance(cause, exc.SQLAlchemyError) else error


def describe(error: BaseException) -> str:
    """A database error in one line, without statement, parameters and password."""
    cause = _database_error(error)
    text = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    line = redact(text[0] if text else type(cause).__name__)
    if "full" in line or "disk i/o" in line.lower():
        line += "; free some space and run the same command again"
    return line
