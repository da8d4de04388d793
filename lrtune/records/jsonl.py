"""Records as lines of strict JSON: ``records.jsonl``, and the results that workers submit."""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from lrtune.errors import InputError
from lrtune.fields import LARGEST
from lrtune.files import MIB, Name, open_file, write_whole
from lrtune.records.record import TrialRecord, negated, parse_record
from lrtune.trainer.trial import Facts

_MAX_LINE = 16 * MIB
_MAX_FILE = 4096 * MIB
_MOST_LINES = 100_000
_MOST_COMPLAINTS = 1000


def to_json(record: TrialRecord) -> str:
    """Write the record as one line of strict JSON (no NaN), with keys in a fixed order.

    NumPy and torch scalars become Python numbers; a value that is not finite or too large becomes null. A measure to
    maximise has the trainer's sign.
    """
    data = asdict(negated(record))
    if not record.maximize:
        del data["maximize"]
    for name in ("knobs", "beaten"):
        if not data[name]:
            del data[name]
    return json.dumps(_simple(data), allow_nan=False, separators=(",", ":"))


def _simple(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _simple(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(item) for item in value]
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) and abs(value) <= LARGEST else None
    if getattr(value, "ndim", None) == 0:  # a numpy or torch scalar
        return _simple(value.item())
    return str(value)


def hand_in(record: TrialRecord) -> str:
    """The line that a worker submits; `from_json` accepts it.

    An invalid record becomes the record of a failed run; `why` gives the reason.
    """
    try:
        return to_json(from_json(to_json(record)))
    except (InputError, RecursionError, ValueError) as error:
        why = f"cannot record the trainer's result: {error!s:.400}"
        bare = replace(record, loss=None, diversity=None, curve={}, facts=Facts(), texts={}, plan={}, tokens=None)
        return to_json(replace(bare, status="failed", why=why))


def from_json(line: str) -> TrialRecord:
    """Parse one line.

    Raises:
        InputError: the line is not a record; the message names the wrong field and does not quote the line.
    """
    if len(line) > _MAX_LINE:
        raise InputError(f"expected a record of at most {_MAX_LINE} characters, but got {len(line)}")
    try:
        data = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a JSON object ({type(error).__name__})") from error
    if not isinstance(data, dict):
        raise InputError(f"expected a JSON object, but got {type(data).__name__}")
    return parse_record(data)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True)
class RecordsFile:
    """The content of a records file: its records, and (number, reason) of each invalid line."""

    records: list[TrialRecord]
    bad_lines: list[tuple[int, str]]


def read_records(path: Path, *, within: Name | None = None) -> RecordsFile:
    """Read a ``records.jsonl``. Invalid lines are reported by number and skipped.

    Args:
        within: the run folder that must contain the file after links are resolved.

    Raises:
        InputError: the file is missing, too long or cannot be read, or its first thousand lines hold no record.
    """
    records: list[TrialRecord] = []
    bad: list[tuple[int, str]] = []
    try:
        with open_file(path, within=within, most=_MAX_FILE) as file:
            lines = sum(part.count(b"\n") for part in iter(lambda: file.read(MIB), b""))
            if lines > _MOST_LINES:
                raise InputError(f"{path}: expected at most {_MOST_LINES:,} records, but got {lines:,} lines")
            file.seek(0)
            for number, line in _lines(file):
                try:
                    records.append(from_json(line.decode("utf-8", "replace")))
                except InputError as error:
                    is_torn = not line.endswith(b"\n")
                    bad.append((number, f"torn last line: {error}" if is_torn else str(error)))
                if len(bad) >= _MOST_COMPLAINTS and not records:
                    raise InputError(f"{path}: expected records, but the first {len(bad):,} lines hold none")
    except OSError as error:
        raise InputError(f"{path}: cannot read the records: {error.strerror}") from error
    return RecordsFile(records, bad[:_MOST_COMPLAINTS])


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The non-blank lines with their numbers; a line that is too long is cut."""
    for number in itertools.count(1):
        line = file.readline(_MAX_LINE + 1)
        if not line:
            return
        if len(line) > _MAX_LINE:
            while (rest := file.readline(MIB)) and not rest.endswith(b"\n"):
                pass
        if line.strip():
            yield number, line


def write_records(path: Path, records: Iterable[TrialRecord]) -> None:
    """Write the file atomically, in order of trial number."""
    ordered = sorted(records, key=lambda record: record.trial)
    write_whole(path, "".join(to_json(record) + "\n" for record in ordered))
