"""How each run of a table ended, and which of its settings was the best."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrtune.records.columns import Found
from lrtune.records.history import Reading
from lrtune.records.left_out import LeftOut
from lrtune.records.notation import is_blank
from lrtune.records.record import Status
from lrtune.records.states import State, state_column, state_of
from lrtune.records.table import Table


@dataclass(frozen=True)
class Run:
    """A row with its verdict; `loss` is None where it is no finite number."""

    reading: Reading
    status: Status
    loss: float | None


def runs_of(
    readings: Sequence[Reading],
    table: Table,
    found: Found,
    failed: Callable[[Mapping[str, Any]], bool] | None,
    left_out: LeftOut,
) -> list[Run]:
    """The runs that can be used.

    A row without a loss is a run that diverged where its size has finished runs, all at lower rates: tools write
    diverged runs as blanks and failures, and to leave them out would move the best rate beyond the cliff. Elsewhere
    nobody knows what it is, and it is left out.

    Args:
        failed: says which rows are to be taken as diverged.
    """
    column = state_column(table, found.used)
    states = [_state(reading, column, failed, found, left_out) for reading in readings]
    highest: dict[tuple[float, ...], float] = {}
    for reading, state in zip(readings, states, strict=True):
        if state is State.FINISHED and reading.loss is not None:
            place = tuple(reading.scales.values())
            highest[place] = max(highest.get(place, 0.0), reading.learning_rate)
    runs = []
    for reading, state in zip(readings, states, strict=True):
        status = _status(reading, state, column, found, highest, left_out)
        if status is not None:
            finite = reading.loss if reading.loss is not None and math.isfinite(reading.loss) else None
            runs.append(Run(reading, status, finite))
    return runs


def _state(
    reading: Reading,
    column: str | None,
    failed: Callable[[Mapping[str, Any]], bool] | None,
    found: Found,
    left_out: LeftOut,
) -> State | None:
    """The state of a run by its own row; None for a word that no tool is known to use."""
    if failed is not None and failed(reading.cells):
        left_out.take_as("diverged by --failed-when", reading.place, reading.written)
        return State.DIVERGED
    if reading.loss is not None and not math.isfinite(reading.loss):
        left_out.take_as(f"diverged, {found.loss!r} is not finite", reading.place, reading.written)
        return State.DIVERGED
    said = State.FINISHED if column is None or is_blank(reading.cells.get(column)) else state_of(reading.cells[column])
    if said is State.FINISHED and reading.loss is None and not is_blank(reading.written):
        return state_of(reading.written) or said
    return said


def _status(
    reading: Reading,
    state: State | None,
    column: str | None,
    found: Found,
    highest: Mapping[tuple[float, ...], float],
    left_out: LeftOut,
) -> Status | None:
    cell = reading.cells.get(column) if column else reading.written
    if state is State.DIVERGED:
        return "diverged"
    if state in (State.PRUNED, State.COLLAPSED):
        left_out.take_as(f"ended early, {state.value}", reading.place, cell)
        return "beaten" if state is State.PRUNED else "collapsed"
    if state is State.FINISHED and reading.loss is not None:
        if column is None and reading.stopped_at is not None:
            left_out.add("ended before half of the steps of its size", reading.place, f"step {reading.stopped_at:g}")
            return None
        return "finished"
    unreadable = reading.loss is None and re.search(r"\d", str(reading.written)) is not None
    place = tuple(reading.scales.values())
    is_failure = state is State.INFEASIBLE or (state in (State.FINISHED, State.FAILED) and reading.loss is None)
    if is_failure and not unreadable and place in highest and reading.learning_rate > highest[place]:
        why = "it breaks a constraint" if state is State.INFEASIBLE else f"no number in {found.loss!r}"
        status: Status = "collapsed" if state is State.INFEASIBLE else "diverged"
        left_out.take_as(f"{status}, {why} above all finished rates of its size", reading.place, reading.written)
        return status
    if state is None:
        left_out.add(f"a state in {column!r} that is not known", reading.place, cell)
    elif state is State.FINISHED:
        left_out.add(f"no number in {found.loss!r}", reading.place, reading.written)
    else:
        left_out.add(state.value, reading.place, cell)
    return None


def best_over(runs: Sequence[Run], over: Sequence[str], maximize: bool, left_out: LeftOut) -> list[Run]:
    """At each size and rate, the runs whose other settings have the best mean loss."""
    groups: dict[tuple[Any, ...], dict[tuple[str, ...], list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        settings = tuple(str(run.reading.cells.get(column)) for column in over)
        groups[run.reading.setting][settings].append(run)
    kept = [
        run for settings in groups.values() for run in min(settings.values(), key=lambda g: _mean_loss(g, maximize))
    ]
    if len(kept) < len(runs):
        left_out.set_aside(f"not the best over {', '.join(over)}", len(runs) - len(kept))
    return kept


def _mean_loss(runs: Sequence[Run], maximize: bool) -> float:
    losses = [-run.loss if maximize else run.loss for run in runs if run.status == "finished" and run.loss is not None]
    return sum(losses) / len(losses) if losses else math.inf
