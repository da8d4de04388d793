"""The outcome of each run of a table."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrtune.records.columns import Found
from lrtune.records.history import Reading
from lrtune.records.left_out import LeftOut
from lrtune.records.magnitude import largest
from lrtune.records.notation import is_blank
from lrtune.records.record import Status
from lrtune.records.states import State, flag_columns, is_yes, state_column, state_of
from lrtune.records.table import Table

_ENDED_EARLY: dict[State, Status] = {
    State.PRUNED: "beaten",
    State.COLLAPSED: "collapsed",
    State.DIVERGED: "diverged",
}


@dataclass(frozen=True)
class Run:
    """A row with its verdict; `loss` is None if it is not a measurement."""

    reading: Reading
    status: Status
    loss: float | None


@dataclass(frozen=True)
class _Verdict:
    """The state of a run from its own row (None: an unknown word), the reason, and the cell."""

    state: State | None
    why: str
    cell: Any


def runs_of(
    readings: Sequence[Reading],
    table: Table,
    found: Found,
    failed: Callable[[Mapping[str, Any]], bool] | None,
    left_out: LeftOut,
) -> list[Run]:
    """The usable runs.

    A row without a loss counts as diverged if its size has finished runs and all of them have lower rates: tools
    write diverged runs as blanks and failures, and omitting them would move the best rate beyond the cliff. Any other
    row without a loss is left out.

    Args:
        failed: the condition for rows that count as diverged.
    """
    column = state_column(table, found.used)
    flags = flag_columns(table, found.used)
    losses = (abs(reading.loss) for reading in readings if reading.loss is not None and not math.isnan(reading.loss))
    limit = largest(min(losses, default=1.0))
    verdicts = [_verdict(reading, column, flags, failed, found.loss, limit) for reading in readings]
    highest: dict[tuple[float, ...], float] = {}
    for reading, verdict in zip(readings, verdicts, strict=True):
        if verdict.state is State.FINISHED and reading.loss is not None:
            place = tuple(reading.scales.values())
            highest[place] = max(highest.get(place, 0.0), reading.learning_rate)
    runs = []
    for reading, verdict in zip(readings, verdicts, strict=True):
        status = _status(reading, verdict, highest, left_out)
        if status is not None:
            is_measured = reading.loss is not None and abs(reading.loss) <= limit
            runs.append(Run(reading, status, reading.loss if is_measured else None))
    return runs


def _verdict(
    reading: Reading,
    column: str | None,
    flags: Mapping[str, State],
    failed: Callable[[Mapping[str, Any]], bool] | None,
    loss: str,
    limit: float,
) -> _Verdict:
    if failed is not None and failed(reading.cells):
        return _Verdict(State.DIVERGED, "by --failed-when", reading.written)
    if reading.loss is not None and not abs(reading.loss) <= limit:
        return _Verdict(State.DIVERGED, f"{loss!r} is not finite or above {limit:g}", reading.written)
    for name, state in flags.items():
        if is_yes(reading.cells.get(name)):
            return _Verdict(state, f"by {name!r}", reading.cells[name])
    if column is not None and not is_blank(reading.cells.get(column)):
        cell = reading.cells[column]
        if state_of(cell) is not State.FINISHED:
            return _Verdict(state_of(cell), f"by {column!r}", cell)
    elif reading.loss is not None and reading.stopped_at is not None:
        return _Verdict(State.STOPPED, "before half of the steps of its size", f"step {reading.stopped_at:g}")
    if reading.loss is None and not is_blank(reading.written):
        return _Verdict(state_of(reading.written) or State.FINISHED, f"no number in {loss!r}", reading.written)
    return _Verdict(State.FINISHED, f"no number in {loss!r}", reading.written)


def _status(
    reading: Reading, verdict: _Verdict, highest: Mapping[tuple[float, ...], float], left_out: LeftOut
) -> Status | None:
    """The status of a run; None to leave it out."""
    if verdict.state is State.FINISHED and reading.loss is not None:
        return "finished"
    status = _ENDED_EARLY.get(verdict.state) if verdict.state else None
    why, is_infeasible = verdict.why, verdict.state is State.INFEASIBLE
    is_highest = reading.learning_rate > highest.get(tuple(reading.scales.values()), math.inf)
    if status is None and is_highest and _may_have_diverged(reading, verdict.state):
        status = "collapsed" if is_infeasible else "diverged"
        why += ", above all finished rates of its size"
    if status is not None:
        what = f"too high a rate since it {State.INFEASIBLE.value}" if is_infeasible else status
        left_out.take_as(f"{what}, {why}", reading.place, verdict.cell)
    elif verdict.state is State.FINISHED:
        left_out.add(why, reading.place, verdict.cell)
    else:
        left_out.add(
            f"{verdict.state.value if verdict.state else 'in an unknown state'}, {why}", reading.place, verdict.cell
        )
    return status


def _may_have_diverged(reading: Reading, state: State | None) -> bool:
    """Whether the run has no valid loss for a reason that its rate may have caused."""
    is_word = reading.loss is None and not re.search(r"\d", str(reading.written))
    return state is State.INFEASIBLE or (state in (State.FINISHED, State.FAILED) and is_word)
