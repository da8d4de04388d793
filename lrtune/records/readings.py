"""The rows of one table → one reading for each run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lrtune.errors import InputError
from lrtune.records.columns import Columns, Found, find_columns, is_gain, seed_column
from lrtune.records.condition import Condition, parse_condition
from lrtune.records.history import Reading, last_of_each_run
from lrtune.records.left_out import LeftOut
from lrtune.records.notation import Kind, Reader, readers
from lrtune.records.rounded import rounded_places
from lrtune.records.table import Row, Table

_LARGEST_SIZE = 2.0**31
_LARGEST_SCALE = 1e30
_RATES = (1e-30, 1e6)


@dataclass(frozen=True, kw_only=True)
class Readings:
    """The readings of one table, before copies in other tables are removed."""

    table: Table
    maximize: bool
    found: Found
    seed: str | None
    failed: Callable[[Mapping[str, Any]], bool] | None
    readings: list[Reading]
    left_out: LeftOut
    notes: list[str]


def readings_of(table: Table, columns: Columns) -> Readings:
    """Rows → one reading for each run."""
    found = find_columns(table, columns)
    maximise = table.objectives.get(found.loss)
    if columns.maximize and maximise is False:
        raise InputError(f"--maximize: cannot apply: the study in {table.source} minimises {found.loss!r}")
    maximize = columns.maximize or bool(maximise)
    notes = [*table.notes, *found.notes]
    if maximise is None and not maximize and is_gain(found.loss):
        notes.append(f"--loss: the least {found.loss!r:.60} counts as best; if more is better, pass --maximize")
    left_out = LeftOut(table.source)
    conditions = {
        flag: parse_condition(text, table.names, flag=flag)
        for flag, text in (("--failed-when", columns.failed_when), ("--drop-when", columns.drop_when))
        if text
    }
    kinds: list[tuple[str, Kind]] = [(found.learning_rate, "rate"), (found.loss, "loss")]
    kinds += [(column, "size") for column in found.scales.values()]
    kinds += [(column, "rate") for column in found.knobs.values()]
    kinds += [(name, "other") for condition in conditions.values() for name in condition.columns]
    read = readers(table, kinds)
    rows = table.rows
    if "--drop-when" in conditions:
        drops = _holds(conditions["--drop-when"], read)
        rows = tuple(row for row in rows if not drops(row.cells))
        left_out.set_aside(f"dropped by {columns.drop_when!r}", len(table.rows) - len(rows))
    readings = [reading for row in rows if (reading := _reading(table.source, row, found, read, left_out)) is not None]
    seed = seed_column(table, found)
    runs = last_of_each_run(readings, table.names, found.used, seed, left_out)
    places = rounded_places([run.scales for run in runs])
    return Readings(
        table=table,
        maximize=maximize,
        found=found,
        seed=seed,
        failed=_holds(conditions["--failed-when"], read) if "--failed-when" in conditions else None,
        readings=[replace(run, scales=place) for run, place in zip(runs, places, strict=True)],
        left_out=left_out,
        notes=[*notes, *dict.fromkeys(reader.note for reader in read.values() if reader.note)],
    )


def _reading(
    source: str, row: Row, found: Found, read: Mapping[tuple[str, Kind], Reader], left_out: LeftOut
) -> Reading | None:
    """The size, rate and loss of a row; None (counted in `left_out`) if it has no size or rate.

    Raises:
        InputError: a hidden size is not a whole number.
    """
    cells = row.cells
    rate = read[found.learning_rate, "rate"].read(cells.get(found.learning_rate))
    if rate is None or not _RATES[0] < rate < _RATES[1]:
        left_out.add(f"no learning rate in {found.learning_rate!r}", row.place, cells.get(found.learning_rate))
        return None
    scales = {}
    for name, column in found.scales.items():
        value = read[column, "size"].read(cells.get(column))
        if value is None or not 0 < value < (_LARGEST_SIZE if name == "hidden_size" else _LARGEST_SCALE):
            left_out.add(f"no {name} in {column!r}", row.place, cells.get(column))
            return None
        if name == "hidden_size" and abs(value - round(value)) > 1e-6 * value:
            raise InputError(
                f"{source}, {row.place}, column {column!r}: expected a whole number for hidden_size, but got "
                f"{cells.get(column)!r:.40}; remove thousands separators"
            )
        scales[name] = float(round(value)) if name == "hidden_size" else value
    knobs = {}
    for name, column in found.knobs.items():
        value = read[column, "rate"].read(cells.get(column))
        if value is None or not (value == 0 or 1 / _LARGEST_SCALE < value < _LARGEST_SCALE):
            left_out.add(f"no {name} in {column!r}", row.place, cells.get(column))
            return None
        knobs[name] = value
    written = cells.get(found.loss)
    return Reading(
        source=source,
        place=row.place,
        cells=cells,
        scales=scales,
        knobs=knobs,
        learning_rate=rate,
        loss=read[found.loss, "loss"].read(written),
        written=written,
    )


def _holds(condition: Condition, read: Mapping[tuple[str, Kind], Reader]) -> Callable[[Mapping[str, Any]], bool]:
    """A condition over the cells of a row, with numbers in the notation of their columns."""

    def holds(cells: Mapping[str, Any]) -> bool:
        meant = {name: read[name, "other"].read(cells.get(name)) for name in condition.columns}
        return condition({name: cells.get(name) if value is None else value for name, value in meant.items()})

    return holds
