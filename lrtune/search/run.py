"""Search: ask learning rates, have them trained, tell the results, end with a rule.

What a program calls. The loop itself is `lrtune.search.session`; which runs are made is `lrtune.search.designs` and
`lrtune.search.adaptive`; what a worker does is `lrtune.search.workers.worker`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lrtune.search.designs import Design, FixedDesign, GridDesign
from lrtune.search.events import OnEvent
from lrtune.search.plan import Plan, check_budget, plan
from lrtune.search.session import Options, SearchResult, Session
from lrtune.search.status import Status, status
from lrtune.study.study import Study
from lrtune.study.task import Task

__all__ = ["Options", "Plan", "SearchResult", "Status", "Task", "plan", "run_fixed", "run_search", "status"]


def run_search(study: Study, out: Path, *, on_event: OnEvent | None = None, **options: Any) -> SearchResult:
    """Run a study, or go on with it, until it knows enough, its design is complete, or its budget is spent.

    Args:
        study: what to ask.
        out: the run folder; one that holds this study is continued.
        on_event: called in this thread with what happens.
        **options: see `Options`.

    Raises:
        InputError: something given cannot work; nothing was started.
        RunFailedError: several runs in a row failed, the storage is lost, the disk is full.
    """
    check_budget(study)
    return Session(study, out, _design(study), Options(**options), on_event).run()


def run_fixed(
    study: Study, tasks: Iterable[Task], out: Path, *, on_event: OnEvent | None = None, **options: Any
) -> SearchResult:
    """Run given tasks, each once, as `run_search` does; no rule is fitted."""
    return Session(study, out, FixedDesign(tasks), Options(**options), on_event, is_search=False).run()


def _design(study: Study) -> Design:
    """A fixed grid, or what the scale-aware sampler asks."""
    if study.design == "grid":
        return GridDesign(study)
    from lrtune.search.adaptive import AdaptiveDesign

    return AdaptiveDesign(study)
