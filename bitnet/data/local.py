"""Local corpora: files of text or tables, folders of them, and folders that `datasets` saved."""

import bz2
import gzip
import lzma
import os
import re
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bitnet.data.columns import column_of, first_line, import_datasets
from bitnet.data.source import Source, signature
from lrtune.trainer import InputError

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')  # a string or a bracket of JSON
_DEEPEST = 200
_PIECE = 2**20  # characters of a text file read at once
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

KINDS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".rst": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
}
_NO_DATA = re.compile(r"readme|license|licence|dataset_infos?\.json|dataset_dict\.json|state\.json", re.IGNORECASE)


def suffix(path: str | Path) -> str:
    """The suffix of the format, without ``.gz`` or ``.zst``."""
    name = re.sub(r"\.(gz|zst|bz2|xz)$", "", str(path).lower())
    return os.path.splitext(name)[1]


def data_files(folder: Path) -> tuple[str, list[Path]]:
    """The format and the files of a folder, at any depth; all files must have one format."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise InputError(f"dataset: expected files of text in {folder}, but it is empty")
    kinds = Counter(KINDS[suffix(file)] for file in files if _is_data(file))
    if not kinds:
        return "text", [file for file in files if not _NO_DATA.match(file.name)] or files
    if len(kinds) > 1:
        found = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        raise InputError(
            f"dataset: expected files of one format in {folder}, but found {found}; "
            "name a file or a folder of one format"
        )
    (kind,) = kinds
    return kind, [file for file in files if _is_data(file)]


def _is_data(file: Path) -> bool:
    return suffix(file) in KINDS and not _NO_DATA.match(file.name)


def local_files(path: Path, kind: str, files: list[Path], text_column: str | None) -> Source:
    """Files of one format."""
    settings = {"dataset": str(path.resolve()), "text_column": text_column}
    if kind == "text":
        documents: Callable[[], Iterator[str]] = lambda: _texts(files)  # noqa: E731
    else:
        documents = lambda: _table(path, kind, files, text_column)  # noqa: E731
    return Source(name=path.resolve().name, signature=signature(settings, files), documents=documents)


def _texts(files: Iterable[Path]) -> Iterator[str]:
    """The text of each file; long files are split at line ends."""
    for file in files:
        try:
            with _OPENERS.get(file.suffix.lower(), open)(file, "rt", encoding="utf-8-sig") as opened:
                while piece := opened.read(_PIECE):
                    if len(piece) == _PIECE:
                        piece += opened.readline(_PIECE)
                    if "\0" in piece:
                        raise InputError(f"dataset: expected UTF-8 text in {file}, but it is a binary file")
                    yield piece
        except UnicodeDecodeError as error:
            raise InputError(
                f"dataset: expected UTF-8 text in {file}, but found byte 0x{error.object[error.start]:02x}: "
                "a binary file or another encoding"
            ) from None
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise InputError(f"dataset: cannot read {file}: {getattr(error, 'strerror', None) or error}") from None


def _check_nesting(files: Iterable[Path]) -> None:
    """Refuse JSON that is nested so deep that the reader of `datasets` would crash this process."""
    for file in files:
        depth = 0
        with open(file, "rb") as opened:
            for number, line in enumerate(opened, start=1):
                for token in _TOKEN.findall(line):
                    depth += (token in b"[{") - (token in b"]}") if len(token) == 1 else 0
                    if depth > _DEEPEST:
                        raise InputError(
                            f"dataset: expected at most {_DEEPEST} levels of nested values in {file}, but line "
                            f"{number} has more"
                        )


def _table(path: Path, kind: str, files: Sequence[Path], text_column: str | None) -> Iterator[str]:
    if not any(file.stat().st_size for file in files):
        return
    if kind == "json":
        _check_nesting(file for file in files if file.suffix.lower() in KINDS)  # not those that are compressed
    datasets = import_datasets()
    options: dict[str, Any] = {"sep": _separator(files[0])} if kind == "csv" else {}
    try:
        # Streaming reads the files in place; otherwise `datasets` copies them into a cache first. It creates locks
        # in the cache even when streaming.
        with tempfile.TemporaryDirectory(prefix="lrtune-") as cache:
            rows = datasets.load_dataset(
                kind, data_files=[str(f) for f in files], split="train", streaming=True, cache_dir=cache, **options
            )
            yield from column_of(rows, path, text_column)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"dataset: cannot read {path} as {kind}: {first_line(error)}") from error


def _separator(file: Path) -> str:
    """The most frequent separator of the header; in a .tsv file a tab."""
    if suffix(file) == ".tsv":
        return "\t"
    with _OPENERS.get(file.suffix.lower(), open)(file, "rt", encoding="utf-8-sig", errors="replace") as opened:
        header = opened.readline(_PIECE)
    return max(",;\t", key=header.count)


def saved(path: Path, text_column: str | None, split: str) -> Source:
    """A folder that `datasets` wrote with `save_to_disk`: one dataset, or several splits."""
    files = sorted(file for file in path.rglob("*") if file.is_file())

    def documents() -> Iterator[str]:
        datasets = import_datasets()
        try:
            rows = datasets.load_from_disk(str(path))
        except Exception as error:
            raise InputError(f"dataset: cannot read {path} as a saved dataset: {first_line(error)}") from error
        if isinstance(rows, datasets.DatasetDict):
            if split not in rows:
                raise InputError(f"split: expected one of {', '.join(rows)} in {path}, but got {split!r}")
            rows = rows[split]
        yield from column_of(rows, path, text_column)

    settings = {"dataset": str(path.resolve()), "text_column": text_column, "split": split}
    return Source(name=path.resolve().name, signature=signature(settings, files), documents=documents)
