"""A search over the learning rate and a second knob, on surfaces whose best values are known."""

import math
from functools import cache

import numpy as np
import pytest
from builders import run_of

from lrtune.records.record import TrialRecord
from lrtune.search.adaptive import AdaptiveDesign
from lrtune.search.ending import Ending
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.study.toml import parse_study

_TOML = """
[scales]
hidden_size = [32, 64]
[knobs]
adam_lr = "0.01..4*learning_rate"
"""


def _study() -> Study:
    return parse_study(_TOML)


def _loss(task: Task, rise: float, noise: float) -> float:
    """Best at a rate of 0.64 / width and a ratio of 0.25."""
    rate = math.log2(task.learning_rate * task.hidden_size / 0.64)
    ratio = math.log2(task.knobs["adam_lr"] / task.learning_rate / 0.25)
    return 3 * math.exp(0.02 * rate**2 + rise * ratio**2 + noise)


@cache
def _searched(rise: float, most: int = 50) -> tuple[AdaptiveDesign, list[TrialRecord]]:
    """A search to its end or its most runs; tests share it."""
    design, records = AdaptiveDesign(_study()), list[TrialRecord]()
    rng = np.random.default_rng(1)
    while len(records) < most and design.verdict(records, []) is None:
        (task,) = design.propose(records, [], 1)
        records.append(run_of(task, len(records), _loss(task, rise, rng.normal(0, 0.002))))
    return design, records


def test_both_knobs_are_found() -> None:
    design, records = _searched(0.01)
    assert design.verdict(records, []) is not None
    assert len(records) < 40
    fit = design.model.fit(design.space())
    for width in (32.0, 64.0):
        rate = fit.posteriors["learning_rate"].advice[(width,)].x - math.log2(0.64 / width)
        ratio = fit.posteriors["adam_lr"].advice[(width,)].x + 2
        assert 0.02 * rate**2 + 0.01 * ratio**2 < 0.01


def test_a_ratio_is_not_expected_to_fall_with_the_width_as_a_rate_is() -> None:
    design = AdaptiveDesign(_study())
    off = [(0, 0), (-1, 0), (1, 0), (-2, 0), (2, 0), (0, -1), (0, 1), (0, -2), (0, 2)]
    tasks = [
        Task(hidden_size=32, learning_rate=0.02 * 2.0**u, knobs={"adam_lr": 0.005 * 2.0 ** (u + v)}) for u, v in off
    ]
    for number, task in enumerate(tasks):
        design.model.take(number, run_of(task, number, _loss(task, 0.02, 0.0)))
    for width in (32.0, 64.0, 96.0):
        assert design.model.next_run(design.space(), [], number=9, place=(width,))[0] == (width,), (
            "a given place is kept"
        )
    fit = design.model.fit(design.space())
    moved = {name: at.advice[(64.0,)].x - at.advice[(32.0,)].x for name, at in fit.posteriors.items()}
    assert abs(moved["adam_lr"]) < 0.25 < -moved["learning_rate"]


def test_a_knob_without_effect_gets_few_runs_of_its_own() -> None:
    _, matters = _searched(0.02)
    _, idle = _searched(0.0)
    assert len(idle) <= len(matters)


def test_proposals_depend_on_records_and_pending_tasks_alone() -> None:
    design, records = _searched(0.01, most=5)
    fresh = AdaptiveDesign(_study())
    first = design.propose(records, [], 2)
    assert fresh.propose(records, [], 2) == first
    assert len(first) == 2
    assert first[0] != first[1]
    assert all(0.0099 <= task.knobs["adam_lr"] / task.learning_rate <= 4.01 for task in first)


@pytest.mark.parametrize("rise", [0.0, 0.02])
def test_the_range_of_a_knob_is_not_left(rise: float) -> None:
    _, records = _searched(rise)
    assert all(0.0099 <= record.knobs["adam_lr"] / record.learning_rate <= 4.01 for record in records)


@pytest.mark.slow
def test_a_search_whose_knob_is_best_beyond_its_range_ends_and_says_so() -> None:
    design, records = AdaptiveDesign(parse_study(_TOML.replace("4*", "0.15*"))), list[TrialRecord]()
    rng = np.random.default_rng(1)
    while len(records) < 60 and design.verdict(records, []) is None:
        (task,) = design.propose(records, [], 1)
        records.append(run_of(task, len(records), _loss(task, 0.02, rng.normal(0, 0.002))))
    verdict = design.verdict(records, [])
    assert verdict is not None and verdict.ending is Ending.NO_OPTIMUM
    assert "runs still get better at the last adam_lr that may be run" in verdict.text


def test_zero_is_tried_as_a_value_of_its_own() -> None:
    study = parse_study(_TOML.replace('"0.01', '"0, 0.01'))
    design, records = AdaptiveDesign(study), list[TrialRecord]()
    while len(records) < 40 and design.verdict(records, []) is None:
        (task,) = design.propose(records, [], 1)
        at_zero = not task.knobs["adam_lr"]
        near = Task(
            hidden_size=task.hidden_size, learning_rate=task.learning_rate, knobs={"adam_lr": task.learning_rate / 4}
        )
        records.append(run_of(task, len(records), _loss(near if at_zero else task, 0.02, 0.05 if at_zero else 0.0)))
    assert design.verdict(records, []) is not None
    assert sum(record.knobs["adam_lr"] == 0 for record in records) == 3


def test_at_an_untrained_target_the_search_ends_when_its_answer_is_supported() -> None:
    study = parse_study(_TOML.replace("32, 64", "32, 64, 128") + "[[target]]\nhidden_size = 256\n")
    design, records = AdaptiveDesign(study), list[TrialRecord]()
    rng = np.random.default_rng(1)
    while len(records) < 60 and design.verdict(records, []) is None:
        (task,) = design.propose(records, [], 1)
        records.append(run_of(task, len(records), _loss(task, 0.01, rng.normal(0, 0.001))))
    assert design.assessment is not None and design.assessment.enough
    (known,) = design.assessment.known
    assert known.regret <= 0.01 < known.regret_90 <= 0.03, "at a trained target, 1% would be asked of nine cases of ten"
