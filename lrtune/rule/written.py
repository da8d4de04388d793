"""Write a rule file; `lrtune.rule.parse` reads it."""

import json
import os
import re
from typing import Any

from lrtune.errors import InputError
from lrtune.files import read_bytes, write_whole
from lrtune.rule.data import Rule
from lrtune.rule.packed import by_columns, pack_draws, pack_runs
from lrtune.rule.parse import SCHEMA, parse_rule

# A list of numbers and nulls; strings hold no line breaks.
_ROW = re.compile(r"\[\n[-\d.e+,\snul]+\]")
_WHOLE = re.compile(r"\.0(?=[,\]])")


def save_rule(rule: Rule, path: str | os.PathLike[str], *, backup: bool = False, follow_links: bool = False) -> None:
    """Write a rule file atomically; with `backup`, the previous one is kept as ``NAME.bak``.

    The file replaces a link at `path`; with `follow_links`, the link's target is written instead.

    Raises:
        InputError: the folder cannot be written to, or the rule has a value that a rule file may not contain.
    """
    content = rule_to_json(rule)
    parse_rule(content)
    name = os.fspath(path)
    try:
        if backup and os.path.exists(name):
            write_whole(f"{name}.bak", read_bytes(name))
        write_whole(name, content, follow=follow_links)
    except OSError as error:
        raise InputError(f"{name}: cannot write the rule: {error.strerror}") from error


def rule_to_json(rule: Rule) -> str:
    """The text of the rule file; numbers round-trip exactly, shapes of draws with four digits.

    Raises:
        InputError: a number in it is not finite.
    """
    data = {"schema": SCHEMA, **_data(rule)}
    if rule.knobs:
        data["knobs"] = {name: {**law._asdict(), "rule": _data(law.rule)} for name, law in rule.knobs.items()}
        for law in data["knobs"].values():
            law["coordinate"] = law["coordinate"]._asdict()
            law["zero"] = law["zero"] and law["zero"]._asdict()
    try:
        return _ROW.sub(_on_one_line, json.dumps(data, allow_nan=False, indent=1)) + "\n"
    except ValueError as error:
        raise InputError("rule: expected finite numbers, but got NaN or an infinity") from error


def _data(rule: Rule) -> dict[str, Any]:
    """The content of a rule without its knobs and without what is empty."""
    data: dict[str, Any] = rule._asdict()
    del data["source"], data["knobs"]
    data["scales"] = {name: scale._asdict() for name, scale in rule.scales.items()}
    data["cells"] = by_columns(rule.cells)
    data["law"] = rule.law and rule.law._asdict()
    data["step"] = rule.step and rule.step._asdict()
    data["boundary"] = rule.boundary and {"line": rule.boundary.line._asdict(), "width": rule.boundary.width}
    data["draws"] = rule.draws and pack_draws(rule.draws)
    data["runs"] = pack_runs(rule.runs)
    return {name: value for name, value in data.items() if value not in (None, "", {})}


def _on_one_line(row: re.Match[str]) -> str:
    """A list of numbers and nulls on one line without blanks."""
    return _WHOLE.sub("", "".join(row.group().split()))
