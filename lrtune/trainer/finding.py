"""One line of the check of a trainer."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["right", "optional", "missing", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of the check.

    ``right``; ``optional``, what a trainer may add; ``missing``, what makes a search worse; ``wrong``, what fails it.
    """

    level: Level
    text: str
    flags: tuple[str, ...] = ()  # for the search
