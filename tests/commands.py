"""Commands of lrtune in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Ran(NamedTuple):
    """One command: its exit code and what it printed."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]
