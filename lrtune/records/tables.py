"""Tables of any kind as rows of cells: CSV, TSV, JSONL, Parquet, the trials of an Optuna study."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, MissingExtraError
from lrtune.fields import unknown_key

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a CSV, TSV, JSONL or Parquet file; nested JSON objects as dotted columns.

    Raises:
        InputError: it is of no known kind or cannot be read; names the line where there is one.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"{path}: expected {', '.join(_SUFFIXES)}, a run folder or a storage URL")
    try:
        if suffix == ".parquet":
            yield from _parquet(path)
        elif suffix in (".jsonl", ".ndjson"):
            yield from _jsonl(path)
        else:
            yield from _csv(path, "\t" if suffix == ".tsv" else None)
    except OSError as error:
        raise InputError(f"{path}: expected a table, but it cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, but byte {error.start} is not") from error


def _csv(path: Path, delimiter: str | None) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        separator = delimiter or max(",;\t|", key=head.count)
        reader = csv.DictReader(file, delimiter=separator, skipinitialspace=True, restkey="")
        try:
            for row in reader:
                row.pop("", None)
                yield {name.strip(): value for name, value in row.items() if name}
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: expected CSV, but {error}") from error


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}, line {number}: expected a JSON object, but got {line[:40]!r}") from error
            if not isinstance(data, dict):
                raise InputError(f"{path}, line {number}: expected a JSON object, but got {type(data).__name__}")
            yield dict(_flat(data, ""))


def _flat(data: Mapping[str, Any], prefix: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Nested objects as dotted columns: ``{"config": {"lr": 1}}`` has the column ``config.lr``."""
    for name, value in data.items():
        if isinstance(value, dict) and depth < 8:
            yield from _flat(value, f"{prefix}{name}.", depth + 1)
        else:
            yield f"{prefix}{name}", value


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("parquet", "pyarrow", f"reading {path}") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{path}: expected Parquet, but it is none ({error!s:.80})") from error
    yield from table.to_pylist()


def study_rows(url: str, loss: str) -> tuple[list[dict[str, Any]], bool]:
    """The trials of an Optuna study that ended, as rows, and whether it maximises.

    ``URL#NAME`` names the study where the storage holds several. The trial's value is in the column `loss` unless a
    parameter or user attribute has that name.

    Raises:
        InputError: no such storage or study, several objectives, or no trial that ended.
    """
    import optuna

    storage_url, _, name = url.partition("#")
    try:
        storage = optuna.storages.get_storage(storage_url)
        names = optuna.get_all_study_names(storage)
    except Exception as error:
        why = str(error).split("\n", 1)[0]
        raise InputError(f"{storage_url}: expected an Optuna storage, but it cannot be opened ({why})") from error
    if not name and len(names) != 1:
        known = ", ".join(names[:8]) or "none"
        raise InputError(f"{storage_url}: expected URL#STUDY to name one of its studies ({known})")
    if name and name not in names:
        raise InputError(unknown_key(storage_url, name, names))
    study = optuna.load_study(study_name=name or names[0], storage=storage)
    if len(study.directions) > 1:
        raise InputError(f"{url}: expected one objective, but the study has {len(study.directions)}")
    trials = study.get_trials(deepcopy=False)
    rows = [row for row in (_trial_row(trial, loss) for trial in trials) if row is not None]
    if not rows:
        raise InputError(f"{url}: expected trials that ended, but the study has none")
    return rows, study.direction == optuna.study.StudyDirection.MAXIMIZE


def _trial_row(trial: Any, loss: str) -> dict[str, Any] | None:
    state = trial.state.name
    if state in ("RUNNING", "WAITING"):
        return None
    row = {**dict(_flat(trial.user_attrs, "")), **trial.params}
    if state == "PRUNED":
        row.setdefault("status", "beaten")
    elif state == "FAIL":
        row["status"] = "failed"
    if loss not in row and trial.values:
        row[loss] = trial.values[0]
    return row
