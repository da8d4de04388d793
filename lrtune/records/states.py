"""What other tools call the state of a run, and what that says of its loss."""

from collections.abc import Iterable
from enum import Enum
from typing import Any

from lrtune.records.table import Table


class State(Enum):
    """How a run ended. Only a finished run is a measurement of its final loss."""

    FINISHED = "finished"
    FAILED = "failed"  # an error of its own, which a loss that is not a number often is
    STOPPED = "stopped before its end"
    RUNNING = "not ended yet"
    PRUNED = "beaten"  # ended early for being worse than its peers
    COLLAPSED = "collapsed"
    DIVERGED = "diverged"
    INFEASIBLE = "breaks a constraint"


_WORDS = {
    State.FINISHED: "finished finish complete completed done success succeeded successful ok terminated",
    State.FAILED: "failed fail failure error errored exception",
    State.STOPPED: (
        "crashed crash killed kill cancelled canceled aborted abort interrupted preempted stopped timeout timed_out "
        "oom out_of_memory node_fail lost deadline boot_fail"
    ),
    State.RUNNING: "running pending queued scheduled waiting created paused preempting started in_progress resuming",
    State.PRUNED: "pruned beaten early_stopped",
    State.COLLAPSED: "collapsed",
    State.DIVERGED: "diverged divergence diverging exploded explosion overflow unstable blowup blew_up",
    State.INFEASIBLE: "infeasible",
}
_STATE_OF = {word: state for state, words in _WORDS.items() for word in words.split()}
_COLUMNS = ("state", "status", "run_state", "run_status", "trial_state", "trial_status")


def state_of(word: Any) -> State | None:
    """The state that a word of some tool means, in any case; None for a word that is none."""
    text = str(word).strip().lower().replace(" ", "_").replace("-", "_").rpartition(".")[2]
    return _STATE_OF.get(text)


def state_column(table: Table, taken: Iterable[str | None]) -> str | None:
    """The column that holds the states of runs, if there is one: by its name, and by a word in it that is a state."""
    own = {name.lower().replace(" ", "_").rpartition(".")[2]: name for name in table.names if name not in set(taken)}
    for name in (own[word] for word in _COLUMNS if word in own):
        if any(state_of(row.cells.get(name)) for row in table.rows):
            return name
    return None
