"""The common result of all readers: rows of named cells, each with its position in the source."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lrtune.errors import InputError

MOST_ROWS = 1_000_000
MOST_CELLS = 20_000_000
MOST_NAMES = 20_000


class Row(NamedTuple):
    """One row: its position ("line 7", "trial 3") and its cells by column."""

    place: str
    cells: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of one source.

    Attributes:
        source: the name of the source in messages, without a password.
        names: the columns in order.
        rows: the rows in the order of the source.
        notes: rows that the reader skipped, and its assumptions.
        twice: names that the header repeats over different cells.
        objectives: columns that a study optimised, and whether it maximised them.
    """

    source: str
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    twice: frozenset[str] = frozenset()
    objectives: Mapping[str, bool] = field(default_factory=dict)


def table_of(
    source: str, rows: Iterable[Row], notes: Sequence[str] = (), objectives: Mapping[str, bool] | None = None
) -> Table:
    """Build a table from rows of named cells.

    Raises:
        InputError: there are no rows, or more than fit into memory.
    """
    kept = []
    names: dict[str, None] = {}
    cells = 0
    for row in rows:
        kept.append(row)
        names.update(dict.fromkeys(row.cells))
        cells += len(row.cells)
        check_size(source, len(kept), cells, len(names))
    if not kept:
        raise InputError(f"{source}: expected a table with at least one row, but it is empty")
    return Table(
        source=source, names=tuple(names), rows=tuple(kept), notes=tuple(notes), objectives=dict(objectives or {})
    )


def check_size(source: str, rows: int, cells: int, names: int = 0) -> None:
    """Reject a table that would not fit into memory.

    Raises:
        InputError: the table has more rows, cells or columns than the limit.
    """
    if names > MOST_NAMES:
        raise InputError(f"{source}: expected at most {MOST_NAMES:,} columns, but it has more")
    if rows > MOST_ROWS or cells > MOST_CELLS:
        raise InputError(f"{source}: expected at most {MOST_ROWS:,} rows and {MOST_CELLS:,} cells, but it has more")
