"""Sweeps of other tools → records, with a report of the rows that were left out or reinterpreted."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, plain
from lrtune.records.columns import Columns, Found, find_columns, seed_column
from lrtune.records.condition import Condition, parse_condition
from lrtune.records.history import Reading, last_of_each_run, without_copies_across
from lrtune.records.knobs import agreed, range_of
from lrtune.records.left_out import LeftOut
from lrtune.records.minimized import best_records, best_runs, without
from lrtune.records.notation import Kind, Reader, is_blank, number, readers
from lrtune.records.outcome import Run, runs_of
from lrtune.records.record import TrialRecord
from lrtune.records.sources import Recorded, open_source
from lrtune.records.table import Row, Table
from lrtune.records.tables import read_file
from lrtune.rule.knob import Coordinate
from lrtune.study.knob import AS_IT_IS
from lrtune.trainer.trial import Facts

__all__ = ["Columns", "Imported", "read_sources", "read_table"]

_UPDATES = ("update_ratio", "relative_update")
_LARGEST_SIZE = 2.0**31
_LARGEST_SCALE = 1e30
_LARGEST_LOSS = 1e30
_RATES = (1e-30, 1e6)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Records, their scales, how their knobs are searched, summary lines (rows read and left out), and warnings."""

    records: tuple[TrialRecord, ...]
    scales: tuple[str, ...]
    knobs: Mapping[str, Coordinate]
    summary: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The readings of one table, before copies in other tables are removed."""

    table: Table
    maximize: bool
    found: Found
    seed: str | None
    failed: Callable[[Mapping[str, Any]], bool] | None
    readings: list[Reading]
    left_out: LeftOut
    notes: list[str]


def read_sources(sources: Sequence[Any], columns: Columns | None = None) -> Imported:
    """Read tables, folders, records files and Optuna storages into one list of records.

    Args:
        sources: paths, storage URLs, or tables in memory (pandas, polars, Arrow, a list of mappings).

    Raises:
        InputError: `sources` is empty, a source is missing or of unknown kind, a column is missing, or most rows are
            not usable.
    """
    if not sources:
        raise InputError("sources: expected a table, a run folder or a storage URL, but got none")
    columns = columns or Columns()
    opened = [open_source(source) for source in sources]
    tables = [found for found in opened if isinstance(found, Table)]
    flags = columns.flags()
    for flag in flags if not tables else ():
        if flag != "--minimize-over":
            raise InputError(f"{flag}: applies only to tables, but {sources[0]} holds records of lrtune")
    parts = [_part(table, columns) for table in tables]
    alone = without_copies_across([part.readings for part in parts], [part.left_out for part in parts])
    seeds: dict[str, int] = {}
    read = [_records(replace(part, readings=own), seeds) for part, own in zip(parts, alone, strict=True)]
    ordered = [_imported(found, columns) if isinstance(found, Recorded) else read.pop(0) for found in opened]
    records = [record for part in ordered for record in part.records]
    lines = tuple(line for part in ordered for line in part.summary)
    if not records:
        raise InputError("; ".join(lines) + ": no usable runs")
    return Imported(
        records=tuple(replace(record, trial=n) for n, record in enumerate(records)),
        scales=tuple(dict.fromkeys(name for part in ordered for name in part.scales)),
        knobs=agreed([part.knobs for part in ordered]),
        summary=lines,
        warnings=tuple(line for part in ordered for line in part.warnings),
    )


def read_table(path: str | Path, columns: Columns) -> Imported:
    """Read one table.

    Raises:
        InputError: it cannot be read, a column is missing, or most rows are not usable.
    """
    part = _part(read_file(Path(path)), columns)
    return _records(part, {})


def _imported(found: Recorded, columns: Columns) -> Imported:
    """Records of lrtune; with `--minimize-over`, the best over a scale, knob, option or condition of theirs."""
    over, records, lines = columns.minimize_over, found.records, list(found.lines)
    if over:
        records = tuple(without(record, over) for record in best_records(records, over, lines))
    scales = dict.fromkeys(["hidden_size", *(name for record in records for name in record.scales)])
    names = dict.fromkeys(name for record in records for name in record.knobs)
    knobs = {name: found.knobs.get(name, AS_IT_IS) for name in names}
    return Imported(records=records, scales=tuple(scales), knobs=knobs, summary=tuple(lines))


def _part(table: Table, columns: Columns) -> _Part:
    """Rows → one reading for each run."""
    found = find_columns(table, columns)
    maximise = table.objectives.get(found.loss)
    if columns.maximize and maximise is False:
        raise InputError(f"--maximize: cannot apply: the study in {table.source} minimises {found.loss!r}")
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
    return _Part(
        table=table,
        maximize=columns.maximize or bool(maximise),
        found=found,
        seed=seed,
        failed=_holds(conditions["--failed-when"], read) if "--failed-when" in conditions else None,
        readings=last_of_each_run(readings, table.names, found.used, seed, left_out),
        left_out=left_out,
        notes=[*table.notes, *found.notes, *dict.fromkeys(reader.note for reader in read.values() if reader.note)],
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
    loss = read[found.loss, "loss"].read(written)
    if loss is not None and abs(loss) > _LARGEST_LOSS:
        loss = math.inf
    return Reading(
        source=source,
        place=row.place,
        cells=cells,
        scales=scales,
        knobs=knobs,
        learning_rate=rate,
        loss=loss,
        written=written,
    )


def _holds(condition: Condition, read: Mapping[tuple[str, Kind], Reader]) -> Callable[[Mapping[str, Any]], bool]:
    """A condition over the cells of a row, with numbers in the notation of their columns."""

    def holds(cells: Mapping[str, Any]) -> bool:
        meant = {name: read[name, "other"].read(cells.get(name)) for name in condition.columns}
        return condition({name: cells.get(name) if value is None else value for name, value in meant.items()})

    return holds


def _records(part: _Part, seeds: dict[str, int]) -> Imported:
    """The records of a part, with one line for each reason to leave out rows."""
    runs = runs_of(part.readings, part.table, part.found, part.failed, part.left_out)
    over = part.found.minimize_over
    chosen: list[str] = []
    kept = best_runs(runs, over, part.maximize, part.left_out, chosen) if over else runs
    readings = [run.reading for run in kept]
    lines = [*part.left_out.lines(len(kept)), *part.notes, *chosen, *_repeats(readings, part)]
    lines += [range_of(*knob, readings) for knob in part.found.coordinates.items() if readings]
    return Imported(
        records=tuple(_record(run, n, part, seeds) for n, run in enumerate(kept)),
        scales=tuple(part.found.scales),
        knobs=part.found.coordinates,
        summary=tuple(lines),
        warnings=tuple(part.left_out.warnings(len(kept))),
    )


def _repeats(readings: Sequence[Reading], part: _Part) -> list[str]:
    """A warning about settings that vary at one size and rate."""
    groups: dict[tuple[float, ...], list[Reading]] = defaultdict(list)
    for reading in readings:
        groups[reading.setting].append(reading)
    several = [group for group in groups.values() if len(group) > 1]
    varying = []
    for name in part.table.names if several else ():
        levels = {str(reading.cells.get(name)) for reading in readings}
        if name in part.found.used or name == part.seed or not 1 < len(levels) <= max(2, len(readings) // 3):
            continue
        if any(len({str(reading.cells.get(name)) for reading in group}) > 1 for group in several):
            varying.append(name)
    if not varying:
        return []
    which = plain(", ".join(varying[:5]))
    return [f"{which} vary at one size and rate and count as repeats; see --scale, --knob and --minimize-over"]


def _record(run: Run, number_: int, part: _Part, seeds: dict[str, int]) -> TrialRecord:
    scales = dict(run.reading.scales)
    cells = run.reading.cells
    # A table without hidden sizes gets the placeholder 1; no law uses it.
    hidden_size = round(scales.pop("hidden_size", 1.0))
    loss = None if run.loss is None else -run.loss if part.maximize else run.loss
    update = next((u for name in _UPDATES if (u := number(cells.get(name))) is not None), None)
    curve: dict[str, list[float | None]] = {}
    if update is not None and math.isfinite(update):
        curve = {"step": [1], "loss": [loss], _UPDATES[0]: [update]}
    values = {condition: number(cells.get(column)) for column, condition in part.found.conditions.items()}
    return TrialRecord(
        trial=0,
        facts=Facts(conditions={n: v for n, v in values.items() if v is not None and math.isfinite(v)}),
        hidden_size=hidden_size,
        learning_rate=run.reading.learning_rate,
        seed=_seed(cells.get(part.found.seed) if part.found.seed else None, number_, seeds),
        status=run.status,
        steps=1,
        steps_done=1,
        loss=loss,
        scales=scales,
        knobs=dict(run.reading.knobs),
        curve=curve,
        why=f"imported from {run.reading.source}, {run.reading.place}",
    )


def _seed(cell: Any, number_: int, seeds: dict[str, int]) -> int:
    """The number of a seed, which may be any text; a run without a seed gets a new number."""
    if is_blank(cell):
        return number_
    value = number(cell)
    if value is not None and math.isfinite(value) and value == int(value) and abs(value) < 2**31:
        return int(value)
    return seeds.setdefault(str(cell).strip(), len(seeds))
