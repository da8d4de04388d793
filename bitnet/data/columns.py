"""The text column of a table that the package `datasets` reads."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lrtune.trainer import InputError

_TEXT_COLUMNS = ("text", "content", "document", "body", "article", "story", "sentence")


def column_of(rows: Any, where: object, text_column: str | None) -> Iterator[str]:
    """The texts of one column of a `datasets` table, without empty cells."""
    features = rows.features or {}
    names = list(rows.column_names or features)
    if not names:
        first = next(iter(rows), None)
        if first is None:
            return
        names = list(first)
    column = _textcolumn_of(names, features, where, text_column)
    for row in rows.select_columns([column]):
        text = row[column]
        if text is None:
            continue
        if not isinstance(text, str):
            raise InputError(f"text_column: expected text in column {column!r} of {where}, but found {text!r:.40}")
        yield text


def _textcolumn_of(names: Sequence[str], features: Mapping[str, Any], where: object, wanted: str | None) -> str:
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


def import_datasets() -> Any:
    """The package, without its progress bars and messages."""
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"dataset: reading this needs datasets: pip install 'lrtune[bitnet]' ({error})") from None
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # it also raises what it logs
    return datasets


def first_line(error: BaseException) -> str:
    """The first line of a library's error, or of its cause."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0][:200]}" if lines[0] else type(cause).__name__
