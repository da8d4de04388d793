"""Counts of the rows that an import did not use, by reason, with a sample of each."""

from collections import Counter
from typing import Any

from lrtune.errors import InputError, counted
from lrtune.fields import show

_WARNED = 0.1
_REFUSED = 0.5


class LeftOut:
    """Counts rows by reason.

    `add` counts unusable rows, `set_aside` rows excluded on purpose (earlier steps of a run, rows that the user
    dropped), and `take_as` rows used with another status.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._left_out: Counter[str] = Counter()
        self._aside: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._samples: dict[str, str] = {}

    def add(self, reason: str, place: str, cell: Any) -> None:
        """Count one unusable row; `cell` shows why."""
        self._left_out[reason] += 1
        self._samples.setdefault(reason, f"{place}: {show(cell)}")

    def set_aside(self, reason: str, count: int = 1) -> None:
        """Count rows excluded on purpose."""
        self._aside[reason] += count

    def take_as(self, what: str, place: str, cell: Any) -> None:
        """Count one row used as something other than a finished run."""
        self._taken[what] += 1
        self._samples.setdefault(what, f"{place}: {show(cell)}")

    def lines(self, used: int) -> list[str]:
        """One line for each count; the first gives the number of rows used."""
        total = used + self._left_out.total() + self._aside.total()
        return [
            f"{self.source}: {counted(total, 'row')} read, {used} used",
            *(f"left out, {self._counted(self._left_out, reason)}" for reason in sorted(self._left_out)),
            *(f"set aside, {self._counted(self._aside, reason)}" for reason in sorted(self._aside)),
            *(f"taken as {self._counted(self._taken, reason)}" for reason in sorted(self._taken)),
        ]

    def warnings(self, used: int) -> list[str]:
        """A warning if more than a tenth of the rows are unusable.

        Raises:
            InputError: more than half of the rows are unusable.
        """
        missing = self._left_out.total()
        total = used + missing
        reasons = "; ".join(self._counted(self._left_out, reason) for reason, _ in self._left_out.most_common(3))
        if total and missing > _REFUSED * total:
            raise InputError(
                f"{self.source}: expected at least half of the rows to be usable, but {missing} of {total} are not: "
                f"{reasons}; use --drop-when to exclude rows on purpose"
            )
        if missing > _WARNED * total:
            return [f"{self.source}: {missing} of {total} rows could not be used: {reasons}"]
        return []

    def _counted(self, counter: Counter[str], reason: str) -> str:
        sample = f" ({self._samples[reason]})" if reason in self._samples else ""
        return f"{reason}: {counted(counter[reason], 'row')}{sample}"
