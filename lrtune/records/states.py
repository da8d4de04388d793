"""The run states of other tools, and whether a state makes the loss valid."""

from collections.abc import Iterable
from enum import Enum
from typing import Any

from lrtune.records.notation import is_blank
from lrtune.records.table import Table


class State(Enum):
    """How a run ended. Only a finished run is a measurement of its final loss."""

    FINISHED = "finished"
    FAILED = "failed"  # the program failed, often because the loss was NaN
    STOPPED = "stopped before its end"
    RUNNING = "not ended yet"
    PRUNED = "beaten"  # stopped early because its peers were better
    COLLAPSED = "collapsed"
    DIVERGED = "diverged"
    INFEASIBLE = "breaks a constraint"


_WORDS = {
    State.FINISHED: (
        "finished finish complete completed done success succeeded successful ok terminated published inactive"
    ),
    State.FAILED: "failed fail failure error errored exception",
    State.STOPPED: (
        "crashed crash killed kill cancelled canceled aborted abort interrupted preempted stopped timeout timed_out "
        "oom out_of_memory node_fail lost deadline boot_fail"
    ),
    State.RUNNING: (
        "running pending queued scheduled waiting created paused preempting started in_progress inprogress active "
        "stopping resuming"
    ),
    State.PRUNED: "pruned beaten early_stopped",
    State.COLLAPSED: "collapsed",
    State.DIVERGED: "diverged divergence diverging exploded explosion overflow unstable blowup blew_up",
    State.INFEASIBLE: "infeasible",
}
_STATE_OF = {word: state for state, words in _WORDS.items() for word in words.split()}
_YES, _NO = ("true", "yes", "1", "1.0", "y", "t"), ("false", "no", "0", "0.0", "n", "f")
_COLUMNS = ("state", "status", "run_state", "run_status", "trial_state", "trial_status")


def state_of(word: Any) -> State | None:
    """The state that a word names, ignoring case; None for an unknown word."""
    text = str(word).strip().lower().replace("-", "_").rpartition(".")[2]
    return _STATE_OF.get(text.replace(" ", "_")) or _STATE_OF.get(text.partition(" ")[0])  # Slurm: CANCELLED by 1000


def state_column(table: Table, taken: Iterable[str | None]) -> str | None:
    """The column of run states, if any: it has a usual name and contains a known state."""
    own = {name.lower().replace(" ", "_").rpartition(".")[2]: name for name in table.names if name not in set(taken)}
    for name in (own[word] for word in _COLUMNS if word in own):
        if any(state_of(row.cells.get(name)) for row in table.rows):
            return name
    return None


def flag_columns(table: Table, taken: Iterable[str | None]) -> dict[str, State]:
    """Boolean columns named after a state other than finished, such as ``diverged`` with 0 and 1."""
    found = {name: state_of(name) for name in table.names if name not in set(taken)}
    return {
        name: state
        for name, state in found.items()
        if state not in (None, State.FINISHED, State.RUNNING)
        and all(is_blank(row.cells.get(name)) or _plain(row.cells.get(name)) in (*_YES, *_NO) for row in table.rows)
    }


def is_yes(cell: Any) -> bool:
    """Whether a cell of a boolean column is true."""
    return _plain(cell) in _YES


def _plain(cell: Any) -> str:
    return str(cell).strip().lower()
