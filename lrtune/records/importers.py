"""Other people's sweeps → records: tables, Optuna storages, run folders; what was left out is counted and said."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrtune.errors import InputError
from lrtune.fields import unknown_key
from lrtune.records.condition import Condition, parse_condition
from lrtune.records.jsonl import read_records
from lrtune.records.record import STATUSES, TrialRecord
from lrtune.records.tables import study_rows, table_rows
from lrtune.trainer.trial import Facts

_UPDATES = ("update_ratio", "relative_update")
# Columns that are known to move the best rate, by what a rule calls them: kept though nobody asked for them.
_BESIDE = {
    **dict.fromkeys(("depth", "layers", "num_layers", "n_layers", "n_layer", "num_hidden_layers"), "depth"),
    **dict.fromkeys(("batch", "batch_size", "train_batch_size", "global_batch_size", "bs"), "batch"),
    **dict.fromkeys(("context", "context_length", "seq_len", "sequence_length", "seq_length"), "context"),
}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column is what.

    Attributes:
        learning_rate, loss: names of their columns; for an Optuna storage the name of the parameter, and of a user
            attribute where the loss is not the trial's value.
        scales: column by name of the scale.
        seed: column of the seed; where there is none, every run is a seed of its own.
        minimize_over: further swept columns: at each rate their best value counts.
        maximize: higher is better; the measure enters negated.
        failed_when: condition (see `lrtune.records.condition`) for rows to be taken as diverged.
    """

    learning_rate: str = "lr"
    loss: str = "loss"
    scales: Mapping[str, str] = field(default_factory=lambda: {"hidden_size": "hidden_size"})
    seed: str | None = None
    minimize_over: tuple[str, ...] = ()
    maximize: bool = False
    failed_when: str | None = None


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Records, the scales that they have, and a line for each thing that was read or left out."""

    records: tuple[TrialRecord, ...]
    scales: tuple[str, ...]
    summary: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    """A usable row: its scales, rate, loss (None: failed) and what the columns beside them say."""

    scales: dict[str, float]
    learning_rate: float
    loss: float | None
    status: str
    seed: int | None
    cells: Mapping[str, Any]


def read_sources(sources: Sequence[str | Path], columns: Columns | None = None) -> Imported:
    """Read tables, run folders, records files and Optuna storages into one list of records.

    Raises:
        InputError: nothing was named, a source is missing or of no known kind, a column is not there.
    """
    if not sources:
        raise InputError("sources: expected a table, a run folder or a storage URL, but got none")
    columns = columns or Columns()
    parts = [_read(source, columns) for source in sources]
    records = [record for part in parts for record in part.records]
    scales = tuple(dict.fromkeys(name for part in parts for name in part.scales))
    if not records:
        raise InputError("; ".join(line for part in parts for line in part.summary) + ": nothing usable was read")
    numbered = tuple(replace(record, trial=number) for number, record in enumerate(records))
    return Imported(records=numbered, scales=scales, summary=tuple(line for part in parts for line in part.summary))


def read_table(path: str | Path, columns: Columns) -> Imported:
    """Read one CSV, TSV, JSONL or Parquet table.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    path = Path(path)
    rows = list(table_rows(path))
    if not rows:
        raise InputError(f"{path}: expected a table with at least one row, but it is empty")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return _import(str(path), rows, names, columns)


def _read(source: str | Path, columns: Columns) -> Imported:
    text = str(source)
    if "://" in text:
        rows, maximize = study_rows(text, columns.loss)
        names = list(dict.fromkeys([*(name for row in rows for name in row), columns.loss]))
        return _import(text, rows, names, replace(columns, maximize=columns.maximize or maximize))
    path = Path(source)
    if path.is_dir():
        return _read_run(path / "records.jsonl")
    if path.suffix == ".jsonl" and path.is_file() and _holds_records(path):
        return _read_run(path)
    return read_table(path, columns)


def _holds_records(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline(1 << 20)
    return '"learning_rate"' in first and '"steps_done"' in first and '"status"' in first


def _read_run(path: Path) -> Imported:
    """A run's own records and the scales that it swept; those of arms belong to comparisons and stay out."""
    found = read_records(path)
    records = [record for record in found.records if record.arm is None]
    scales = tuple(dict.fromkeys(["hidden_size", *(name for record in records for name in record.scales)]))
    lines = [f"{path}: {len(records)} records"]
    if len(records) < len(found.records):
        lines.append(f"left out: {len(found.records) - len(records)} of comparison arms")
    lines += [f"left out: line {number}: {why}" for number, why in found.bad_lines[:5]]
    if len(found.bad_lines) > 5:
        lines.append(f"left out: {len(found.bad_lines) - 5} further lines that are no records")
    return Imported(records=tuple(records), scales=scales, summary=tuple(lines))


def _import(source: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str], columns: Columns) -> Imported:
    """Rows → records, with a count of each reason for which one was left out."""
    needed = [("--lr", columns.learning_rate), ("--loss", columns.loss)]
    needed += [(f"--scale {name}", column) for name, column in columns.scales.items()]
    needed += [("--minimize-over", column) for column in columns.minimize_over]
    needed += [("--seed", columns.seed)] if columns.seed else []
    for flag, column in needed:
        if column not in names:
            raise InputError(unknown_key(f"{source}: {flag}", column, names))
    if not columns.scales:
        raise InputError("--scale: expected at least one NAME=COLUMN, hidden_size=width say, but got none")
    failed = parse_condition(columns.failed_when, list(names)) if columns.failed_when else None
    counts: Counter[str] = Counter()
    usable = [row for row in (_row(cells, columns, failed, counts) for cells in rows) if row is not None]
    kept = _best_over(usable, columns.minimize_over, counts) if columns.minimize_over else usable
    lines = [f"{source}: {len(rows)} rows read, {len(kept)} used"]
    lines += [f"{reason}: {count} rows" for reason, count in sorted(counts.items())]
    lines += _repeats(kept, columns, names)
    # Without a column of seeds nothing says which runs shared data and weights: each is a seed of its own.
    beside = _beside(columns, names)
    records = tuple(_record(row, number, source, beside) for number, row in enumerate(kept))
    return Imported(records=records, scales=tuple(columns.scales), summary=tuple(lines))


def _row(cells: Mapping[str, Any], columns: Columns, failed: Condition | None, counts: Counter[str]) -> _Row | None:
    rate = _number(cells.get(columns.learning_rate))
    if rate is None or not (math.isfinite(rate) and rate > 0):
        counts[f"left out, no positive learning rate in {columns.learning_rate!r}"] += 1
        return None
    scales = {}
    for name, column in columns.scales.items():
        value = _number(cells.get(column))
        if value is None or not (math.isfinite(value) and value > 0) or (name == "hidden_size" and round(value) < 1):
            counts[f"left out, no positive {name} in {column!r}"] += 1
            return None
        scales[name] = value
    status = str(cells.get("status") or "").lower()
    status = status if status in STATUSES else "finished"
    loss = _number(cells.get(columns.loss))
    if status == "failed":
        counts["left out, failed"] += 1
        return None
    if failed is not None and failed(cells):
        status = "diverged"
        counts[f"taken as diverged by {columns.failed_when!r}"] += 1
    elif status == "finished" and loss is None:
        counts[f"left out, no number in {columns.loss!r}"] += 1
        return None
    elif status == "finished" and loss is not None and not math.isfinite(loss):
        status = "diverged"
        counts[f"taken as diverged, {columns.loss!r} is not finite"] += 1
    elif status in ("beaten", "collapsed", "diverged"):
        counts[f"ended early, {status}"] += 1
    finite = loss if loss is not None and math.isfinite(loss) else None
    value = None if finite is None else -finite if columns.maximize else finite
    seed = _number(cells.get(columns.seed)) if columns.seed else None
    return _Row(scales, rate, value, status, None if seed is None or not math.isfinite(seed) else int(seed), cells)


def _number(value: Any) -> float | None:
    """A number, also as text; None for what is empty or no number."""
    if isinstance(value, bool):
        return None
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def _best_over(rows: Iterable[_Row], over: Sequence[str], counts: Counter[str]) -> list[_Row]:
    """At each place and rate, the rows whose other settings have the least mean loss."""
    groups: dict[tuple[Any, ...], dict[tuple[str, ...], list[_Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        settings = tuple(str(row.cells.get(column)) for column in over)
        groups[*row.scales.values(), row.learning_rate][settings].append(row)
    kept = []
    for settings_of in groups.values():
        best = min(settings_of.values(), key=_mean_loss)
        kept += best
        left = sum(len(group) for group in settings_of.values()) - len(best)
        if left:
            counts[f"left out, not the best over {', '.join(over)}"] += left
    return kept


def _mean_loss(rows: Sequence[_Row]) -> float:
    losses = [row.loss for row in rows if row.status == "finished" and row.loss is not None]
    return sum(losses) / len(losses) if losses else math.inf


def _repeats(rows: Sequence[_Row], columns: Columns, names: Sequence[str]) -> list[str]:
    """A line about settings that vary where nothing should: their rows count as repeats."""
    groups: dict[tuple[float, ...], list[_Row]] = defaultdict(list)
    for row in rows:
        groups[(*row.scales.values(), row.learning_rate)].append(row)
    used = {columns.learning_rate, columns.loss, columns.seed, *columns.scales.values()}
    several = [group for group in groups.values() if len(group) > 1]
    varying = []
    for name in names:
        levels = {str(row.cells.get(name)) for row in rows}
        if name in used or not 1 < len(levels) <= max(2, len(rows) // 3):
            continue
        if any(len({str(row.cells.get(name)) for row in group}) > 1 for group in several):
            varying.append(name)
    if not varying:
        return []
    return [f"{', '.join(varying[:5])} vary at one size and rate and count as repeats; see --scale and --minimize-over"]


def _beside(columns: Columns, names: Sequence[str]) -> dict[str, str]:
    """Columns that describe the model or its training and were not asked for, by the condition that they become."""
    used = {columns.learning_rate, columns.loss, columns.seed, *columns.scales.values(), *columns.minimize_over}
    found = {}
    for name in names:
        condition = _BESIDE.get(name.lower())
        if condition and name not in used and condition not in columns.scales:
            found[name] = condition
    return found


def _record(row: _Row, number: int, source: str, beside: Mapping[str, str]) -> TrialRecord:
    scales = dict(row.scales)
    # A table over other scales than width has no hidden size; 1 stands for it and no law uses it.
    hidden_size = round(scales.pop("hidden_size", 1.0))
    update = next((u for name in _UPDATES if (u := _number(row.cells.get(name))) is not None), None)
    curve: dict[str, list[float | None]] = {}
    if update is not None and math.isfinite(update):
        curve = {"step": [1], "loss": [row.loss], _UPDATES[0]: [update]}
    values = {condition: _number(row.cells.get(column)) for column, condition in beside.items()}
    return TrialRecord(
        trial=0,
        facts=Facts(conditions={n: v for n, v in values.items() if v is not None and math.isfinite(v)}),
        hidden_size=hidden_size,
        learning_rate=row.learning_rate,
        seed=number if row.seed is None else row.seed,
        status=row.status,  # type: ignore[arg-type]
        steps=1,
        steps_done=1,
        loss=row.loss,
        scales=scales,
        curve=curve,
        why=f"imported from {source}",
    )
