"""Finds the log of a program that prints no JSON lines of lrtune: runs it once and looks at what it wrote."""

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from lrtune.errors import InputError
from lrtune.study.log import STEP_NAMES, Log
from lrtune.trainer.command import running
from lrtune.trainer.measures import as_number, flat, is_number, measure_of_line
from lrtune.trainer.metrics import TEXTS, change_of, files_in
from lrtune.trainer.places import fill, places
from lrtune.trainer.rows import EVENTS, Row, json_row, kind_of, read_lines, read_rows
from lrtune.trainer.trial import Trial

_LOSS = re.compile(r"(?i)(?<![a-z])(?:loss|nll|bpb)(?![a-z])|cross.?entropy")
_HELD_OUT = re.compile(r"(?i)(?<![a-z])(?:val|valid|validation|eval|evaluation|test|dev|held.?out)(?![a-z])")
_IN_TEXT = re.compile(r"(?i)((?:[a-z_/]+ ?){0,3}(?:loss|nll|bpb)[\"']?\s*[:=]?\s*[\"']?)(?:[-+]?\d[\d.e+-]*|nan|inf)\b")
_NUMBER = r"([\w.+-]+)"
_QUOTED = re.compile(r"[\"'][\"': =]*$")  # a key's end: a pattern with quotes is hard to type in a shell
_UNSTABLE = {0, 1}  # kinds whose files have other names in every run


@dataclass(frozen=True)
class FoundLog:
    """A log that a program writes: its `Log`, one line on what it holds, and how many losses have no step."""

    log: Log
    text: str
    uncounted: int = 0


def discover(command: Sequence[str], trial: Trial) -> FoundLog | None:
    """Run the program once and return the log that most likely has the validation loss; None without any.

    Raises:
        InputError: the program was not found, or writes every run's log to the same place.
    """
    with tempfile.TemporaryDirectory(prefix="lrtune-") as folder:
        output = Path(folder) / "output"
        arguments = fill(command, trial, output)
        own = _own_places(command, arguments)
        roots = [Path(), *(place for place in own if not place.is_relative_to(Path().resolve()))]
        before = {file: change_of(file) for root in roots for file in files_in(root)}
        with running(arguments, trial, output, with_errors=True) as printed:
            lines = [line for batch in printed.batches() for line in batch]
        files = [file for root in roots for file in files_in(root) if before.get(file) != change_of(file)]
        rows = [row for line in lines if (row := json_row(line)) is not None]
        found = [
            *(replace(each, text=f"JSON lines on the output have {each.text}") for each in _in_rows(rows)),
            *_in_files(files, own, trial.id),
            *(replace(each, text=f"the output has {each.text}") for each in _in_text(lines)),
        ]
    # The held-out loss before others; then the order above.
    found.sort(key=lambda each: not _HELD_OUT.search(each.log.metric or each.log.loss_pattern))
    return found[0] if found else None


def _in_files(files: Iterable[Path], own: Mapping[Path, str], name: str) -> Iterator[FoundLog]:
    """The logs in files; `own` are the places that the command names for one run, `name` is the run's."""
    for file in files:
        kind = kind_of(file)
        if kind is None and file.suffix not in TEXTS:
            continue
        for found in _in_rows(read_rows(file)) if kind is not None else _in_text(read_lines(file)):
            place = _place(file, own, name, whole=kind not in _UNSTABLE)
            text = f"{_short(file.name)} has {found.text}"
            if place is None:
                raise InputError(
                    f"log: {text}, but every run would write to {file}; give the command a folder of its own for each "
                    "run: {id} or {output}"
                )
            yield replace(found, log=replace(found.log, metrics=place), text=text)


def _in_text(lines: Iterable[str]) -> Iterator[FoundLog]:
    """A pattern for each of the words before a number that may be a loss, the most frequent first."""
    texts = [line for line in lines if json_row(line) is None]
    counts = Counter(words.lstrip() for line in texts for words in _IN_TEXT.findall(line))
    for words, count in counts.most_common():
        pattern = _QUOTED.sub(lambda _: r"[^\w.+-]+", re.escape(words).replace(r"\ ", " ")) + _NUMBER
        measures = [found for line in texts if (found := measure_of_line(line, re.compile(pattern))) is not None]
        has_steps = any(measure.step is not None for measure in measures)
        yield FoundLog(Log(loss_pattern=pattern), repr(words), 0 if has_steps else count)


def _in_rows(rows: Sequence[Row]) -> Iterator[FoundLog]:
    """A log for each column of losses."""
    cells = [flat(row) for row in rows]
    for metric in dict.fromkeys(name for row in cells for name in row):
        own = [row for row in cells if is_number(as_number(row.get(metric)))]
        if own and _LOSS.search(metric):
            column = _step_column(own, metric)
            has_steps = column or any(name in own[0] for name in STEP_NAMES)
            yield FoundLog(Log(metric=metric, step_column=column), repr(metric), 0 if has_steps else len(own))


def _step_column(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The column that counts, if it has no usual name."""
    if any(name in rows[0] for name in STEP_NAMES):
        return ""
    for name in rows[0]:
        values = [float(row[name]) for row in rows if is_number(as_number(row.get(name)))]
        counts = len(values) == len(rows) > 1 and all(value.is_integer() for value in values)
        if name != metric and counts and all(one < two for one, two in pairwise(values)):
            return name
    return ""


def _own_places(command: Sequence[str], arguments: Sequence[str]) -> dict[Path, str]:
    """The paths that a command names for one run alone, and how it names them: ``out/{id}``, ``--to={output}``."""
    own = {}
    for word, filled in zip(command, arguments, strict=True):
        name, value = word.rpartition("=")[2], filled.rpartition("=")[2]
        if places(name) & {"id", "output", "learning_rate"} and not is_number(as_number(value)):
            own[Path(value).resolve()] = name
    return own


def _place(file: Path, own: Mapping[Path, str], name: str, *, whole: bool) -> str | None:
    """The path as the command names it, or with a placeholder for the run's name; unless `whole`, a folder."""
    full = file.resolve()
    for place, named in own.items():
        if full.is_relative_to(place):
            return str(Path(named, full.relative_to(place))) if whole else named
    parts = Path(str(file).replace(name, "{id}")).parts
    found = [index for index, part in enumerate(parts) if "{id}" in part]
    if not found:
        return None
    return str(Path(*parts)) if whole else str(Path(*parts[: found[-1] + 1]))


def _short(name: str) -> str:
    """The name of a file, of TensorBoard's without time, host and process."""
    return f"{EVENTS}…" if name.startswith(EVENTS) else name
