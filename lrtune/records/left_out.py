"""What became of the rows of a source: each reason for which some were not used, with a sample, and their share."""

from collections import Counter
from typing import Any

from lrtune.errors import InputError
from lrtune.fields import show

_WARNED = 0.1
_REFUSED = 0.5


class LeftOut:
    """Counts rows by reason.

    `add` is for rows that could not be used, `set_aside` for those that were not meant to be (earlier steps of
    a run, what the user dropped), `take_as` for those that are used but not as they stand.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._left_out: Counter[str] = Counter()
        self._aside: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._samples: dict[str, str] = {}

    def add(self, reason: str, place: str, cell: Any) -> None:
        """One row that could not be used, and the cell that shows why."""
        self._left_out[reason] += 1
        self._samples.setdefault(reason, f"{place}: {show(cell)}")

    def set_aside(self, reason: str, count: int = 1) -> None:
        """Rows that somebody or something wanted out."""
        self._aside[reason] += count

    def take_as(self, what: str, place: str, cell: Any) -> None:
        """One row that is used as something else than a finished run."""
        self._taken[what] += 1
        self._samples.setdefault(what, f"{place}: {show(cell)}")

    def lines(self, used: int) -> list[str]:
        """The counts, a line each; the first says how many of the rows are used."""
        total = used + self._left_out.total() + self._aside.total()
        return [
            f"{self.source}: {_rows(total)} read, {used} used",
            *(f"left out, {self._counted(self._left_out, reason)}" for reason in sorted(self._left_out)),
            *(f"set aside, {self._counted(self._aside, reason)}" for reason in sorted(self._aside)),
            *(f"taken as {self._counted(self._taken, reason)}" for reason in sorted(self._taken)),
        ]

    def warnings(self, used: int) -> list[str]:
        """A line where more than a tenth of the rows could not be used.

        Raises:
            InputError: more than half could not.
        """
        missing = self._left_out.total()
        total = used + missing
        reasons = "; ".join(self._counted(self._left_out, reason) for reason, _ in self._left_out.most_common(3))
        if total and missing > _REFUSED * total:
            raise InputError(
                f"{self.source}: expected at least half of the rows to be usable, but {missing} of {total} are not: "
                f"{reasons}; rows that are not meant to count can be dropped by --drop-when"
            )
        if missing > _WARNED * total:
            return [f"{self.source}: {missing} of {total} rows could not be used: {reasons}"]
        return []

    def _counted(self, counter: Counter[str], reason: str) -> str:
        sample = f" ({self._samples[reason]})" if reason in self._samples else ""
        return f"{reason}: {_rows(counter[reason])}{sample}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
