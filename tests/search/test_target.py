"""Targets: the rule's answers there, and the full-length runs that the remaining budget holds."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders import finished_run, knob_rule, power_rule

from lrtune.errors import InputError
from lrtune.records.record import TrialRecord
from lrtune.rule import Scale
from lrtune.search.ending import Ending, read_ending
from lrtune.search.run import run_search
from lrtune.search.target import Remaining, affordable, answers, verification, verified
from lrtune.study.study import Budget, Study
from lrtune.trainer.trial import Facts

VERIFIED = Study(
    widths=(32, 64),
    trainer="analytic:train",
    steps=40,
    report_every=10,
    lr_min=1e-3,
    lr_max=0.1,
    targets=({"hidden_size": 128},),
    verify_at_target=True,
)
STUDY = Study(widths=(64, 128), steps=100, targets=({"hidden_size": 256},), verify_at_target=True)
FREE = Remaining()


def run(width: int, rate: float = 0.01, *, seconds: float = 2.0, batch: float | None = None) -> TrialRecord:
    return finished_run(
        width,
        rate,
        3.0,
        seconds=seconds,
        scales={} if batch is None else {"batch": batch},
        facts=Facts(tokens_per_step=None if batch is None else int(128 * batch)),
    )


def test_the_answer_is_that_of_the_rule_in_its_own_units() -> None:
    (told,) = answers(STUDY, power_rule(), [])
    assert told.learning_rate == pytest.approx(0.005) and told.scales == {"hidden_size": 256}
    assert answers(replace(STUDY, targets=()), power_rule(), []) == ()
    rule = power_rule(cells=tuple(c._replace(scales={**c.scales, "batch_tokens": 512.0}) for c in power_rule().cells))
    line = rule.law._replace(exponents=((0, 0), (1, 0), (0, 1)))  # type: ignore[union-attr]
    rule = rule._replace(law=line, scales={**rule.scales, "batch_tokens": Scale(512.0, 1024.0, 700.0)})
    swept = replace(STUDY, scales={"batch": (4, 8)}, targets=({"hidden_size": 256, "batch": 16},))
    (told,) = answers(swept, rule, [run(64, batch=4.0), run(64, batch=8.0)])
    assert told.scales == {"hidden_size": 256, "batch_tokens": 2048}


def test_a_target_gets_the_advice_half_and_double_once() -> None:
    tasks = verification(STUDY, power_rule(), [])
    assert [(task.hidden_size, task.learning_rate) for task in tasks] == [(256, 0.005), (256, 0.0025), (256, 0.01)]
    again = verification(STUDY, power_rule(), [run(256, 0.0052), run(64, 0.0025), run(256, 0.02)])
    assert [task.learning_rate for task in again] == [0.0025, 0.01]


def test_runs_at_a_target_keep_the_best_ratio_of_a_second_rate() -> None:
    tasks = verification(replace(STUDY, targets=({"hidden_size": 64},)), knob_rule(), [])
    assert len(tasks) == 3
    for task in tasks:
        assert task.lenient, "a cut run at the target would be evidence that nothing vouches for"
        assert task.knobs["adam_lr"] / task.learning_rate == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize(
    ("left", "workers", "count", "words"),
    [
        (FREE, 1, 3, "3 full-length runs take about 24 s on one worker"),
        (replace(FREE, seconds=30.0), 1, 3, "take about 24 s"),
        (replace(FREE, seconds=20.0), 1, 2, "and the budget has 20 s left"),
        (replace(FREE, seconds=9.0), 4, 3, "take about 24 s"),
        (replace(FREE, seconds=7.0), 4, 0, "the budget has 7 s left"),
        (replace(FREE, seconds=-3.0), 1, 0, "the budget has 0 s left"),
        (replace(FREE, trials=1), 1, 1, "and the budget has 1 run left"),
        (replace(FREE, tokens=120_000), 1, 2, "the budget has 120,000 tokens left"),
    ],
)
def test_only_what_the_remaining_budget_holds_is_trained(left: Remaining, workers: int, count: int, words: str) -> None:
    records = [replace(run(64), facts=Facts(tokens_per_step=512)), run(128, seconds=4.0)]  # at 256: 8 s
    tasks, text = affordable(STUDY, verification(STUDY, power_rule(), []), records, left, workers)
    assert len(tasks) == count and words in text


def test_runs_that_the_end_of_the_budget_cut_off_are_not_called_a_verification() -> None:
    wanted = verification(STUDY, power_rule(), [])
    some = [run(256, 0.005), run(256, 0.0025)]
    said = verified(STUDY, wanted, wanted, "3 runs take 24 s", some, "the budget of 9 s is spent")
    assert said.startswith(
        "2 of 3 runs at the target trained: the budget of 9 s is spent; at hidden 256: final loss 3 "
    )
    whole = verified(STUDY, wanted, wanted, "", [*some, replace(run(256, 0.01), status="collapsed")], "")
    assert whole == "verified at hidden 256: final loss 3 at 0.0025, 3 at 0.005, 3 at 0.01 (collapsed)"
    assert verified(STUDY, wanted, [], "3 runs take 24 s", [], "") == "not verified at the target: 3 runs take 24 s"
    scored = [replace(record, maximize=True, loss=-0.9) for record in some]
    assert "final measure 0.9 at" in verified(replace(STUDY, maximize=True), wanted, wanted, "", scored, "it ended")


def test_a_cost_that_is_unknown_is_not_spent_from_a_limited_budget() -> None:
    wanted = verification(STUDY, power_rule(), [])
    assert affordable(STUDY, wanted, [run(64)], replace(FREE, seconds=1e6), 1)[0] == []
    assert affordable(STUDY, wanted, [run(64)], FREE, 1)[0] == wanted


@pytest.mark.slow
def test_the_runs_at_the_target_enter_the_fit_and_are_not_repeated(tmp_path: Path) -> None:
    study = replace(VERIFIED, budget=Budget(trials=30), design="grid", points=7)
    done = run_search(study, tmp_path / "run", engine="inline", write_rule=False)
    (told,) = done.targets
    assert done.ending is Ending.COMPLETE and told.scales == {"hidden_size": 128} and told.basis == "measured"
    assert sum(record.hidden_size == 128 for record in done.records) == 3
    assert done.verified.startswith("verified at hidden 128: final loss ")
    again = run_search(study, tmp_path / "run", engine="inline", write_rule=False)
    assert len(again.records) == len(done.records)
    short = replace(study, budget=Budget(trials=len(done.records)))
    fewer = run_search(
        replace(short, targets=({"hidden_size": 256},)), tmp_path / "run", engine="inline", write_rule=False
    )
    assert fewer.verified.startswith("not verified at the target: 3 full-length runs take about")
    assert len(fewer.records) == len(done.records) and fewer.targets[0].basis == "extrapolated"


@pytest.mark.slow
def test_after_the_runs_at_the_target_the_ending_is_in_the_numbers_of_the_final_rule(tmp_path: Path) -> None:
    study = replace(VERIFIED, budget=Budget(trials=40, tolerance=0.02))
    done = run_search(study, tmp_path / "run", engine="inline", write_rule=False)
    (told,) = done.targets
    assert done.ending is Ending.ENOUGH and done.verified.startswith("verified at")
    assert f"costs {told.regret:.2%} of loss on average" in done.stop_reason
    kept = read_ending(tmp_path / "run")
    assert kept is not None and kept.text == done.stop_reason


@pytest.mark.slow
def test_a_search_that_could_not_end_says_that_the_runs_at_the_target_were_enough(tmp_path: Path) -> None:
    study = replace(VERIFIED, budget=Budget(tolerance=2e-3), targets=({"hidden_size": 1024},))
    done = run_search(replace(study, verify_at_target=False), tmp_path / "run", engine="inline", write_rule=False)
    assert done.ending is Ending.EXHAUSTED and not done.targets[0].supported
    done = run_search(study, tmp_path / "run", engine="inline", write_rule=False)
    assert done.targets[0].supported and done.verified.startswith("verified at hidden 1024: final loss ")
    assert (done.ending, done.stop_reason) == (Ending.ENOUGH, "the runs at the target were enough")
    assert run_search(study, tmp_path / "run", engine="inline", write_rule=False).stop_reason == done.stop_reason


def test_without_a_target_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="verify_at_target: expected a target"):
        run_search(replace(STUDY, targets=(), trainer="analytic:train"), tmp_path / "run")
