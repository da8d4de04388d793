"""Which runs a grid design asks for: it refines once, widens at an edge, and does not depend on the order of ends."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from analytic import loss_at
from builders import run_of

from lrtune.records.record import Status, TrialRecord
from lrtune.search.designs import FixedDesign, GridDesign
from lrtune.study.study import Study
from lrtune.study.task import Task, log_spaced


def study(**changes: Any) -> Study:
    return replace(Study(widths=(32, 64), lr_min=1e-3, lr_max=0.1, points=5, steps=10, design="grid"), **changes)


def answer(task: Task, number: int, *, best: float = 0.01, status: Status = "finished") -> TrialRecord:
    loss = 3 + math.log2(task.learning_rate / best) ** 2 if status == "finished" else None
    return run_of(task, number, loss, status=status, steps=10)


def play(design, reply, seed=0):
    """Answer proposals until the design is content, in a random order; returns the records."""
    records: list[TrialRecord] = []
    pending: list[Task] = []
    order = random.Random(seed)
    while True:
        pending += design.propose(records, pending, 4)
        if not pending:
            return records
        records.append(reply(pending.pop(order.randrange(len(pending))), len(records)))
        assert len(records) < 200


def rates(records, width):
    return sorted(record.learning_rate for record in records if record.hidden_size == width)


def test_an_optimum_inside_is_refined_once_by_its_two_midpoints():
    records = play(GridDesign(study(widths=(32,))), lambda task, n: answer(task, n, best=0.01))
    assert rates(records, 32) == pytest.approx(
        [1e-3, 0.00316228, 0.00562342, 0.01, 0.0177829, 0.0316228, 0.1], rel=1e-5
    )


@pytest.mark.parametrize("best", [2e-5, 4e-4, 0.9, 3.0])
def test_an_optimum_outside_the_range_is_found_by_widening(best):
    records = play(GridDesign(study(widths=(32,))), lambda task, n: answer(task, n, best=best))
    tried = rates(records, 32)
    assert tried[0] < best < tried[-1]
    assert min(abs(math.log(rate / best)) for rate in tried) < math.log(10) / 4


def test_the_range_never_widens_beyond_the_bounds_of_the_study():
    records = play(GridDesign(study(widths=(32,))), lambda task, n: answer(task, n, best=1e6))
    assert max(rates(records, 32)) <= 10.0


def test_a_width_where_nothing_finished_is_searched_downwards():
    def reply(task, number):
        return answer(task, number, best=2e-4, status="finished" if task.learning_rate < 5e-4 else "diverged")

    tried = rates(play(GridDesign(study(widths=(32,))), reply), 32)
    assert tried[0] < 2e-4


def test_the_runs_do_not_depend_on_the_order_in_which_they_end():
    made = []
    for seed in range(5):
        records = play(GridDesign(study(seeds=2)), lambda task, n: answer(task, n, best=0.2), seed)
        made.append({(record.hidden_size, record.learning_rate, record.seed) for record in records})
    assert all(other == made[0] for other in made)


def test_every_combination_of_scales_is_a_grid_of_its_own():
    design = GridDesign(study(widths=(32,), scales={"depth": (2.0, 4.0)}))
    records = play(design, lambda task, n: answer(task, n, best=0.01 / task.scales["depth"]))
    assert {record.scales["depth"] for record in records} == {2.0, 4.0}
    assert len(records) == 14


def test_a_fixed_design_asks_each_task_once():
    tasks = [Task(hidden_size=32, learning_rate=rate) for rate in (0.1, 0.2, 0.1)]
    records = play(FixedDesign(tasks), answer)
    assert sorted(record.learning_rate for record in records) == [0.1, 0.2]


def test_log_spaced_ends_where_it_should():
    assert log_spaced(1e-4, 1.0, 27)[13] == pytest.approx(1e-2)
    assert log_spaced(1e-2, 1.0, 1) == pytest.approx([0.1])


def test_the_analytic_loss_has_its_minimum_at_the_documented_rate():
    around = [0.3 / 64 * 2 ** (k / 8) for k in range(-16, 17)]
    assert min(around, key=lambda rate: loss_at(64, rate)) == pytest.approx(0.3 / 64, rel=0.3)
