"""What was measured on this machine, kept in the cache folder: what was decided by it once is decided so again.

One small file a question. The first answer stands: of two processes that measure at the same time, the later one takes
over what the earlier one found. A file that is damaged, or that answers another question, is passed over and replaced.
Where nothing can be kept on disk, an answer lasts as long as the process.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bitnet.cache import cache_folder, write_whole

_SCHEMA = 1
_in_this_process: dict[str, dict[str, float]] = {}


def measured(question: Mapping[str, Any], measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The answer to `question`, measured if it is not kept yet.

    Args:
        question: all that the answer depends on, of what JSON holds.
        measure: gives positive numbers by name. An empty answer is kept for this process alone: it says that nothing
            could be measured, and a compiler or more memory may be there the next time.
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
    """The kept answer to exactly this question, if it is whole."""
    with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        content = json.loads(_path(name).read_text(encoding="utf-8"))
        answer = {str(key): float(value) for key, value in content["answer"].items()}
        sound = all(math.isfinite(value) and value > 0 for value in answer.values())
        if answer and sound and json.dumps(content["question"], sort_keys=True) == asked:
            return answer
    return None


def _keep(name: str, asked: str, answer: dict[str, float]) -> dict[str, float] | None:
    """Write the answer, or take over the one that another process has written meanwhile; None where neither goes."""
    text = json.dumps({"question": json.loads(asked), "answer": answer}, indent=1) + "\n"
    try:
        with contextlib.suppress(OSError):  # this file system has no links
            write_whole(_path(name), lambda file: file.write(text.encode()), first=True)
        first = _on_disk(name, asked)
        if first is None:
            write_whole(_path(name), lambda file: file.write(text.encode()))
        return first or answer
    except (OSError, RuntimeError):  # a read-only disk; no home folder
        return None
