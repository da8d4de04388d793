"""Reader for W&B run folders, including offline runs, which hold one binary log and no summary.

The log has LevelDB's format (blocks of 32 KiB; each piece has checksum, length and type) after a header of seven
bytes. Its records are protocol buffers (wandb/proto/wandb_internal.proto); this module reads seven fields.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrtune.errors import plain
from lrtune.records.table import Row
from lrtune.records.tables import read_bytes
from lrtune.trainer.measures import flat

_HEAD = 7
_BLOCK = 2**15
_PIECE = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
# field numbers of Record and of its nested messages
_HISTORY, _SUMMARY, _CONFIG, _RUN, _EXIT = 2, 3, 5, 17, 18
_ITEM, _KEY, _NESTED, _JSON = 1, 1, 2, 16
_RUN_CONFIG = 4
_CODE = 1


def wandb_rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    """A row for each run: its configuration, its summary, and the state from its exit code.

    Args:
        files: the ``run-*.wandb`` files within `folder`.

    Raises:
        InputError: a file is too large.
    """
    for file in files:
        cells = _logged(read_bytes(file, folder))
        run = file.stem.removeprefix("run-")
        yield Row(plain(file.parent.relative_to(folder)), {"run_id": run, **flat(cells)})


def _logged(data: bytes) -> dict[str, Any]:
    """The last value of each key in a log; a run without an exit record counts as crashed."""
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    state = "crashed"
    for record in _records(data):
        for field, content in _fields(record):
            if field == _EXIT:
                state = "failed" if dict(_fields(content)).get(_CODE) else "finished"
            elif field == _RUN:
                for inner, of_run in _fields(content):
                    if inner == _RUN_CONFIG:
                        _update(config, of_run)
            elif field == _CONFIG:
                _update(config, content)
            elif field in (_SUMMARY, _HISTORY):
                _update(summary, content)
    config.pop("_wandb", None)
    return {"state": state, "config": config, "summary": summary}


def _update(values: dict[str, Any], content: bytes) -> None:
    """Update `values` with the items of a config, summary or history record."""
    for field, item in _fields(content):
        if field != _ITEM or not isinstance(item, bytes):
            continue
        names, text = [], ""
        for part, value in _fields(item):
            if part in (_KEY, _NESTED):
                names.append(value.decode("utf-8", "replace"))
            elif part == _JSON:
                text = value.decode("utf-8", "replace")
        try:
            values[".".join(name for name in names if name)] = json.loads(text)
        except (ValueError, RecursionError):
            continue


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log, up to an incomplete one."""
    at, open_record = _HEAD, b""
    while at + _PIECE.size <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _PIECE.size:
            at += left
            continue
        _, length, kind = _PIECE.unpack_from(data, at)
        piece = data[at + _PIECE.size : at + _PIECE.size + length]
        at += _PIECE.size + length
        if len(piece) < length or kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST):
            return
        open_record = piece if kind in (_WHOLE, _FIRST) else open_record + piece
        if kind in (_WHOLE, _LAST):
            yield open_record


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer: varints as int, everything else as bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        else:
            length = {1: 8, 5: 4}.get(kind, len(message))
        yield key >> 3, message[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
    return value, at
