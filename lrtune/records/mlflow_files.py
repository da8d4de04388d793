"""MLflow's two stores: the folder ``mlruns/`` and the SQLite file ``mlflow.db``."""

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, plain
from lrtune.extras import import_extra
from lrtune.files import MIB
from lrtune.records.sqlite_files import connector
from lrtune.records.table import Row, Table, table_of
from lrtune.records.tables import read_bytes

TABLES = {"runs", "params", "latest_metrics"}
_STATES = {"1": "running", "2": "scheduled", "3": "finished", "4": "failed", "5": "killed"}


def read_mlflow_database(path: Path) -> Table:
    """The runs of a database that are not deleted: parameters, last value of each metric, status.

    Raises:
        InputError: the database cannot be read.
    """
    connection = connector(path)()
    try:
        runs: dict[str, dict[str, Any]] = {
            run: {"run_id": run, "status": status}
            for run, status in connection.execute(
                "SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time"
            )
        }
        for run, key, value in connection.execute("SELECT run_uuid, key, value FROM params"):
            runs.get(run, {})[f"params.{key}"] = value
        for run, key, value, is_nan in connection.execute("SELECT run_uuid, key, value, is_nan FROM latest_metrics"):
            runs.get(run, {})[f"metrics.{key}"] = math.nan if is_nan else value
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot read it as an MLflow database: {error!s:.100}") from error
    finally:
        connection.close()
    return table_of(str(path), (Row(f"run {run}", cells) for run, cells in runs.items()))


def mlflow_rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    """``EXPERIMENT/RUN/``: meta.yaml, a file for each parameter, a file of "time value step" for each metric."""
    for file in files:
        run = file.parent
        meta = read_yaml(file, folder)
        if "run_id" not in meta or meta.get("lifecycle_stage") == "deleted":
            continue
        status = str(meta.get("status", ""))
        cells: dict[str, Any] = {"run_id": str(meta["run_id"]), "status": _STATES.get(status, status)}
        for path in sorted(run.glob("params/**/*")) + sorted(run.glob("metrics/**/*")):
            if path.is_file():
                text = read_bytes(path, folder, 16 * MIB).decode("utf-8", errors="replace").strip()
                group, _, key = path.relative_to(run).as_posix().partition("/")
                cells[f"{group}.{key}"] = text if group == "params" else _latest(text)
        yield Row(plain(run.relative_to(folder)), cells)


def _latest(text: str) -> str | None:
    """The value of the last step; a run may log a metric out of order."""
    entries = [line.split() for line in text.splitlines()]
    whole = [(float(entry[2]), float(entry[0]), entry[1]) for entry in entries if len(entry) == 3]
    return max(whole)[2] if whole else None


def read_yaml(path: Path, within: Path) -> dict[str, Any]:
    """Read a YAML mapping; an empty mapping if the file holds something else.

    Raises:
        InputError: the file is not valid YAML.
    """
    yaml = import_extra("yaml", extra="config", purpose=f"reading {path}", package="PyYAML")
    try:
        data = yaml.safe_load(read_bytes(path, within, MIB))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: cannot read it as YAML: {str(error).partition(chr(10))[0]:.80}") from error
    return data if isinstance(data, dict) else {}
