"""Hashes a trainer's source, to detect a change between two runs of one folder."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_MOST_BYTES = 16 * 2**20


def source_hash(files: Iterable[str | Path]) -> str:
    """Sixteen hexadecimal digits of the files' content; empty if no file can be read."""
    digest, count = hashlib.sha256(), 0
    for file in files:
        try:
            with open(file, "rb") as opened:
                digest.update(hashlib.sha256(opened.read(_MOST_BYTES)).digest())
        except (OSError, ValueError):
            continue
        count += 1
    return digest.hexdigest()[:16] if count else ""


def files_named(words: Iterable[str]) -> list[Path]:
    """The files in the working folder that a command line names: the program, but not its interpreter."""
    try:
        here = Path.cwd()
        return [path for word in words if (path := here / word).is_file() and path.resolve().is_relative_to(here)]
    except (OSError, ValueError):  # the working folder was deleted, or a word cannot be a path
        return []
