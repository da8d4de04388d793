"""The adaptive design on surfaces whose optimum is known, without workers."""

import math
from collections.abc import Callable

import pytest
from builders import run_of

from lrtune.law.fit import fit_run
from lrtune.records.record import TrialRecord
from lrtune.rule import recommend
from lrtune.search.adaptive import AdaptiveDesign
from lrtune.search.ending import Ending, StopReason
from lrtune.search.sampling.assessment import by_rule
from lrtune.study.study import Budget, Study

Loss = Callable[..., float]


def searched(study: Study, loss: Loss, most: int = 60) -> tuple[list[TrialRecord], StopReason | None, AdaptiveDesign]:
    """One search with one worker: its records, and why it ended by itself."""
    design, records = AdaptiveDesign(study), list[TrialRecord]()
    while len(records) < most:
        tasks = design.propose(records, [], 1)
        why = design.verdict(records, tasks)
        if why is not None:
            return records, why, design
        for task in tasks:
            value = loss(task.hidden_size, task.learning_rate, **task.scales)
            final, status = (value, "finished") if math.isfinite(value) else (None, "diverged")
            records.append(run_of(task, len(records), final, status=status, steps=40))
    return records, None, design


def octaves(width: int, rate: float) -> float:
    return math.log2(rate * width / 1.024)


def steep(width: int, rate: float) -> float:
    return 3 + 0.06 * octaves(width, rate) ** 2


def saturating(width: int, rate: float) -> float:
    z = octaves(width, rate)
    return math.nan if z > 3.2 else 3 + (4 * (1 - math.exp(-0.035 * z * z)) if z < 0 else 0.08 * z * z)


FAR_BELOW = Study(widths=(16, 64), lr_min=1e-6, lr_max=1e-5, budget=Budget(tolerance=0.01))


@pytest.mark.parametrize("loss", [steep, saturating])
def test_a_range_far_below_the_optimum_is_widened_until_the_loss_turns(loss: Loss) -> None:
    _, why, design = searched(FAR_BELOW, loss)
    assert why is not None and why.ending is Ending.ENOUGH
    assert design.assessment is not None
    for known in design.assessment.known:
        assert abs(octaves(known.hidden_size, known.learning_rate)) < 0.8


def test_a_loss_that_falls_up_to_the_last_rate_has_no_optimum() -> None:
    records, why, _ = searched(FAR_BELOW, lambda width, rate: 5 - 0.01 * math.log2(rate))
    assert why is not None and why.ending is Ending.NO_OPTIMUM
    last = max(run.learning_rate for run in records)
    assert why.text.startswith(f"no optimum found up to {last:.3g}: at ") and last > 5


def test_a_loss_that_rises_from_the_lowest_rate_has_no_optimum_down_to_it() -> None:
    records, why, _ = searched(FAR_BELOW, lambda width, rate: 5 + 0.01 * math.log2(rate))
    last = min(run.learning_rate for run in records)
    assert why is not None and why.text.startswith(f"no optimum found down to {last:.3g}: at ") and last < 2e-6


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_a_loss_that_no_rate_changes_is_no_signal(noise: float) -> None:
    records, why, _ = searched(FAR_BELOW, lambda width, rate: 6.93 + noise * math.sin(1e5 * rate * width))
    assert why is not None and why.ending is Ending.NO_SIGNAL
    assert "check that the trainer uses the learning rate" in why.ending.value
    assert ("nearly the same" in why.text) == bool(noise)
    assert len(records) < 16


@pytest.mark.parametrize("targets", [(), ({"hidden_size": 96},)])
def test_a_search_that_knows_enough_says_what_its_rule_says(targets: tuple[dict[str, float], ...]) -> None:
    def loss(width: int, rate: float) -> float:
        return 3 * math.exp(0.02 * octaves(width, rate) ** 2 + 0.004 * math.sin(1e5 * rate * width))

    study = Study(widths=(32, 64, 128), lr_min=1e-3, lr_max=0.3, targets=targets, budget=Budget(tolerance=0.01))
    records, why, design = searched(study, loss)
    assert why is not None and why.ending is Ending.ENOUGH
    rule = fit_run(records, tolerance=0.01).rule
    assert design.assessment is not None
    for known in design.assessment.known:
        said = recommend(rule=rule, **known.scales)
        assert said.supported
        assert (known.learning_rate, known.regret, known.regret_90) == (said.learning_rate, said.regret, said.regret_90)


def test_a_search_goes_by_the_cost_of_an_answer_that_rests_on_cut_runs_though_the_answer_does_not_say_it() -> None:
    study = Study(widths=(32, 64), lr_min=1e-3, lr_max=0.3, budget=Budget(tolerance=0.01))
    records, _, design = searched(study, lambda width, rate: 3 * math.exp(0.02 * octaves(width, rate) ** 2))
    rule, said = fit_run(records, tolerance=0.01).rule, design.assessment
    assert said is not None and said.enough
    cut = rule._replace(cells=tuple(cell._replace(cut="unchecked") for cell in rule.cells))
    assert recommend(64, rule=cut).regret is None
    assert by_rule(said, design.space(), cut, [known.scales for known in said.known]) == said


def joint(width: int, rate: float, steps: float) -> float:
    z = math.log2(rate) + 5 + math.log2(width / 64) + 0.4 * math.log2(steps / 300)
    return 3 * math.exp((0.012 if z < 0 else 0.03) * z * z + 0.002 * math.sin(1e5 * rate * width * steps))


@pytest.mark.slow
def test_a_joint_search_needs_far_less_compute_than_one_search_per_value() -> None:
    def compute(records: list[TrialRecord]) -> float:
        return sum(r.hidden_size**2 * r.scales.get("steps", 1.0) for r in records)

    study = Study(widths=(32, 64, 128), lr_min=1e-3, lr_max=0.3, scales={"steps": (300.0, 1200.0)})
    records, why, design = searched(study, joint)
    assert why is not None and why.ending is Ending.ENOUGH
    assert design.assessment is not None
    for known in design.assessment.known:
        assert joint(known.hidden_size, known.learning_rate, known.scales["steps"]) < 3 * 1.01
    apart = 0.0
    for steps in (300.0, 1200.0):
        alone = Study(widths=(32, 64, 128), lr_min=1e-3, lr_max=0.3)
        runs, _, _ = searched(alone, lambda width, rate, steps=steps: joint(width, rate, steps))
        apart += compute(runs) * steps
    assert compute(records) < 0.7 * apart


@pytest.mark.slow
def test_a_target_beyond_the_trained_sizes_is_answered_without_a_run_there() -> None:
    study = Study(
        widths=(32, 64, 128),
        lr_min=1e-3,
        lr_max=0.3,
        scales={"steps": (300.0, 1200.0)},
        targets=({"hidden_size": 512, "steps": 4800},),
        budget=Budget(tolerance=0.02),
    )
    records, why, design = searched(study, joint, most=45)
    assert why is not None and why.ending is Ending.ENOUGH
    assert max(record.hidden_size for record in records) == 128
    assert design.assessment is not None
    [known] = design.assessment.known
    assert known.scales == {"hidden_size": 512, "steps": 4800}
    assert known.regret <= 0.02 and known.regret_90 <= 0.06
    best = 2 ** -(5 + math.log2(512 / 64) + 0.4 * math.log2(4800 / 300))
    assert known.low < best < known.high
