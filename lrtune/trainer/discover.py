"""Finds the log of a program that prints no JSON lines of lrtune: runs it once and looks at what it wrote."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lrtune.errors import InputError
from lrtune.study.log import STEP_NAMES, Log
from lrtune.trainer.command import running
from lrtune.trainer.measures import as_number, flat
from lrtune.trainer.metrics import change_of, files_in
from lrtune.trainer.places import fill
from lrtune.trainer.rows import Row, json_row, kind_of, read_rows
from lrtune.trainer.trial import Trial

_LOSS = re.compile(r"(?i)(?<![a-z])(?:loss|nll|bpb)(?![a-z])|cross.?entropy")
_HELD_OUT = re.compile(r"(?i)(?<![a-z])(?:val|valid|validation|eval|evaluation|test|dev|held.?out)(?![a-z])")
_IN_TEXT = re.compile(r"(?i)((?:[a-z_/]+ ?){0,3}(?:loss|nll|bpb)\s*[:=]?\s*)(?:[-+]?\d[\d.e+-]*|nan|inf)\b")
_NUMBER = r"([\w.+-]+)"
_UNSTABLE = {0, 1}  # kinds whose files have other names in every run


@dataclass(frozen=True)
class FoundLog:
    """A log that a program writes: its `Log`, and one line on what it holds."""

    log: Log
    text: str


def discover(command: Sequence[str], trial: Trial) -> FoundLog | None:
    """Run the program once and return the log that most likely has the validation loss; None without any.

    Raises:
        InputError: the program was not found, or writes every run's log to the same place.
    """
    before = {file: change_of(file) for file in files_in(Path())}
    with tempfile.TemporaryDirectory(prefix="lrtune-") as folder:
        output = Path(folder) / "output"
        with running(fill(command, trial, output), trial, output, with_errors=True) as printed:
            lines = [line for batch in printed.batches() for line in batch]
        files = [file for file in files_in(Path()) if before.get(file) != change_of(file)]
        found = [*_in_json(lines), *_in_files([*files, *files_in(output)], trial.id, output), *_in_text(lines)]
    # The held-out loss before others; then the order above.
    found.sort(key=lambda each: not _HELD_OUT.search(each.log.metric or each.log.loss_pattern))
    return found[0] if found else None


def _in_json(lines: Iterable[str]) -> Iterator[FoundLog]:
    for log in _logs([row for line in lines if (row := json_row(line)) is not None]):
        yield FoundLog(log, f"JSON lines on the output have {log.metric!r}")


def _in_files(files: Iterable[Path], name: str, output: Path) -> Iterator[FoundLog]:
    for file in files:
        kind = kind_of(file)
        if kind is None:
            continue
        for log in _logs(read_rows(file)):
            place = _place(file, name, output, whole=kind not in _UNSTABLE)
            text = f"{file.name} has {log.metric!r}"
            if place is None:
                raise InputError(
                    f"log: {text}, but every run would write to {file}; give the command a folder of its own for each "
                    "run: {id} or {output}"
                )
            yield FoundLog(Log(metrics=place, metric=log.metric, step_column=log.step_column), text)


def _in_text(lines: Iterable[str]) -> Iterator[FoundLog]:
    counts: dict[str, int] = {}
    for line in lines:
        if json_row(line) is None:
            for words in _IN_TEXT.findall(line):
                counts[words.lstrip()] = counts.get(words.lstrip(), 0) + 1
    for words in sorted(counts, key=lambda each: -counts[each]):
        yield FoundLog(Log(loss_pattern=re.escape(words).replace(r"\ ", " ") + _NUMBER), f"the output has {words!r}")


def _logs(rows: Sequence[Row]) -> Iterator[Log]:
    """A log for each column of losses."""
    cells = [flat(row) for row in rows]
    for metric in dict.fromkeys(name for row in cells for name in row):
        own = [row for row in cells if _is_number(row.get(metric))]
        if own and _LOSS.search(metric):
            yield Log(metric=metric, step_column=_step_column(own, metric))


def _step_column(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The column that counts, if it has no usual name."""
    if any(name in rows[0] for name in STEP_NAMES):
        return ""
    for name in rows[0]:
        values = [float(row[name]) for row in rows if _is_number(row.get(name))]
        counts = len(values) == len(rows) > 1 and all(value.is_integer() for value in values)
        if name != metric and counts and all(one < two for one, two in pairwise(values)):
            return name
    return ""


def _place(file: Path, name: str, output: Path, *, whole: bool) -> str | None:
    """The path with placeholders for the trial's own parts; up to the last of them unless `whole`."""
    path = str(file).replace(str(output), "{output}").replace(name, "{id}")
    parts = Path(path).parts
    own = [index for index, part in enumerate(parts) if "{id}" in part or "{output}" in part]
    if not own:
        return None
    return path if whole else str(Path(*parts[: own[-1] + 1]))


def _is_number(value: object) -> bool:
    return isinstance(as_number(value), int | float) and not isinstance(value, bool)
