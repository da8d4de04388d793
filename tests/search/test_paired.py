"""A trainer that ignores a scale shows it in an adaptive search too."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from lrtune.errors import RunFailedError
from lrtune.search.designs import FixedDesign
from lrtune.search.paired import PairedDesign
from lrtune.search.run import run_search
from lrtune.study.study import Budget, Study
from lrtune.study.task import Task

STUDY = Study(widths=(32, 64), scales={"depth": (2, 4), "batch": (8, 16), "steps": (100, 200)})


def task(rate: float, *, depth: float = 2, batch: float = 8, steps: float = 100, seed: int = 0) -> Task:
    return Task(hidden_size=32, learning_rate=rate, seed=seed, scales={"depth": depth, "batch": batch, "steps": steps})


def proposed(tasks: Sequence[Task], pending: Sequence[Task] = ()) -> list[Task]:
    return PairedDesign(FixedDesign(tasks), STUDY).propose([], pending, 9)


def test_the_first_run_at_another_value_repeats_a_rate_and_a_seed() -> None:
    first, second, third = proposed([task(0.01, seed=3), task(0.02, depth=4), task(0.03, batch=16)])
    assert first == task(0.01, seed=3)
    assert (second, third) == (task(0.01, depth=4, seed=3), task(0.01, batch=16, seed=3))
    assert proposed([task(0.02, depth=4)], pending=[task(0.01)]) == [task(0.01, depth=4)]


def test_one_pair_for_each_scale_is_enough() -> None:
    pair = [task(0.01), task(0.01, depth=4)]
    assert proposed([task(0.02, depth=4, steps=200), task(0.03, depth=4)], pending=pair)[1] == task(0.03, depth=4)
    assert proposed([task(0.02, steps=200)], pending=pair) == [task(0.02, steps=200)]
    assert proposed([task(0.02, depth=4, batch=16)], pending=[task(0.01)]) == [task(0.02, depth=4, batch=16)]


@pytest.mark.slow
def test_an_adaptive_search_stops_at_a_scale_that_the_trainer_ignores(tmp_path: Path) -> None:
    study = Study(
        widths=(32, 64),
        scales={"depth": (2, 4)},
        trainer="analytic:train",
        steps=40,
        report_every=10,
        lr_min=1e-3,
        lr_max=0.1,
        budget=Budget(trials=40),
    )
    with pytest.raises(RunFailedError, match=r"scales\.depth: the trainer seems to ignore it"):
        run_search(study, tmp_path / "run", engine="inline", write_rule=False)
