"""The loop of a search: what it asks for, and when."""

from pathlib import Path

import pytest

from lrtune.search.designs import FixedDesign
from lrtune.search.loop import members_wanted
from lrtune.search.options import SearchOptions
from lrtune.search.session import Session
from lrtune.study.study import Study
from lrtune.study.task import Task


@pytest.mark.parametrize(
    ("given", "reported", "is_gpu", "wanted"),
    [
        (None, [4, 32, 64], True, 16),  # half of the middle one: the design learns from each run
        (None, [1], True, 1),
        (None, [1], False, 1),
        (None, [], True, 8),
        (None, [], False, 1),
        (5, [64], True, 5),
    ],
)
def test_a_search_asks_for_half_of_what_its_workers_train_at_once(
    given: int | None, reported: list[int], is_gpu: bool, wanted: int
) -> None:
    assert members_wanted(given, reported, is_gpu=is_gpu) == wanted


@pytest.mark.slow
def test_a_design_is_asked_when_a_run_has_ended_and_not_while_it_trains(tmp_path: Path) -> None:
    asked = []

    class Counted(FixedDesign):
        def propose(self, records, pending, at_once):
            asked.append(len(records))
            return super().propose(records, pending, at_once)

    tasks = [Task(hidden_size=32, learning_rate=rate) for rate in (0.003, 0.01, 0.03)]
    study = Study(widths=(32,), trainer="analytic:train", design="grid", steps=100, report_every=10)
    Session(study, tmp_path / "run", Counted(tasks), SearchOptions(engine="inline")).run()
    assert asked[:2] == [0, 0]  # the first task, then as many as there is room for
    assert len(asked) == len(set(asked)) + 1
