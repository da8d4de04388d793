"""Ray Tune folders: a ``result.json`` with the results of each trial, and the experiment state with its status."""

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lrtune.errors import plain
from lrtune.records.columns import is_size
from lrtune.records.table import Row
from lrtune.records.tables import read_bytes
from lrtune.trainer.measures import flat

_STEP = "training_iteration"


def ray_rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    """The last result of each trial. A trial that a scheduler stopped before others of its size counts as beaten."""
    last = {file.parent: _last_line(read_bytes(file, folder).decode("utf-8", errors="replace")) for file in files}
    states = _states(folder, {experiment for trial in last for experiment in (trial, trial.parent)})
    longest: dict[Hashable, float] = defaultdict(float)
    for result in last.values():
        longest[_size(result)] = max(longest[_size(result)], result.get(_STEP) or 0)
    for trial, result in last.items():
        is_whole = (result.get(_STEP) or 0) >= longest[_size(result)]
        state = states.get(str(result.get("trial_id")), "TERMINATED" if is_whole or result.get("done") else "RUNNING")
        if (trial / "error.txt").exists():
            state = "ERROR"
        elif state == "TERMINATED" and not is_whole:
            state = "pruned"
        cells = {**result, "config": result.get("config") or {}, "state": state.lower()}
        yield Row(plain(trial.relative_to(folder)), flat(cells))


def _size(result: dict[str, Any]) -> Hashable:
    return tuple(str(value) for name, value in flat({"config": result.get("config") or {}}).items() if is_size(name))


def _states(folder: Path, places: Iterable[Path]) -> dict[str, str]:
    """Trial id → state, from the newest saved experiment state."""
    found: dict[str, str] = {}
    for file in sorted(file for place in places for file in place.glob("experiment_state-*.json")):
        for trial in _parsed(read_bytes(file, folder)).get("trial_data") or ():
            data = _parsed(trial[0]) if isinstance(trial, list) and trial else {}
            found[str(data.get("trial_id"))] = str(data.get("status"))
    return found


def _last_line(text: str) -> dict[str, Any]:
    return next((data for line in reversed(text.split("\n")) if (data := _parsed(line))), {})


def _parsed(text: Any) -> dict[str, Any]:
    """Parse a JSON object; empty for anything else, such as an incomplete last line."""
    try:
        data = json.loads(text) if isinstance(text, str | bytes) else text
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
