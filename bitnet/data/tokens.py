"""A token folder: token ids on disk, read as seeded batches. All runs with one seed share their batches.

It holds ``train.bin`` and ``validation.bin`` (raw little-endian ids), ``tokenizer.json`` and ``meta.json``, written by
`bitnet.data.prepare`. Reading the ids needs only numpy.
"""

import errno
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrtune.fields import choice, mapping, number, show, table, text
from lrtune.trainer import InputError

SCHEMA = 1
_COUNT = number(0, 2**48, above=True, whole=True)
_META = table(
    {
        "vocabulary_size": number(0, 2**24, above=True, whole=True),
        "dtype": choice("<u2", "<u4"),  # other types could map objects, which are pointers
        **dict.fromkeys(("train", "validation"), _COUNT),
        "fingerprint": text(64),
        "facts": mapping(text(10_000)),
    },
    needed=("vocabulary_size", "dtype", "train", "validation", "fingerprint", "facts"),
    others_pass=True,
)
_BATCH_STREAM = 0x6C72  # separates the batch generator from others with the same seed


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """An open token folder.

    Attributes:
        folder: its path.
        train, validation: token ids in reading order, memory-mapped.
        vocabulary_size: every id is below it.
        fingerprint: hash of the corpus, the vocabulary and the split, sixteen hex digits.
        facts: facts about the corpus: the dataset's name, the Python version of ``stdlib``, …
    """

    folder: Path
    train: npt.NDArray[Any]
    validation: npt.NDArray[Any]
    vocabulary_size: int
    fingerprint: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Path:
        """The tokenizer.json of the ids."""
        return self.folder / "tokenizer.json"

    @cached_property
    def unigram_counts(self) -> npt.NDArray[np.int64]:
        """Count of each id in the held-out text, shape (vocabulary_size,)."""
        return np.bincount(self.validation, minlength=self.vocabulary_size)


def load_tokens(folder: str | Path) -> Tokens:
    """Open a token folder.

    Raises:
        InputError: the folder is missing, incomplete or of another version.
    """
    folder = Path(folder).expanduser()
    try:
        _size(folder / "meta.json")
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if isinstance(meta, dict) and meta.get("schema", SCHEMA) != SCHEMA:
            raise InputError(
                f"tokens: expected a token folder of version {SCHEMA}, but {folder} is of {show(meta['schema'])}"
            )
        try:
            meta = _META("meta.json", meta)
        except InputError as error:
            raise ValueError(str(error)) from None
        parts = {}
        for name in ("train", "validation"):
            path, size = folder / f"{name}.bin", _size(folder / f"{name}.bin")
            wanted = meta[name] * np.dtype(meta["dtype"]).itemsize
            if size != wanted:
                raise ValueError(f"{path.name} has {size} bytes, expected {wanted}")
            parts[name] = np.memmap(path, dtype=meta["dtype"], mode="r", shape=(meta[name],))
            largest = _largest(path, os.stat(path).st_mtime_ns, size, meta["dtype"])
            if largest >= meta["vocabulary_size"]:
                raise ValueError(f"{path.name} holds the id {largest}, which is outside the vocabulary")
        return Tokens(
            folder=folder,
            vocabulary_size=meta["vocabulary_size"],
            fingerprint=meta["fingerprint"],
            facts=meta["facts"],
            **parts,
        )
    except OSError as error:
        raise InputError(
            f"tokens: cannot read {error.filename or folder}: {error.strerror or error}; "
            "a token folder holds meta.json, train.bin and validation.bin"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"tokens: {folder} is not a token folder, or is damaged ({error}); prepare it again") from None


def _size(path: Path) -> int:
    """Size of a regular file in bytes; opening a FIFO would block, and a device may be endless."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return found.st_size


@lru_cache(maxsize=64)
def _largest(path: Path, changed: int, size: int, dtype: str) -> int:
    """The largest id in a file, cached: kernels do not check that ids are below the vocabulary's size."""
    return int(np.memmap(path, dtype=dtype, mode="r").max())


def batch(tokens: Tokens, *, seed: int, step: int, batch_size: int, context: int) -> npt.NDArray[np.int64]:
    """The training batch of one step: windows of the training text at random positions.

    A pure function of its arguments: runs with one seed see the same text in the same order at any learning rate, and
    a resumed run continues with the correct batch.

    Returns:
        ids of shape (batch_size, context + 1): inputs are ``[:, :-1]``, targets ``[:, 1:]``.

    Raises:
        InputError: the training text is shorter than one window.
    """
    _check_length("training", tokens.train, context)
    random = np.random.default_rng((_BATCH_STREAM, seed, step))
    return _windows(tokens.train, random.integers(0, len(tokens.train) - context, size=batch_size), context)


def validation_contexts(tokens: Tokens, context: int, count: int) -> npt.NDArray[np.int64]:
    """Non-overlapping held-out windows, spread evenly over the validation text; the same at every call.

    Returns:
        ids of shape (n, context + 1), n = `count` or as many as fit into the text.

    Raises:
        InputError: the validation text is shorter than one window.
    """
    _check_length("validation", tokens.validation, context)
    room = (len(tokens.validation) - 1) // context
    n = min(count, room)
    starts = np.arange(n) * room // n * context
    return _windows(tokens.validation, starts, context)


def check_length(tokens: Tokens, *, batch_size: int, context: int) -> None:
    """Raise `InputError` if the text is too short for one training batch or one validation window."""
    if len(tokens.train) < batch_size * (context + 1):
        raise InputError(
            f"dataset: expected training text for one batch of {batch_size} × {context} tokens, but there are only "
            f"{len(tokens.train):,} tokens; give more text or a smaller batch"
        )
    _check_length("validation", tokens.validation, context)


def _check_length(name: str, ids: npt.NDArray[Any], context: int) -> None:
    if len(ids) < context + 1:
        raise InputError(
            f"dataset: expected {name} text of at least {context + 1} tokens (one context), but there are only "
            f"{len(ids):,}; give more text or a shorter context"
        )


def _windows(ids: npt.NDArray[Any], starts: npt.NDArray[Any], context: int) -> npt.NDArray[np.int64]:
    return ids[starts[:, None] + np.arange(context + 1)].astype(np.int64)


def decode(folder: str | Path, ids: Sequence[int]) -> str:
    """Decode token ids.

    Raises:
        InputError: the folder has no readable tokenizer.json, or `tokenizers` is not installed.
    """
    from bitnet.data.tokenise import read_tokenizer

    return str(read_tokenizer(Path(folder)).decode([int(number) for number in ids]))
