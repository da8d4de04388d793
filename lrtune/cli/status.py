"""`lrtune status`: how a run stands."""

from typing import TYPE_CHECKING, Any

from lrtune.cli.flags import Json, Run, Storage
from lrtune.cli.terminal import result, result_json

if TYPE_CHECKING:
    from lrtune.search.status import Status


def status(run: Run, storage: Storage = None, json_: Json = False) -> None:
    """How a run stands: trials by verdict, the best so far, and its records checked against its storage."""
    from lrtune.search import status as search_status

    found = search_status.status(run, storage=storage)
    result_json(_data(found)) if json_ else result(str(found))


def _data(found: "Status") -> dict[str, Any]:
    best = {
        str(size): {"learning_rate": record.learning_rate, "loss": record.loss, "trial": record.trial}
        for size, record in found.best.items()
    }
    return {
        "run": str(found.out),
        "study": found.study.name,
        "trials": dict(found.counts),
        "waiting": found.waiting,
        "running": found.running,
        "searching": found.searching,
        "best": best,
        "records_whole": found.is_whole,
        "problems": found.problems(),
    }
