"""Sweeps of other tools → records, with a report of the rows that were left out or reinterpreted."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrtune.errors import InputError, plain
from lrtune.records.columns import Columns
from lrtune.records.history import Reading, without_copies_across
from lrtune.records.knobs import agreed, range_of
from lrtune.records.minimized import best_records, best_runs, without
from lrtune.records.notation import is_blank, number
from lrtune.records.outcome import Run, runs_of
from lrtune.records.readings import Readings, readings_of
from lrtune.records.record import TrialRecord
from lrtune.records.sources import Recorded, open_source
from lrtune.records.table import Table
from lrtune.records.tally import goes_wrong
from lrtune.rule.knob import Coordinate
from lrtune.study.knob import AS_IT_IS
from lrtune.trainer.direction import wrong_way
from lrtune.trainer.trial import Facts

_UPDATES = ("update_ratio", "relative_update")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Records, their scales, how their knobs are searched, summary lines (rows read and left out), and warnings."""

    records: tuple[TrialRecord, ...]
    scales: tuple[str, ...]
    knobs: Mapping[str, Coordinate]
    summary: tuple[str, ...]
    warnings: tuple[str, ...] = ()


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
    parts = [readings_of(table, columns) for table in tables]
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


def _imported(found: Recorded, columns: Columns) -> Imported:
    """Records of lrtune; with `--minimize-over`, the best over a scale, knob, option or condition of theirs."""
    over, records, lines = columns.minimize_over, found.records, list(found.lines)
    if over:
        records = tuple(without(record, over) for record in best_records(records, over, lines))
    scales = dict.fromkeys(["hidden_size", *(name for record in records for name in record.scales)])
    names = dict.fromkeys(name for record in records for name in record.knobs)
    knobs = {name: found.knobs.get(name, AS_IT_IS) for name in names}
    lines += filter(None, [goes_wrong(records)])
    return Imported(records=records, scales=tuple(scales), knobs=knobs, summary=tuple(lines))


def _records(part: Readings, seeds: dict[str, int]) -> Imported:
    """The records of a part, with one line for each reason to leave out rows."""
    runs = runs_of(part.readings, part.table, part.found, part.failed, part.left_out)
    over = part.found.minimize_over
    chosen: list[str] = []
    kept = best_runs(runs, over, part.maximize, part.left_out, chosen) if over else runs
    readings = [run.reading for run in kept]
    lines = [*part.left_out.lines(len(kept)), *part.notes, *chosen, *_repeats(readings, part)]
    lines += [range_of(*knob, readings) for knob in part.found.coordinates.items() if readings]
    lines += filter(None, [wrong_way(_changes(kept, part.maximize), maximize=part.maximize)])
    return Imported(
        records=tuple(_record(run, n, part, seeds) for n, run in enumerate(kept)),
        scales=tuple(part.found.scales),
        knobs=part.found.coordinates,
        summary=tuple(lines),
        warnings=tuple(part.left_out.warnings(len(kept))),
    )


def _changes(runs: Iterable[Run], maximize: bool) -> list[float]:
    """How much the loss, or minus the measure, grew in each run with several rows."""
    sign = -1.0 if maximize else 1.0
    ends = ((run.loss, run.reading.first) for run in runs if run.status in ("finished", "beaten"))
    found = [sign * (last - first) for last, first in ends if last is not None and first is not None]
    return [change for change in found if math.isfinite(change)]


def _repeats(readings: Sequence[Reading], part: Readings) -> list[str]:
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


def _record(run: Run, number_: int, part: Readings, seeds: dict[str, int]) -> TrialRecord:
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
        maximize=part.maximize,
    )


def _seed(cell: Any, number_: int, seeds: dict[str, int]) -> int:
    """The number of a seed, which may be any text; a run without a seed gets a new number."""
    if is_blank(cell):
        return number_
    value = number(cell)
    if value is not None and math.isfinite(value) and value == int(value) and abs(value) < 2**31:
        return int(value)
    return seeds.setdefault(str(cell).strip(), len(seeds))
