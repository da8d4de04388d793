"""The active rule: ``lrtune-rule.json``, and who may replace it.

A rule becomes active if none is, or if it comes from the run folder or the tables of the active one. Otherwise the
active one stays: an answer for another model must not take its place in silence.
"""

import json
import os
from collections.abc import Sequence

from lrtune.errors import InputError, NoActiveRuleError, plain, redact
from lrtune.files import write_whole
from lrtune.rule.data import Rule
from lrtune.rule.file import ENVIRONMENT, RULE_NAME, load_rule, project_rule
from lrtune.rule.parse import SCHEMA
from lrtune.rule.written import save_rule

ORIGIN = "fitted to"  # in a rule's provenance: its run folder or tables, in an active rule relative to its folder
Name = str | os.PathLike[str]
_LONGEST = 2000  # characters of a reason


def activate(rule: Rule, sources: Sequence[Name], *, force: bool = False) -> tuple[bool, str]:
    """Write `rule` to the project's ``lrtune-rule.json`` unless another rule is active.

    Args:
        sources: the run folder or tables that it was fitted to; empty to keep the origin that it names.
        force: replace the active rule too; the former one is kept as ``lrtune-rule.json.bak``.

    Returns:
        Whether it is active now, and one line that says which rule is.

    Raises:
        InputError: the file cannot be written.
    """
    standing = project_rule()
    path = _shown(standing) if standing else RULE_NAME
    origin = _origin(sources, os.path.dirname(path)) if sources else rule.provenance.get(ORIGIN, "")
    former, is_rule = _origin_of(standing)
    named = os.environ.get(ENVIRONMENT)
    if not force and named:
        return False, f"active rule: unchanged, ${ENVIRONMENT} names {named}"
    if not force and is_rule and former != origin:
        return False, f"active rule: unchanged, {path}, fitted to {former or 'other runs'}"
    whole = rule._replace(provenance={**rule.provenance, **({ORIGIN: origin} if origin else {})})
    save_rule(whole, path, backup=is_rule, follow_links=True)
    if named:
        return False, f"wrote {path}, but ${ENVIRONMENT} names {named}, which stays active"
    kept = f"; the former one, fitted to {former or 'other runs'}, is in {path}.bak" if former != origin else ""
    return True, f"active rule: {path}" + (kept if is_rule else "")


def note_no_rule(reason: str, sources: Sequence[Name]) -> str | None:
    """Let ``lrtune-rule.json`` say why there is no rule, unless a rule is active.

    Asking then fails with the reason, instead of answering with the packaged rule.

    Returns:
        One line about the file, or None if a rule is active.
    """
    standing = project_rule()
    if os.environ.get(ENVIRONMENT) or _origin_of(standing)[1]:
        return None
    path = _shown(standing) if standing else RULE_NAME
    content = {
        "schema": SCHEMA,
        "rule": None,
        "reason": " ".join(plain(reason).split())[:_LONGEST],
        "provenance": {ORIGIN: _origin(sources, os.path.dirname(path))},
    }
    try:
        write_whole(path, json.dumps(content, indent=1) + "\n", follow=True)
    except OSError as error:
        return f"cannot write {path}: {error.strerror}"
    return f"active rule: none, {path} says why"


def _origin(sources: Sequence[Name], folder: str) -> str:
    """The sources as one line: paths relative to `folder`, URLs without passwords."""
    names, here = [], os.path.realpath(folder or os.curdir)
    for source in (os.fspath(each) for each in sources):
        is_path = os.path.exists(source)
        names.append(os.path.relpath(os.path.realpath(source), here) if is_path else redact(source))
    return ", ".join(sorted(names))[:_LONGEST]


def _origin_of(path: str | None) -> tuple[str, bool]:
    """The origin of an active rule file, and whether it holds a rule; a damaged file counts as one."""
    if path is None:
        return "", False
    try:
        return load_rule(path).provenance.get(ORIGIN, ""), True
    except NoActiveRuleError:
        return "", False
    except InputError:
        return "unknown runs: it cannot be read", True


def _shown(path: str) -> str:
    """The path from the working folder if it is below it."""
    name = os.path.relpath(path)
    return path if name.startswith(os.pardir) else name
