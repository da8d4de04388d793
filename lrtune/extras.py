"""Optional packages: which extra brings which, and importing one with an error that names its extra."""

import importlib
import re
from typing import Any

from lrtune.errors import MissingExtraError

_REQUIREMENT = re.compile(r"([\w.-]+).*?(?:extra\s*==\s*['\"]([\w-]+)['\"])?$")


def packages() -> dict[str, list[str]]:
    """Extra → the packages that it brings, as the installed distribution says; what is always needed is under ""."""
    import importlib.metadata

    found: dict[str, list[str]] = {}
    try:
        requirements = importlib.metadata.requires("lrtune") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    for requirement in requirements:
        if match := _REQUIREMENT.match(requirement):
            found.setdefault(match.group(2) or "", []).append(match.group(1))
    return found


def extra_with(package: str) -> str | None:
    """The first extra that brings a package; None where none does, or it is always there."""
    return next((extra for extra, names in packages().items() if extra and package in names), None)


def import_extra(module: str, *, extra: str, purpose: str, package: str = "") -> Any:
    """The module of an optional package.

    Args:
        module: its dotted name.
        extra: the extra of lrtune that brings it.
        purpose: what needs it, as the subject of a sentence.
        package: the distribution's name, where that is not the module's.

    Raises:
        MissingExtraError: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(extra, package or module, purpose) from error
