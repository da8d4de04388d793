"""A corpus before it is read."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STREAMED_BYTES = 256 * 2**20  # largest amount read from a streamed dataset


@dataclass(frozen=True, kw_only=True)
class Source:
    """A corpus before it is read.

    Attributes:
        name: its name in messages and in the cache.
        signature: hash of the settings and the files' paths, sizes and modification times; needs no reading.
        documents: opens the corpus; each call yields the same texts in the same order.
        facts: other inputs that the tokens depend on, stored with them (the Python version of `stdlib`).
        once: whether the corpus is a stream, to be read only once and up to `STREAMED_BYTES`.
    """

    name: str
    signature: str
    documents: Callable[[], Iterator[str]]
    facts: Mapping[str, str] = field(default_factory=dict)
    once: bool = False


def signature(settings: Mapping[str, object], files: Sequence[Path]) -> str:
    """A hash of the settings and of the files' paths, sizes and modification times."""
    stats = [(str(file.resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([settings, stats], sort_keys=True).encode()).hexdigest()[:24]
