"""Readers for CSV, TSV, JSON, JSON lines and Parquet files, and for tables in memory."""

import ast
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrtune import files
from lrtune.errors import InputError, plain
from lrtune.extras import import_extra
from lrtune.records.table import Row, Table, check_size, table_of
from lrtune.trainer.measures import flat

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")
_MOST_BYTES = 2**28
_BATCH = 1000
_TEXT = {("BYTE_ARRAY", "STRING"), ("BYTE_ARRAY", "NONE")}  # Parquet's types of text
_NUMBERS = re.compile(r"[\d\s.,;|eE+-]+")
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def read_file(path: Path) -> Table:
    """The rows of a CSV, TSV, JSON, JSONL or Parquet file; nested objects and structs as dotted columns.

    Raises:
        InputError: the file is of unknown kind, too large or cannot be read; the message names the line if known.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected {', '.join(SUFFIXES)}, an Optuna file, a run folder or a storage URL")
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    text, notes = _text(path)
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return table_of(str(path), _json(path, text), notes)
    return _csv(str(path), text, "\t" if path.suffix.lower() == ".tsv" else None, notes)


def frame_table(frame: Any) -> Table:
    """The rows of a table in memory: pandas, polars, Arrow or a list of mappings.

    Raises:
        InputError: the object is of another type, or too large.
    """
    if hasattr(frame, "columns") and hasattr(frame, "itertuples"):  # pandas: its to_dict loses repeated columns
        names = [
            ".".join(map(str, name)).strip(".") if isinstance(name, tuple) else str(name) for name in frame.columns
        ]
        missing = frame.isna().to_numpy()
        cells = (
            [None if gone else value for value, gone in zip(row, blank, strict=True)]
            for row, blank in zip(frame.itertuples(index=False, name=None), missing, strict=True)
        )
        return _named("DataFrame", names, ((f"row {n}", row) for n, row in enumerate(cells)), [])
    for method in ("to_dicts", "to_pylist"):
        if hasattr(frame, method):
            frame = getattr(frame, method)()
    if isinstance(frame, Sequence) and all(isinstance(row, Mapping) for row in frame):
        return table_of("rows", (Row(f"row {n}", flat(row)) for n, row in enumerate(frame)))
    raise InputError(
        f"source: expected a path, a URL, a DataFrame or a list of mappings, but got {type(frame).__name__}"
    )


def _text(path: Path) -> tuple[str, list[str]]:
    """Decode a file by its byte order mark, else as UTF-8, else as Latin-1 with a note."""
    data = read_bytes(path)
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
        notes = []
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or b"\x00" in data:
            name = encoding.removesuffix("-sig").upper()
            raise InputError(f"{path}: cannot read it as {name}: byte {error.start} is invalid") from error
        text = data.decode("latin-1")
        notes = [f"{path}: byte {error.start} is not UTF-8; read as Latin-1"]
    if "\x00" in text:
        raise InputError(f"{path}: expected text, but it contains zero bytes")
    return text, notes


def read_bytes(path: Path, within: Path | None = None, most: int = _MOST_BYTES) -> bytes:
    """Read a regular file, which must lie in the folder `within` if given.

    Raises:
        InputError: the file is missing, not regular, too large or outside `within`.
    """
    try:
        return files.read_bytes(path, within=within, most=most)
    except OSError as error:
        raise InputError(f"{plain(path)}: cannot read it: {error.strerror or error}") from error


def _csv(source: str, text: str, delimiter: str | None, notes: list[str]) -> Table:
    """Read CSV, including Excel's ``sep=`` line and comments."""
    lines = text.split("\n")
    first = 0
    while first < len(lines) and (not lines[first].strip() or lines[first].startswith("#") or _is_sep(lines[first])):
        if _is_sep(lines[first]):
            delimiter = lines[first].strip()[4] if len(lines[first].strip()) == 5 else delimiter
        first += 1
    if first == len(lines):
        raise InputError(f"{source}: expected a table with at least one row, but it is empty")
    if first and lines[first - 1].startswith("#") and _NUMBERS.fullmatch(lines[first]):
        first -= 1  # numpy.savetxt writes the header as a comment
        lines[first] = lines[first].lstrip("# ")
    signs = [sign for sign in ",;\t|" if sign in lines[first]]
    delimiter = delimiter or (max(signs, key=lines[first].count) if signs else " ")
    body = io.StringIO("\n".join(lines[first:]), newline="")
    former = csv.field_size_limit(_MOST_BYTES)
    try:
        reader = csv.reader(body, delimiter=delimiter, skipinitialspace=True)
        names = [name.strip() for name in next(reader)]
        check_size(source, 0, 0, len(names))
        cells = ((f"line {reader.line_num + first}", row) for row in reader)
        table = _named(source, names, (c for c in cells if _is_row(c[1], names)), notes)
    except csv.Error as error:
        raise InputError(f"{source}, line {reader.line_num + first}: cannot read it as CSV: {error}") from error
    finally:
        csv.field_size_limit(former)
    return table


def _is_sep(line: str) -> bool:
    return line.strip().lower().startswith("sep=") and len(line.strip()) <= 5


def _is_row(cells: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row is data: not blank, a comment or a repeated header (concatenated files)."""
    if not any(cell.strip() for cell in cells) or (cells[0].startswith("#") and len(cells) < len(names)):
        return False
    return [cell.strip() for cell in cells] != list(names)


def _named(source: str, names: Sequence[str], rows: Iterable[tuple[str, Sequence[Any]]], notes: Sequence[str]) -> Table:
    """Build a table from a header and rows. Repeated names over different cells go into `Table.twice`.

    Raises:
        InputError: a row has more cells than the header.
    """
    kept: list[Row] = []
    twice: set[str] = set()
    repeated = len(set(names)) < len(names)
    for place, cells in rows:
        if any(str(cell).strip() for cell in cells[len(names) :]):
            raise InputError(
                f"{source}, {place}: expected {len(names)} cells, as in the header, but got {len(cells)}; a comma "
                "within a number needs quotes, or another separator between the columns"
            )
        row: dict[str, Any] = {}
        for name, cell in zip(names, cells, strict=False):
            if repeated and name in row and row[name] != cell:
                twice.add(name)
            row.setdefault(name, cell)
        row.pop("", None)
        kept.append(Row(place, flat({name: _unpacked(cell) for name, cell in row.items()})))
        check_size(source, len(kept), len(kept) * len(names))
    if not kept:
        raise InputError(f"{source}: expected a table with at least one row, but it is empty")
    known = tuple(dict.fromkeys(name for row in kept for name in row.cells))
    return Table(source=source, names=known, rows=tuple(kept), notes=tuple(notes), twice=frozenset(twice))


def _unpacked(cell: Any) -> Any:
    """Parse a mapping in a cell, as JSON or Python's repr: exports of W&B's API contain both."""
    if not (isinstance(cell, str) and cell.startswith("{") and cell.endswith("}")):
        return cell
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(re.sub(r"\b(nan|inf)\b", r"'\1'", cell) if parse is ast.literal_eval else cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, dict) else cell
    return cell


def _json(path: Path, text: str) -> Iterator[Row]:
    """Read one JSON object per line, or a list of objects."""
    if text.lstrip().startswith("[") and path.suffix.lower() == ".json":
        data = _parsed(str(path), text)
        if not isinstance(data, list):
            raise InputError(f"{path}: expected a list of JSON objects, but got {type(data).__name__}")
        yield from (Row(f"item {n}", _object(f"{path}, item {n}", item)) for n, item in enumerate(data, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"line {number}"
            yield Row(place, _object(f"{path}, {place}", _parsed(f"{path}, {place}", line)))


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, _TwiceError) else "it is not JSON"
        raise InputError(f"{where}: expected a JSON object, but {why}") from error


class _TwiceError(ValueError):
    """An object repeats a key."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _TwiceError(f"it has the key {twice!r:.40} twice")
    return data


def _object(where: str, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a JSON object, but got {type(data).__name__}")
    return flat(data)


def _parquet(path: Path) -> Table:
    pyarrow = import_extra("pyarrow", extra="parquet", purpose=f"reading {path}")
    import_extra("pyarrow.parquet", extra="parquet", purpose=f"reading {path}")
    try:
        data = io.BytesIO(read_bytes(path))
        meta = pyarrow.parquet.read_metadata(data)
        check_size(str(path), meta.num_rows, meta.num_rows * meta.num_columns, meta.num_columns)
        _check_unpacked(path, sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups)))
        columns = [meta.schema.column(n) for n in range(meta.num_columns)]
        # Text stays dictionary-encoded until its size is checked: one long value may occur in every row.
        packed = [
            c.path for c in columns if c.physical_type == "BYTE_ARRAY" and c.logical_type.type in ("STRING", "NONE")
        ]
        return table_of(str(path), _batches(path, pyarrow.parquet.ParquetFile(data, read_dictionary=packed)))
    except (pyarrow.ArrowException, OSError) as error:
        why = str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot read it as Parquet: {why:.80}") from error


def _batches(path: Path, file: Any) -> Iterator[Row]:
    size, number = 0, 0
    for batch in file.iter_batches(batch_size=_BATCH):
        size += sum(map(_unpacked_size, batch.columns))
        _check_unpacked(path, size)
        for row in batch.to_pylist():
            number += 1
            yield Row(f"row {number}", flat(row))


def _unpacked_size(column: Any) -> int:
    """Bytes of a column if each row has a separate copy of its text."""
    if not hasattr(column, "dictionary"):
        return int(column.nbytes)
    longest = max((len(value) for value in column.dictionary.to_pylist() if hasattr(value, "__len__")), default=8)
    return int(column.indices.nbytes) + len(column) * longest


def _check_unpacked(path: Path, size: int) -> None:
    if size > 2 * _MOST_BYTES:
        raise InputError(f"{path}: expected at most {_MOST_BYTES >> 19} MiB unpacked, but it is larger")
