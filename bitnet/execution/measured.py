"""Measurements of this machine, stored in the cache folder so that later searches make the same decisions.

Each question has one small file. If two processes measure at once, both use the answer written first. A file that is
damaged or holds another question is replaced. If the disk is not writable, answers last as long as the process.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lrtune.files import cache_folder, write_whole

_SCHEMA = 1
_in_this_process: dict[str, dict[str, float]] = {}


def measured(question: Mapping[str, Any], measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The stored answer to `question`, or a new measurement.

    Args:
        question: everything that the answer depends on, as JSON values.
        measure: returns positive numbers by name. An empty answer means that the measurement failed; it is kept for
            this process only, because a compiler or more memory may be available next time.
    """
    asked = json.dumps({"schema": _SCHEMA, **question}, sort_keys=True)
    name = hashlib.sha256(asked.encode()).hexdigest()[:24]
    found = _in_this_process.get(name)
    if found is None:
        found = _on_disk(name, asked)
    if found is None:
        found = measure()
        kept = _keep(name, asked, found) if found else None
        if kept is None:
            _in_this_process[name] = found
        else:
            found = kept
    return found


def _path(name: str) -> Path:
    return cache_folder() / "measured" / f"{name}.json"


def _on_disk(name: str, asked: str) -> dict[str, float] | None:
    """The stored answer to exactly this question, if the file is valid."""
    with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        content = json.loads(_path(name).read_text(encoding="utf-8"))
        answer = {str(key): float(value) for key, value in content["answer"].items()}
        sound = all(math.isfinite(value) and value > 0 for value in answer.values())
        if answer and sound and json.dumps(content["question"], sort_keys=True) == asked:
            return answer
    return None


def _keep(name: str, asked: str, answer: dict[str, float]) -> dict[str, float] | None:
    """Store the answer, or return the one that another process stored first; None if the disk fails."""
    text = json.dumps({"question": json.loads(asked), "answer": answer}, indent=1) + "\n"
    try:
        path = _path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if _on_disk(name, asked) is None:
            write_whole(path, text)
        return _on_disk(name, asked) or answer
    except (OSError, RuntimeError):  # a read-only disk; no home folder
        return None
