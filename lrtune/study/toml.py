"""Read and write study.toml; parse durations such as ``10m``."""

import dataclasses
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, plain
from lrtune.fields import LARGEST, unexpected, unknown_key
from lrtune.files import MIB, Name, read_text
from lrtune.study.log import Log
from lrtune.study.study import FIELDS, Budget, PruningPolicy, Study

_LONGEST = 400  # characters of a message
_MOST_PARTS = 100
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?<![\w-])(?:{_PART}\s*+\.\s*+){{{_MOST_PARTS}}}")


def load_study(path: Path, *, within: Name | None = None) -> Study:
    """Read and check a study.toml; `within` is the run folder that must contain it after links are resolved.

    Raises:
        InputError: the file is missing or invalid TOML, or has an unknown key or invalid value.
    """
    try:
        content = read_text(path, within=within, most=MIB)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise InputError(f"{path}: cannot read the study: {reason}") from error
    return parse_study(content, source=str(path))


def parse_study(content: str, *, source: str = "study.toml") -> Study:
    """Parse the text of a study.toml; error messages call it `source`."""
    if _DEEP_KEY.search(content):  # tomllib takes minutes for a key of many parts
        raise InputError(f"{source}: expected keys of at most {_MOST_PARTS} dotted parts")
    try:
        data = tomllib.loads(content)
    except (ValueError, RecursionError) as error:  # ValueError: invalid TOML, or an integer of thousands of digits
        raise InputError(f"{source}: invalid TOML: {_line(error)}") from error
    try:
        return _from_tables(data)
    except InputError as error:
        raise InputError(f"{source}: {_line(error)}") from None


def _line(error: Exception) -> str:
    return plain(error).replace("\n", " ")[:_LONGEST]


def _from_tables(data: Mapping[str, Any]) -> Study:
    """Map the file's tables to fields of a study, which checks the values."""
    for name, entries in data.items():
        if name not in (*_TABLES, *_LISTS):
            raise InputError(unknown_key("table", name, (*_TABLES, *_LISTS)))
        if name not in _LISTS and not isinstance(entries, dict):
            raise unexpected(name, "a table", entries)
    values: dict[str, Any] = {field: data[name] for name, field in _LISTS.items() if name in data}
    rest: dict[str, dict[str, Any]] = {}
    for name in _TABLES:
        fields, entries = _FIELD_OF.get(name, {}), data.get(name, {})
        values.update({fields[key]: value for key, value in entries.items() if key in fields})
        rest[name] = {key: value for key, value in entries.items() if key not in fields}
    for name, known in _CLOSED.items():
        for key in rest[name]:
            if key not in known:
                raise InputError(unknown_key(f"[{name}]", key, (*known, *_FIELD_OF.get(name, ()))))
    budget = {_BUDGET_KEYS[key]: value for key, value in rest["budget"].items()}
    if "seconds" in budget:
        budget["seconds"] = parse_seconds(budget["seconds"], field="budget.time")
    values.update({name: rest[name] for name in ("scales", "step_tokens", "knobs", "options", "arms")})
    return Study(**values, log=Log(**rest["log"]), pruning=PruningPolicy(**rest["pruning"]), budget=Budget(**budget))


_LISTS = {"target": "targets"}  # list of tables → field
_TABLES = ("study", "log", "learning_rate", "scales", "step_tokens", "knobs", "options", "arms", "pruning", "budget")
_BUDGET_KEYS = {"time": "seconds", "trials": "trials", "tokens": "tokens", "tolerance": "tolerance"}
_PLACES = {  # field → (table, key)
    name: where.partition(".")[::2] for name, (where, _) in FIELDS.items() if where not in _LISTS
}
_FIELD_OF = {name: {key: field for field, (table, key) in _PLACES.items() if key and table == name} for name in _TABLES}
# tables with a fixed set of keys → their keys that are not fields of `Study`
_CLOSED: dict[str, list[str]] = {
    "study": [],
    "learning_rate": [],
    "log": [field.name for field in dataclasses.fields(Log)],
    "pruning": [field.name for field in dataclasses.fields(PruningPolicy)],
    "budget": [*_BUDGET_KEYS],
}


def to_toml(study: Study) -> str:
    """Write the study as TOML; `parse_study` reads back an equal study.

    Raises:
        InputError: an option or arm has a value that TOML cannot represent (None, for example).
    """
    import tomli_w

    tables: dict[str, Any] = {name: {} for name in _TABLES}
    for field, (table, key) in _PLACES.items():
        value = getattr(study, field)
        if not key:
            tables[table].update({name: str(item) for name, item in value.items()} if table == "knobs" else value)
        elif value != ():
            tables[table][key] = value
    tables["log"].update({key: value for key, value in dataclasses.asdict(study.log).items() if value})
    tables["pruning"].update(dataclasses.asdict(study.pruning))
    budget = {key: getattr(study.budget, name) for key, name in _BUDGET_KEYS.items()}
    tables["budget"] = {key: value for key, value in budget.items() if value is not None}
    tables.update({name: list(getattr(study, field)) for name, field in _LISTS.items()})
    try:
        return tomli_w.dumps({name: entries for name, entries in tables.items() if entries})
    except (TypeError, ValueError) as error:
        raise InputError(f"study: cannot write it as TOML: {_line(error)}") from error


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_seconds(duration: object, *, field: str = "budget") -> float:
    """Parse ``90``, ``90s``, ``10m``, ``1.5h``, ``1h30m`` or ``2d`` into seconds."""
    if isinstance(duration, str) and len(duration) < 40 and not re.sub(_DURATION, "", duration).strip():
        parts = _DURATION.findall(duration)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else math.nan
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        seconds = float(min(duration, LARGEST))
    else:
        seconds = math.nan
    if not 0 < seconds < LARGEST:
        raise unexpected(field, "a positive duration such as 90s, 10m or 1h30m", duration)
    return seconds
