"""verification.json next to a rule: the results of `lrtune verify` and `lrtune check`, one section each."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lrtune.files import MIB, read_text, write_whole
from lrtune.rule import Rule
from lrtune.rule.file import PACKAGED

FILE = "verification.json"
_SCHEMA = 1


def path_beside(rule: Rule, otherwise: Path) -> Path:
    """The verification file of a rule: next to the rule file, or in `otherwise` for the packaged rule or no file."""
    file = Path(rule.source).absolute() if rule.source else None
    return (otherwise if file is None or file.parent == Path(PACKAGED).parent else file.parent) / FILE


def keep(path: Path, section: Literal["verify", "check"], rows: Mapping[str, Any]) -> None:
    """Add rows to a section of the file and keep the rest; an unreadable file is replaced.

    Raises:
        OSError: the file cannot be written.
    """
    content = _read(path)
    before = content.get(section)
    content = {"schema": _SCHEMA, **content, section: {**(before if isinstance(before, dict) else {}), **rows}}
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path, most=MIB * 16), parse_constant=lambda name: None)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
