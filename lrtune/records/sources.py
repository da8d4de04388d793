"""Open a source: a table of another tool, or records of lrtune."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrtune.errors import InputError
from lrtune.files import open_file
from lrtune.records.jsonl import read_records
from lrtune.records.mlflow_files import TABLES, read_mlflow_database
from lrtune.records.record import TrialRecord
from lrtune.records.sqlite_files import is_sqlite, table_names
from lrtune.records.storages import is_journal, read_study
from lrtune.records.table import Table
from lrtune.records.tables import frame_table, read_file
from lrtune.records.trackers import read_folder
from lrtune.rule.knob import Coordinate
from lrtune.study.knob import coordinates
from lrtune.study.toml import load_study

_SQLITE = "sqlite:///"
_MOST_SAID = 5


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Records of lrtune, the coordinates of their study's knobs, and summary lines (records read and left out)."""

    records: tuple[TrialRecord, ...]
    knobs: Mapping[str, Coordinate]
    lines: tuple[str, ...]


def open_source(source: Any) -> Table | Recorded:
    """Read a path, a storage URL or a table in memory.

    Raises:
        InputError: the source is missing, of unknown kind or cannot be read.
    """
    if not isinstance(source, str | Path):
        return frame_table(source)
    text = str(source)
    place, study = _parted(text.removeprefix(_SQLITE))
    if "://" in place:
        return read_study(place, study)
    if text.startswith(_SQLITE) and not is_sqlite(Path(place)):
        raise InputError(f"{place}: missing, or not a SQLite database")
    if is_sqlite(Path(place)) and table_names(Path(place)) >= TABLES:
        return read_mlflow_database(Path(place))
    if is_sqlite(Path(place)) or is_journal(Path(place)):
        return read_study(place, study)
    path = Path(source)
    if path.is_dir():
        records = path / "records.jsonl"
        return _recorded(records, within=path) if records.exists() else read_folder(path)
    if path.suffix == ".jsonl" and path.is_file() and _holds_records(path):
        return _recorded(path)
    return read_file(path)


def _parted(text: str) -> tuple[str, str]:
    """Split ``STORAGE#STUDY``; a file name or password may also contain ``#``."""
    place, sign, study = text.rpartition("#")
    if not sign or "@" in study or Path(text).exists():
        place, study = text, ""
    return (place if "://" in place or Path(place).exists() else place.partition("?")[0]), study


def _holds_records(path: Path) -> bool:
    with open_file(path) as file:
        first = file.readline(1 << 20)
    return all(name in first for name in (b'"learning_rate"', b'"steps_done"', b'"status"'))


def _recorded(path: Path, *, within: Path | None = None) -> Recorded:
    """The records of a search, without those of comparison arms."""
    found = read_records(path, within=within)
    records = tuple(record for record in found.records if record.arm is None)
    lines = [f"{path}: {len(records)} records"]
    if len(records) < len(found.records):
        lines.append(f"left out: {len(found.records) - len(records)} of comparison arms")
    lines += [f"left out: line {number}: {why}" for number, why in found.bad_lines[:_MOST_SAID]]
    if len(found.bad_lines) > _MOST_SAID:
        lines.append(f"left out: {len(found.bad_lines) - _MOST_SAID} further lines that are not records")
    study = None if within is None else within / "study.toml"
    knobs = coordinates(load_study(study, within=within).knobs) if study is not None and study.is_file() else {}
    return Recorded(records=records, knobs=knobs, lines=tuple(lines))
