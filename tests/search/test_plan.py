"""What a search foresees and refuses from its records."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders import finished_run

from lrtune.records.jsonl import to_json
from lrtune.search.inert import inert_scale
from lrtune.search.plan import plan
from lrtune.search.run import run_search
from lrtune.study.study import Budget, Study

STUDY = Study(widths=(32, 64), scales={"depth": (2, 4), "steps": (100, 200)})


def run(number, *, depth=2.0, steps=100, loss=3.25, **changes):
    scales, curve = {"depth": depth, "steps": float(steps)}, {"step": [50.0, float(steps)], "loss": [5.0, loss]}
    return replace(finished_run(32, 0.01, loss, trial=number, steps=steps, scales=scales, curve=curve), **changes)


def test_an_estimate_promises_a_good_rule_only_where_the_runs_lead_to_one():
    study = Study(widths=(32, 64), trainer="analytic:train")
    assert plan(study, noisy=False).estimate.endswith(" until the rule is good enough, more if losses are noisy")
    far = plan(replace(study, targets=({"hidden_size": 8192},)), noisy=False).estimate
    assert " runs, after which the rule may not be good enough (" in far and "until" not in far
    assert plan(replace(study, design="grid"), noisy=False).estimate == "estimate: 14 runs"


def test_a_scale_without_effect_is_named():
    message = inert_scale([run(0, loss=4.0), run(3), run(5, depth=4.0)], STUDY)
    assert message is not None
    assert message.startswith("scales.depth: the trainer seems to ignore it: runs at 2 and 4 have the same losses")
    assert "trials 3 and 5" in message and "--allow-inert-scale" in message
    said = inert_scale([run(3), run(5, hidden_size=64)], STUDY)
    assert said is not None and said.startswith("scales.hidden_size: the trainer seems to ignore it")
    assert inert_scale([run(3), run(5, depth=4.0)], replace(STUDY, allow_inert_scale=True)) is None


@pytest.mark.parametrize(
    "other",
    [
        run(5, depth=4.0, loss=3.2500000000000004),
        run(5, depth=4.0, learning_rate=0.02),
        run(5, depth=4.0, seed=1),
        run(5, depth=4.0, hidden_size=64),
        run(5, depth=4.0, status="diverged"),
        run(5),  # trained twice
        run(5, steps=200),  # both reached the least loss
        run(5, depth=4.0, curve={"step": [50.0, 100.0], "loss": [6.0, 3.25]}),
    ],
)
def test_runs_that_differ_in_more_than_a_scale_show_no_inert_one(other):
    assert inert_scale([run(3), other], STUDY) is None


ANALYTIC = Study(trainer="analytic:train", widths=(32, 64), scales={"steps": (100, 400)}, lr_min=1e-3, lr_max=0.1)


def test_a_plan_counts_the_runs_of_each_cell_and_says_what_its_rule_is_worth() -> None:
    foreseen = plan(ANALYTIC)
    assert [(row.hidden_size, row.steps) for row in foreseen.rows] == [(32, 100), (32, 400), (64, 100), (64, 400)]
    assert all(row.runs >= 1 for row in foreseen.rows) and foreseen.runs == sum(row.runs for row in foreseen.rows) < 60
    assert foreseen.regret is not None and 0 < foreseen.regret < min(0.01, foreseen.regret_90 or 0)
    assert "of loss" in str(foreseen) and "steps × hidden_size²" in str(foreseen) and foreseen.seconds is None
    assert foreseen.least < foreseen.runs
    assert str(foreseen).startswith(f"study study: {foreseen.least} to {foreseen.runs} runs (few if")
    assert "good enough" not in str(foreseen)
    assert str(replace(foreseen, least=foreseen.runs)).startswith(f"study study: {foreseen.runs} runs, 0 done")
    few = plan(replace(ANALYTIC, budget=Budget(trials=8)))
    assert few.runs == few.least == 8 < foreseen.runs and (few.regret is None or few.regret > 0)
    assert "study study: 8 runs, 0 done" in str(few)
    assert "(wanted: 1%; the budget ends it before it is good enough)" in str(few)
    assert plan(ANALYTIC, noisy=False).runs == foreseen.least


@pytest.mark.slow
def test_a_search_on_smooth_losses_takes_about_as_many_runs_as_its_plan_counts_at_least(tmp_path: Path) -> None:
    study = Study(trainer="analytic:train", widths=(32, 64, 128), steps=40, report_every=10, lr_min=1e-3, lr_max=0.1)
    done = run_search(study, tmp_path / "run", engine="inline", write_rule=False)
    planned = plan(study, workers=1)
    assert planned.least / 1.5 < len(done.records) < planned.runs


def test_a_plan_costs_unmeasured_cells_by_the_power_between_two_measured_ones(tmp_path: Path) -> None:
    steps = {"depth": 2.0}
    timed = [run(0, seconds=1.0, scales=steps), run(1, hidden_size=64, seconds=8.0, scales=steps)]
    (tmp_path / "records.jsonl").write_text("".join(f"{to_json(record)}\n" for record in timed))
    study = replace(ANALYTIC, widths=(32, 64, 128), scales={"depth": (2,)}, steps=200, design="grid")
    foreseen = plan(study, tmp_path, workers=2)
    assert [row.seconds for row in foreseen.rows] == [1.0, 8.0, pytest.approx(128.0)]  # measured; 200 steps at 8 × 8
    left = 6 * 1.0 + 6 * 8.0 + 7 * 128.0
    assert foreseen.seconds == pytest.approx(left / 2) and f"{left / 3600:.2g} device-hours" in str(foreseen)
    target = replace(study, targets=({"hidden_size": 256},), verify_at_target=True)
    assert "at the target: 3 full-length runs take about 51 min on one worker" in str(plan(target, tmp_path))
