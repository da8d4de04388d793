"""Read, write and find the rule file.

`os.path` imports faster than pathlib (see `lrtune.rule.data`).
"""

from __future__ import annotations

import json
import os
import re

from lrtune.errors import InputError, NoActiveRuleError
from lrtune.files import MIB, read_bytes, write_whole
from lrtune.rule.data import Rule
from lrtune.rule.packed import by_columns, pack_draws, pack_runs
from lrtune.rule.parse import SCHEMA, parse_rule

TYPE_CHECKING = False  # `typing` is not imported: see `lrtune.named`
if TYPE_CHECKING:
    from typing import Any

RULE_NAME = "lrtune-rule.json"
ENVIRONMENT = "LRTUNE_RULE"
_HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGED = os.path.join(_HERE, "packaged-rule.json")
# The rules that come with lrtune, by the names that ask for them wherever a rule file is named.
PACKAGED_RULES = {"packaged": PACKAGED, "packaged:muon": os.path.join(_HERE, "packaged-muon.json")}
_MAX_BYTES = 4 * MIB
# A list of numbers and nulls; strings hold no line breaks.
_ROW = r"\[\n[-\d.e+,\snul]+\]"


def load_rule(path: str | os.PathLike[str] | None = None) -> Rule:
    """Read a rule: a file, a run folder, a name of `PACKAGED_RULES`, or without a path the one that `find_rule` finds.

    Raises:
        InputError: the file is missing or not a rule; one line with the file, the field and the remedy.
        NoActiveRuleError: the file says that a search or fit found no rule.
    """
    name = _file_named(path) if path is not None else find_rule()[0]
    try:
        data = read_bytes(name, most=_MAX_BYTES)
    except OSError as error:
        raise InputError(f"{name}: cannot read the rule: {error.strerror}") from error
    try:
        return parse_rule(data, source=name)
    except InputError as error:
        raise InputError(f"{name}: {error}; run `lrtune fit` to write it again") from None
    except NoActiveRuleError as error:
        raise NoActiveRuleError(f"{name}: {error}; name another rule with --rule") from None


def _file_named(path: str | os.PathLike[str]) -> str:
    """The file behind a name: that of a run folder is its rule.json."""
    name = os.fspath(path)
    if name in PACKAGED_RULES:
        return PACKAGED_RULES[name]
    if name.startswith("packaged:"):
        raise InputError(f"rule: expected {' or '.join(PACKAGED_RULES)}, but got {name!r:.60}")
    return os.path.join(name, "rule.json") if os.path.isdir(name) else name


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


def find_rule(start: str | None = None) -> tuple[str, str]:
    """The default rule file, and how it was found.

    ``$LRTUNE_RULE``; else the project's (`project_rule`); else the packaged rule, which is not of your model.

    Raises:
        InputError: ``$LRTUNE_RULE`` names no file.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        file = _file_named(named)
        if not os.path.isfile(file):
            raise InputError(f"${ENVIRONMENT}: no rule file at {named}; correct or unset the variable")
        return file, f"${ENVIRONMENT}"
    found = project_rule(start)
    return (found, "project") if found is not None else (PACKAGED, "packaged")


def project_rule(start: str | None = None) -> str | None:
    """The nearest ``lrtune-rule.json``, or None.

    It lies in the working folder (or `start`) or a parent up to the project's root, the folder with ``.git`` or
    ``pyproject.toml``; outside of a project, in the working folder alone. A file of another user, or in another user's
    folder, is ignored.
    """
    folder = here = os.path.abspath(start or os.getcwd())
    found = []
    while True:
        candidate = os.path.join(folder, RULE_NAME)
        if os.path.isfile(candidate) and _is_trusted(candidate) and _is_trusted(folder):
            found.append(candidate)
        if any(os.path.exists(os.path.join(folder, mark)) for mark in (".git", "pyproject.toml")):
            return found[0] if found else None
        parent = os.path.dirname(folder)
        if parent == folder:
            return next((file for file in found if os.path.dirname(file) == here), None)
        folder = parent


def _is_trusted(path: str) -> bool:
    """Whether this user or root owns it."""
    return os.stat(path).st_uid in (0, os.geteuid())


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
        return re.sub(_ROW, _on_one_line, json.dumps(data, allow_nan=False, indent=1)) + "\n"
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
    return re.sub(r"\.0(?=[,\]])", "", "".join(row.group().split()))
