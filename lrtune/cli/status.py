"""`lrtune status`: show the state of a run."""

from typing import TYPE_CHECKING, Any

from lrtune.cli.flags import Json, Run, Storage
from lrtune.cli.terminal import result, result_json

if TYPE_CHECKING:
    from lrtune.search.status import Status


def status(run: Run, storage: Storage = None, json_: Json = False) -> None:
    """Show the state of a run: trials by verdict, the best so far, and a check of its records against its storage."""
    from lrtune.search import status as search_status

    state = search_status.status(run, storage=storage)
    result_json(_data(state)) if json_ else result(str(state))


def _data(state: "Status") -> dict[str, Any]:
    best = [
        {**record.place, "learning_rate": record.learning_rate, "loss": record.measure, "trial": record.trial}
        | ({"knobs": dict(record.knobs)} if record.knobs else {})
        for record in state.best
    ]
    return {
        "run": str(state.out),
        "study": state.study.name,
        "trials": dict(state.counts),
        "waiting": state.waiting,
        "running": state.running,
        "searching": state.searching,
        "best": best,
        "records_whole": state.is_whole,
        "problems": state.problems(),
    }
