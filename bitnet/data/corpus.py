"""Where text comes from: the standard library, local files and folders, the Hugging Face Hub."""

import hashlib
import json
import os
import re
import sys
import sysconfig
import tempfile
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrtune.trainer import InputError

STDLIB = "stdlib"
STREAMED_BYTES = 256 * 2**20  # what is taken of a streamed dataset where nothing else is said
_PIECE = 2**20  # characters of a text file that are read at once
_HUB_TIMEOUT = 5.0  # seconds

_KINDS = {
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
_TEXT_COLUMNS = ("text", "content", "document", "body", "article", "story", "sentence")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A corpus before it is read.

    Attributes:
        name: what to call it in messages and in the cache.
        signature: changes when the settings or the files (path, size, time of change) do; costs no reading.
        documents: opens the corpus again: the same texts in the same order.
        facts: what else the tokens depend on, kept with them (the Python version of `stdlib`).
        once: the corpus must be read in one go (a stream), and no more than `STREAMED_BYTES` of it.
    """

    name: str
    signature: str
    documents: Callable[[], Iterator[str]]
    facts: Mapping[str, str] = field(default_factory=dict)
    once: bool = False


def find_source(
    dataset: str,
    *,
    text_column: str | None = None,
    subset: str | None = None,
    split: str = "train",
    stream: bool = False,
) -> Source:
    """The corpus that `dataset` names: ``stdlib``, a file, a folder, or a dataset of the Hugging Face Hub.

    Args:
        dataset: the name or path.
        text_column: the column of a table that holds the text; None to find it.
        subset, split: which part of a Hub dataset or of a `save_to_disk` folder.
        stream: read a Hub dataset as it comes, at most `STREAMED_BYTES`, instead of downloading it whole.

    Raises:
        InputError: there is no such corpus, or its format is not one of those above.
    """
    if dataset == STDLIB:
        return _stdlib()
    path = Path(dataset).expanduser()
    if path.is_dir() and ((path / "state.json").is_file() or (path / "dataset_dict.json").is_file()):
        return _saved(path, text_column, split)
    if path.is_dir():
        return _files(path, *_data_files(path), text_column)
    if path.is_file():
        return _files(path, _KINDS.get(_suffix(path), "text"), [path], text_column)
    if _looks_like_path(dataset) or not _HUB_NAME.fullmatch(dataset):
        raise InputError(
            f"dataset: expected 'stdlib', a file, a folder or a Hub name, but there is no file or folder {dataset!r}"
        )
    return _hub(dataset, text_column, subset, split, stream)


def _looks_like_path(dataset: str) -> bool:
    return (
        dataset.startswith((".", "~", "/")) or dataset.count("/") > 1 or "\\" in dataset or _suffix(dataset) in _KINDS
    )


def _suffix(path: str | Path) -> str:
    """The suffix that tells the format, below a ``.gz`` or ``.zst``."""
    name = re.sub(r"\.(gz|zst|bz2|xz)$", "", str(path).lower())
    return os.path.splitext(name)[1]


def _signature(settings: Mapping[str, object], files: Sequence[Path]) -> str:
    stats = [(str(file.resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([settings, stats], sort_keys=True).encode()).hexdigest()[:24]


# --- the standard library -------------------------------------------------------------------------------------


def stdlib_files() -> list[Path]:
    """The Python sources of the running interpreter's standard library, without tests and installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "lib-dynload"}
    files = []
    for folder, folders, names in os.walk(root):
        # Sorted, so that the order does not depend on the file system; config-* is of the machine that built it.
        folders[:] = sorted(name for name in folders if name not in left_out and not name.startswith("config-"))
        files += [Path(folder, name) for name in sorted(names) if name.endswith(".py") and not _is_local(name)]
    return files


def _is_local(name: str) -> bool:
    """Whether a module is written by the machine's build or owner rather than by Python's authors."""
    return name.startswith("_sysconfigdata") or name in ("sitecustomize.py", "usercustomize.py")


def _stdlib() -> Source:
    files = stdlib_files()
    if len(files) < 100:
        raise InputError(
            "dataset: 'stdlib' expects the Python sources of the standard library, but this Python comes without "
            "them; give a text folder with --dataset"
        )
    version = ".".join(map(str, sys.version_info[:3]))

    def documents() -> Iterator[str]:
        for file in files:
            with tokenize.open(file) as opened:
                yield opened.read()

    return Source(
        name=STDLIB,
        signature=_signature({"dataset": STDLIB, "python": version}, files),
        documents=documents,
        facts={"python": version},
    )


# --- local files ----------------------------------------------------------------------------------------------


def _data_files(folder: Path) -> tuple[str, list[Path]]:
    """The format and the files of a folder of one format, at any depth."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise InputError(f"dataset: expected files of text in {folder}, but it is empty")
    kinds = Counter(_KINDS[_suffix(file)] for file in files if _is_data(file))
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
    return _suffix(file) in _KINDS and not _NO_DATA.match(file.name)


def _files(path: Path, kind: str, files: list[Path], text_column: str | None) -> Source:
    settings = {"dataset": str(path.resolve()), "text_column": text_column}
    if kind == "text":
        documents: Callable[[], Iterator[str]] = lambda: _texts(files)  # noqa: E731
    else:
        documents = lambda: _table(path, kind, files, text_column)  # noqa: E731
    return Source(name=path.resolve().name, signature=_signature(settings, files), documents=documents)


def _texts(files: Iterable[Path]) -> Iterator[str]:
    """Each file's text; a long file comes in pieces that end at line ends."""
    for file in files:
        try:
            with open(file, encoding="utf-8-sig") as opened:
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
        except OSError as error:
            raise InputError(f"dataset: {file} cannot be read ({error.strerror})") from None


def _table(path: Path, kind: str, files: Sequence[Path], text_column: str | None) -> Iterator[str]:
    if not any(file.stat().st_size for file in files):
        return
    datasets = _datasets()
    options: dict[str, Any] = {"sep": "\t"} if _suffix(files[0]) == ".tsv" else {}
    try:
        # Streaming reads the files where they lie; otherwise `datasets` first copies them into a cache. It leaves
        # locks in that cache all the same.
        with tempfile.TemporaryDirectory(prefix="lrtune-") as cache:
            rows = datasets.load_dataset(
                kind, data_files=[str(f) for f in files], split="train", streaming=True, cache_dir=cache, **options
            )
            yield from _column(rows, path, text_column)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"dataset: {path} cannot be read as {kind}: {_first_line(error)}") from error


def _saved(path: Path, text_column: str | None, split: str) -> Source:
    """A folder that `datasets` wrote with `save_to_disk`: one dataset, or several splits."""
    files = sorted(file for file in path.rglob("*") if file.is_file())

    def documents() -> Iterator[str]:
        datasets = _datasets()
        try:
            rows = datasets.load_from_disk(str(path))
        except Exception as error:
            raise InputError(f"dataset: {path} cannot be read as a saved dataset: {_first_line(error)}") from error
        if isinstance(rows, datasets.DatasetDict):
            if split not in rows:
                raise InputError(f"split: expected one of {', '.join(rows)} in {path}, but got {split!r}")
            rows = rows[split]
        yield from _column(rows, path, text_column)

    settings = {"dataset": str(path.resolve()), "text_column": text_column, "split": split}
    return Source(name=path.resolve().name, signature=_signature(settings, files), documents=documents)


# --- the Hub --------------------------------------------------------------------------------------------------


def _hub(name: str, text_column: str | None, subset: str | None, split: str, stream: bool) -> Source:
    def documents() -> Iterator[str]:
        datasets = _datasets()
        _reach_hub(name)
        try:
            rows = datasets.load_dataset(name, subset, split=split, streaming=stream)
            yield from _column(rows, name, text_column)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"dataset: {name!r} cannot be loaded from the Hub: {_first_line(error)}") from error

    settings = {"hub": name, "text_column": text_column, "subset": subset, "split": split, "stream": stream}
    facts = {"hub": name, "split": split} | ({"subset": subset} if subset else {})
    return Source(name=name, signature=_signature(settings, []), documents=documents, facts=facts, once=stream)


def _reach_hub(name: str) -> None:
    """Ask for the dataset once, with a short timeout: `datasets` alone would retry for half a minute."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return  # its own cache answers, or says at once that it cannot
    try:
        HfApi().dataset_info(name, timeout=_HUB_TIMEOUT)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in (401, 403, 404):
            raise InputError(
                f"dataset: there is no file or folder {name!r} here and no public dataset of that name on the Hub"
            ) from None
        raise InputError(f"dataset: the Hub does not serve {name!r}: {_first_line(error)}") from None
    except Exception as error:
        raise InputError(
            f"dataset: there is no file or folder {name!r} here, and the Hugging Face Hub cannot be reached to look "
            f"for it there ({type(error).__name__}); give a path or 'stdlib', or set HF_HUB_OFFLINE=1 to use its cache"
        ) from None


# --- tables ---------------------------------------------------------------------------------------------------


def _column(rows: Any, where: object, text_column: str | None) -> Iterator[str]:
    """The texts of one column of a `datasets` table, empty ones left out."""
    features = rows.features or {}
    names = list(rows.column_names or features)
    if not names:
        first = next(iter(rows), None)
        if first is None:
            return
        names = list(first)
    column = _text_column(names, features, where, text_column)
    for row in rows.select_columns([column]):
        text = row[column]
        if text is None:
            continue
        if not isinstance(text, str):
            raise InputError(f"text_column: expected text in column {column!r} of {where}, but found {text!r:.40}")
        yield text


def _text_column(names: Sequence[str], features: Mapping[str, Any], where: object, wanted: str | None) -> str:
    present = ", ".join(repr(name) for name in names)
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"text_column: expected one of {present} in {where}, but got {wanted!r}")
        return wanted
    for name in _TEXT_COLUMNS:
        if name in names:
            return name
    strings = [name for name in names if getattr(features.get(name), "dtype", None) in ("string", "large_string")]
    if len(strings) == 1:
        return strings[0]
    if len(names) == 1:
        return names[0]
    raise InputError(f"text_column: {where} has the columns {present}; name the one that holds the text")


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"dataset: reading this needs datasets: pip install 'lrtune[bitnet]' ({error})") from None
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it logs it also raises, and we say it in one line
    return datasets


def _first_line(error: BaseException) -> str:
    """The most telling line of a foreign error: that of its cause, where there is one."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0][:200]}" if lines[0] else type(cause).__name__
