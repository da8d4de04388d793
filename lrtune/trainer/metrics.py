"""Follows the log that a program writes to a file or folder; an earlier run's content there does not count."""

import os
import re
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from lrtune.errors import MissingExtraError, plain
from lrtune.study.log import Log
from lrtune.trainer.measures import Measure, listed, measure_of_line, measure_of_row
from lrtune.trainer.rows import STATE, Row, kind_of, read_lines, read_rows

_Mark = tuple[int, int]
_LEAST_PAUSE, _SHARE = 0.2, 0.05  # seconds between two reads, and the share of time for reading
_MOST_FILES = 1000
TEXTS = (".log", ".txt", ".out")


class MetricsLog:
    """The measures in a log at `path`, as they come; create it before the program starts.

    Args:
        path: a file, or a folder with logs: the first kind of log that has the metric counts.
        log: its metric and step, or its pattern.
    """

    def __init__(self, path: Path, log: Log) -> None:
        self.path, self.log = path, log
        self._names: dict[str, None] = {}  # of all rows seen
        self._pattern = re.compile(log.loss_pattern) if log.loss_pattern else None
        self._missing: MissingExtraError | None = None
        self._kind: int | None = None  # of the files that count
        self._seen: dict[str, int] = {}
        self._marks: dict[Path, _Mark] = {}
        self._former = {file: (change_of(file), self._read(file, has_ended=True)) for file, _ in self._files()}
        self._next = 0.0

    def new_measures(self, *, has_ended: bool = False) -> list[Measure]:
        """The measures since the last call; all that are left once the program `has_ended`.

        Raises:
            InputError: a file is no log, or a cell no number.
            MissingExtraError: its reader is not installed.
        """
        began = time.monotonic()
        if began < self._next and not has_ended:
            return []
        found: list[Measure] = []
        for file, kind in self._files():
            mark = change_of(file)
            if self._kind not in (None, kind) or (mark == self._marks.get(file) and not has_ended):
                continue
            self._marks[file] = mark
            found += self._new(file, mark, kind, has_ended=has_ended)
        self._next = began + max(_LEAST_PAUSE, (time.monotonic() - began) / _SHARE)
        return found

    def why_nothing(self) -> str:
        """Why there was no measure."""
        if self._missing is not None:
            return str(self._missing)
        if self._names and self._pattern is None:
            return f"{self.path} has no {self.log.metric or 'loss'!r}; it has {listed(self._names)}; see --metric"
        if self.path.is_file():
            return f"{self.path} has no {'rows' if self._pattern is None else 'line that matches --loss-pattern'}"
        above = next((folder for folder in (self.path, *self.path.parents) if folder.is_dir()), Path())
        inside = ", ".join(plain(file.relative_to(above)) for file in islice(files_in(above), 8)) or "no files"
        return f"no log came at {self.path}; {'the working folder' if above == Path() else above} has {inside}"

    def _new(self, file: Path, mark: _Mark, kind: int, *, has_ended: bool) -> list[Measure]:
        former_mark, former = self._former.get(file, ((0, 0), []))
        if mark == former_mark:
            return []
        rows = self._read(file, has_ended=has_ended)
        key = STATE if file.name == STATE else str(file)  # each state has the whole history
        if former and (rows[: len(former)] != former or (has_ended and len(rows) == len(former))):
            del self._former[file]  # the program has rewritten the file
            former = []
        for row in rows:
            self._names |= dict.fromkeys(row)
        begin = max(len(former), self._seen.get(key, 0))
        measures = [measure for row in rows[begin:] if (measure := self._measure(row)) is not None]
        if measures:
            self._kind = kind
        if self._kind is not None:
            self._seen[key] = max(begin, len(rows))
        return measures

    def _measure(self, row: Row) -> Measure | None:
        if self._pattern is not None:
            return measure_of_line(row["line"], self._pattern)
        return measure_of_row(row, self.log)

    def _read(self, file: Path, *, has_ended: bool) -> list[Row]:
        try:
            if self._pattern is not None:
                return [{"line": line} for line in read_lines(file, has_ended=has_ended)]
            return read_rows(file, has_ended=has_ended)
        except FileNotFoundError:
            pass
        except MissingExtraError as error:
            self._missing = error
        return []

    def _files(self) -> list[tuple[Path, int]]:
        """The log's files and their kinds, by kind and then by time."""
        if self.path.is_file():
            return [(self.path, 0)]
        if self._pattern is not None:
            found = [(file, 0) for file in files_in(self.path) if file.suffix in TEXTS]
        else:
            found = [(file, kind) for file in files_in(self.path) if (kind := kind_of(file)) is not None]
        return sorted(found, key=lambda each: (each[1], change_of(each[0])))


def files_in(folder: Path) -> Iterator[Path]:
    """The files of a folder and its subfolders, without hidden folders; at most a thousand."""
    walk = os.walk(folder)

    def files() -> Iterator[Path]:
        for place, folders, names in walk:
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(place, name) for name in sorted(names))

    return islice(files(), _MOST_FILES)


def change_of(file: Path) -> _Mark:
    """Changes when the file changes; orders files by the time of their last change."""
    try:
        info = file.stat()
    except OSError:
        return 0, 0
    return info.st_mtime_ns, info.st_size
