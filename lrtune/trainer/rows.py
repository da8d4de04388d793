"""Reads the log of one run as rows of named values: CSV, JSON lines, ``trainer_state.json``, TensorBoard events.

The log may still grow: an unfinished last line is left out.
"""

import csv
import json
import re
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from lrtune.errors import InputError
from lrtune.extras import import_extra
from lrtune.files import MIB, open_file

Row = Mapping[str, Any]
_MOST_BYTES = 256 * MIB
_NO_NUMBER = re.compile(r"(?i)(?<=[:,\[\s])[+-]?(?:nan|inf|infinity)(?=\s*[,}\]])")
EVENTS = "events.out.tfevents."
STATE = "trainer_state.json"


def read_rows(file: Path, *, has_ended: bool = True) -> list[Row]:
    """The rows of a log; unless the run `has_ended`, without an unfinished last line.

    Raises:
        OSError: the file cannot be read.
        InputError: it is no log.
    """
    if file.name.startswith(EVENTS):
        points = [(when, step, tag, value) for tag, own in scalars(events(file)).items() for when, step, value in own]
        return [{"step": step, tag: value} for _, step, tag, value in sorted(points, key=itemgetter(0))]
    lines = read_lines(file, has_ended=has_ended or file.name == STATE)
    if file.name == STATE:
        return _state_rows(lines)
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith(("{", "[")):
        return [row for line in lines if (row := json_row(line)) is not None]
    return _delimited_rows(lines)


def read_lines(file: Path, *, has_ended: bool = True) -> list[str]:
    """The lines of a text file, without an unfinished last one unless the run `has_ended`.

    Raises:
        OSError: the file cannot be read.
    """
    with open_file(file, most=_MOST_BYTES) as opened:
        text = opened.read().decode("utf-8-sig", errors="replace")
    lines = re.split(r"[\r\n]+", text)
    return lines if has_ended else lines[:-1]


def kind_of(file: Path) -> int | None:
    """The rank of a file among the logs of a folder, lowest first; None if it is no log."""
    if file.name.startswith(EVENTS):
        return 0
    if file.name == STATE:
        return 1
    return {".csv": 2, ".tsv": 2, ".jsonl": 3, ".ndjson": 3}.get(file.suffix)


def json_row(line: str) -> dict[str, Any] | None:
    """The JSON object in a line, or None. Accepts "nan" and "inf" as C, Go or Rust print them."""
    if not line.lstrip().startswith("{"):
        return None
    for text in (line, _NO_NUMBER.sub("NaN", line)):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            continue
        return data if isinstance(data, dict) else None
    return None


def log_history(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of the log in a ``trainer_state.json`` of Hugging Face's Trainer."""
    return [entry for entry in state.get("log_history") or () if isinstance(entry, dict)]


def events(file: Path, *, tensors: int = 0) -> Any:
    """TensorBoard's reader of an events file, with all scalars and the last `tensors` of each tensor (0: all).

    Raises:
        MissingExtraError: tensorboard is not installed.
    """
    module = "tensorboard.backend.event_processing.event_accumulator"
    reader = import_extra(module, extra="tensorboard", purpose=f"reading {file}", package="tensorboard")
    accumulator = reader.EventAccumulator(str(file), size_guidance={"scalars": 0, "tensors": tensors})
    accumulator.Reload()
    return accumulator


def scalars(accumulator: Any) -> dict[str, list[tuple[float, int, float]]]:
    """(time, step, value) of each scalar by tag; newer writers store scalars as tensors."""
    tags = accumulator.Tags()
    found = {
        tag: [(each.wall_time, each.step, each.value) for each in accumulator.Scalars(tag)] for tag in tags["scalars"]
    }
    for tag in tags["tensors"]:
        series = accumulator.Tensors(tag)
        if all(len(event.tensor_proto.float_val) == 1 for event in series):
            found[tag] = [(event.wall_time, event.step, event.tensor_proto.float_val[0]) for event in series]
    return found


def _state_rows(lines: Iterable[str]) -> list[Row]:
    try:
        state = json.loads("\n".join(lines))
    except (ValueError, RecursionError):
        return []  # it is being written
    return list(log_history(state)) if isinstance(state, dict) else []


def _delimited_rows(lines: Iterable[str]) -> list[Row]:
    filled = [line for line in lines if line.strip()]
    if not filled:
        return []
    delimiter = max(",;\t", key=filled[0].count)
    try:
        header, *rest = csv.reader(filled, delimiter=delimiter)
    except csv.Error as error:
        raise InputError(f"metrics: cannot read it as CSV: {error}") from error
    names = [name.strip() for name in header]
    return [{name: cell.strip() for name, cell in zip(names, cells, strict=False)} for cells in rest]
