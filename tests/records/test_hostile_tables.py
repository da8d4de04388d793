"""Tables and folders that were made to hurt: one short line each, no waiting, no memory."""

import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrtune.errors import InputError
from lrtune.records import sqlite_files, table
from lrtune.records.columns import Columns
from lrtune.records.importers import read_sources

GOOD = "width,lr,loss\n64,0.1,3\n64,0.2,3.5\n"


def refused(source: object, columns: Columns | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_sources([source], columns)
    message = str(caught.value)
    assert "\n" not in message and "\x1b" not in message and len(message) < 1500, message[:2000]
    return message


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.db", "journal.log", "records.jsonl"])
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "not a regular file" in refused(tmp_path / name) or name in ("a.db", "journal.log")
    device = tmp_path / "device" / name
    device.parent.mkdir()
    device.symlink_to("/dev/zero")
    refused(device)


def test_a_folder_with_a_pipe_for_records_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "records.jsonl")
    refused(tmp_path)


def test_parquet_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    path = tmp_path / "bomb.parquet"
    constant = arrow.DictionaryArray.from_arrays(arrow.array([0] * 2_000_000, arrow.int8()), arrow.array(["x" * 1000]))
    parquet.write_table(arrow.table({"lr": constant}), path)
    assert path.stat().st_size < 500_000
    assert "expected at most 1,000,000 rows" in refused(path)
    for length, rows in ((10**5, 9000), (10**6, 900)):
        constant = arrow.DictionaryArray.from_arrays(arrow.array([0] * rows, arrow.int8()), arrow.array(["x" * length]))
        parquet.write_table(arrow.table({"lr": constant}), path, store_schema=False)
        assert path.stat().st_size < 2**21
        assert "MiB unpacked" in refused(path)


def test_limits_of_rows_cells_columns_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"c{n}" for n in range(30_000)) + "\n1\n")
    assert "expected at most 20,000 columns" in refused(path)
    monkeypatch.setattr(table, "MOST_ROWS", 1)
    path.write_text(GOOD)
    assert "expected at most 1 rows" in refused(path)
    os.truncate(path, 2**29)
    assert "larger than 256 MiB" in refused(path)


def test_a_million_keys_are_not_printed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{" + ",".join(f'"{n}":1' for n in range(200_000)) + "}\n")
    refused(path)
    refused(path, Columns(learning_rate="lr"))


@pytest.mark.parametrize(
    "row",
    [
        "1e308,0.1,3",
        "1e400,0.1,3",
        "64,1e400,3",
        "64,1e-400,3",
        f"{'9' * 400},0.1,3",
        "-64,0.1,3",
        "nan,0.1,3",
        "inf,nan,nan",
    ],
)
def test_sizes_and_rates_beyond_measure_are_left_out(tmp_path: Path, row: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(GOOD + row + "\n")
    imported = read_sources([path], Columns(failed_when=f"loss > {'9' * 400}"))
    assert len(imported.records) == 2
    path.write_text(GOOD + f"64,0.1,{'9' * 400}\n64,0.2,1e300\n")
    assert [r.status for r in read_sources([path]).records] == ["finished", "finished", "diverged", "diverged"]


def test_losses_that_are_all_large_are_measurements(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("width,lr,loss\n64,0.1,3e205\n64,0.2,2.9e205\n64,0.4,5e299\n64,0.8,inf\n")
    read = read_sources([path])
    assert [r.status for r in read.records] == ["finished", "finished", "diverged", "diverged"]
    assert "taken as diverged, 'loss' is not finite or above 1e+240: 2 rows (line 4: '5e299')" in read.summary


def test_names_and_cells_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    evil = "\x1b]52;c;ZXZpbA==\x07"
    path.write_text(f"{evil},b\n1,2\n")
    refused(path)
    path.write_text(
        f"width,lr,loss,State{evil},state\n64,{evil},3,x,{evil}\n64,0.1,{evil},x,finished\n64,0.2,3,x,finished\n"
    )
    assert "\x1b" not in refused(path)
    path.write_text(f"d_model,params.lr,{evil}.val_loss,batch{evil}\n64,0.1,3,1\n64,0.1,3.5,2\n")
    message = refused(path)
    path.write_text(f"d_model,lr,loss,a{evil}\n" + "".join(f"64,{0.1 * (n % 3 + 1)},{n},{n % 2}\n" for n in range(12)))
    assert "\x1b" not in message + "".join(read_sources([path]).summary)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_of_anything_is_read_or_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"table{suffix}"
    path.write_bytes(content)
    try:
        read_sources([path], Columns(learning_rate="lr", loss="loss", scales={"hidden_size": "width"}))
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000


def test_a_query_that_does_not_end_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_files, "_PATIENCE", 2)
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.executescript("""
            CREATE TABLE runs (run_uuid TEXT, status TEXT, lifecycle_stage TEXT, start_time INTEGER);
            CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
            CREATE TABLE latest_metrics (key TEXT, value REAL, step INTEGER, is_nan INTEGER, run_uuid TEXT);
            INSERT INTO runs WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
                SELECT i, '', 'active', 0 FROM n;
        """)
    connection.close()
    assert "cannot read it as an MLflow database: interrupted" in refused(path)
