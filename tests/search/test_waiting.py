"""When a search says what it waits for, and what it says."""

from lrtune.search.waiting import FIRST_SECONDS, Waiting
from lrtune.search.workers.leases import Lease
from lrtune.study.task import Task
from lrtune.trainer.trial import Report


def lease(step: int | None, trial: int = 3) -> Lease:
    last = None if step is None else Report(step, 3.0, None, {})
    task = Task(hidden_size=64, learning_rate=0.01, scales={"batch": 8.0})
    return Lease(trial=trial, attempt=1, owner="me", peers="", task=task, last=last)


def said(waiting: Waiting, running: list[Lease], seconds: range, *, waits: int = 2) -> list[str]:
    looks = (waiting.look(running, waiting=waits, ended=5, workers=1, now=float(now)) for now in seconds)
    return [text for text in looks if text is not None]


def test_an_idle_search_prints_what_it_waits_for_at_growing_intervals() -> None:
    lines = said(Waiting(), [lease(40), lease(None, trial=4)], range(0, int(8 * FIRST_SECONDS), 2))
    assert len(lines) == 3, "after five, ten and twenty minutes"
    assert lines[0] == (
        "nothing new for 5 min: waiting for a report of trial 3 (hidden 64, batch 8) at step 40 and 1 other; "
        "--trial-timeout ends a run that hangs"
    )
    assert lines[1].startswith("nothing new for 10 min")


def test_a_report_restarts_the_timeout() -> None:
    waiting, half = Waiting(), int(FIRST_SECONDS * 0.7)
    for step, start in ((40, 0), (42, half), (44, 2 * half)):
        assert said(waiting, [lease(step)], range(start, start + half, 2)) == []


def test_without_a_run_it_says_how_many_wait_and_how_many_workers_there_are() -> None:
    (line,) = said(Waiting(), [], range(0, int(FIRST_SECONDS) + 4, 2))
    assert line == "nothing new for 5 min: waiting for 1 worker to start 2 trials; see logs in the run folder"


def test_a_pause_of_the_search_itself_does_not_count_as_silence() -> None:
    waiting = Waiting()
    assert said(waiting, [lease(40)], range(0, 10)) == []
    assert said(waiting, [lease(40)], range(7200, 7300, 2)) == []
