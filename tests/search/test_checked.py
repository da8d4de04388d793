"""Lenient runs show whether the verdict *beaten* holds for a trainer, and what follows if it does not."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import finished_run

from lrtune.law.fit import fit_law
from lrtune.records.record import TrialRecord, task_of
from lrtune.records.trust import believed, defiance
from lrtune.search.checked import CheckedDesign
from lrtune.search.designs import FixedDesign
from lrtune.search.ending import Ending, StopReason
from lrtune.search.events import Note
from lrtune.search.run import run_search
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.trainer.trial import Trial

STUDY = Study(widths=(64, 48, 32))
BEATEN = {"step": 40.0, "loss": 3.06, "peer": 0.01}


def task(rate: float, width: int = 32, **rest: Any) -> Task:
    return Task(hidden_size=width, learning_rate=rate, **rest)


def run(rate: float, loss: float | None = 3.0, width: int = 32, **rest: Any) -> TrialRecord:
    settings = {"trial": round(1e4 * rate) + width, "status": "finished" if loss else "beaten"}
    return finished_run(width, rate, loss, **settings | rest)


def design(*tasks: Task) -> CheckedDesign:
    return CheckedDesign(lambda: FixedDesign(tasks), STUDY)


def lenient(tasks: Sequence[Task]) -> list[float]:
    return [task.learning_rate for task in tasks if task.lenient]


BEST = run(0.01)
CUT_AT_64 = run(0.04, None, 64, beaten=BEATEN)
CHECK_AT_64 = run(0.04, 3.5, 64, beaten=BEATEN)
CHECK, DEFIANT = run(0.04, 3.5, beaten=BEATEN), run(0.04, 3.05, beaten=BEATEN)


def test_one_run_at_a_time_above_the_best_rate_is_lenient_at_the_cheapest_place_and_where_all_above_were_cut() -> None:
    wanted, wide = [task(0.005), task(0.02, seed=1), task(0.02), task(0.04)], task(0.03, 64)
    at_64 = [run(0.01, width=64), CUT_AT_64]
    assert lenient(design(*wanted, wide).propose([BEST, *at_64], [], 9)) == [0.02, 0.03]
    assert lenient(design(*wanted, wide).propose([BEST, at_64[0]], [], 9)) == [0.02], "nothing was cut there"
    assert lenient(design(*wanted, wide).propose([BEST, *at_64, run(0.02, 3.1, 64)], [], 9)) == [0.02], "a whole one is"
    assert lenient(design(*wanted[:2]).propose([BEST], [], 9)) == []
    assert lenient(design(*wanted).propose([], [], 9)) == [], "without a peer no run is beaten"
    assert lenient(design(*wanted).propose([BEST], [task(0.08, lenient=True)], 9)) == []


def test_a_run_that_would_have_been_cut_and_ended_badly_is_enough_for_its_place_and_smaller_ones() -> None:
    wanted, records = [task(0.02), task(0.03, 48)], [BEST, run(0.01, width=48), run(0.04, None, 48, beaten=BEATEN)]
    assert lenient(design(*wanted).propose([*records, run(0.015, 3.1)], [], 9)) == [0.02, 0.03]
    assert lenient(design(*wanted).propose([*records, CHECK], [], 9)) == [0.03]
    assert lenient(design(*wanted).propose([*records, CHECK_AT_64], [], 9)) == []


def test_after_a_run_that_won_late_all_are_lenient_and_earlier_cuts_from_below_are_forgotten() -> None:
    from_above = run(0.005, None, beaten={**BEATEN, "peer": 0.01})
    records = [BEST, CUT_AT_64, from_above, DEFIANT]
    wanted = design(task_of(CUT_AT_64), task_of(from_above), task(0.08))
    before = wanted.propose(records[:3], [], 9)
    assert [(one.hidden_size, one.learning_rate) for one in before] == [(32, 0.08)]
    after = wanted.propose(records, [], 9)
    assert [(one.hidden_size, one.learning_rate) for one in after] == [(64, 0.04), (32, 0.08)]
    assert lenient(after) == [0.04, 0.08]
    assert believed(records[:3]) == records[:3]
    assert believed(records) == [BEST, from_above, DEFIANT]


def test_the_fit_leaves_out_cuts_from_below_after_a_run_that_won_late() -> None:
    runs = [run(0.01 * 2**k, 3 + 0.06 * k * k, 64, trial=k + 9) for k in (-2, -1, 0, 1)]
    assert fit_law([*runs, CUT_AT_64, CHECK]).unused == {}
    fit = fit_law([*runs, CUT_AT_64, BEST, DEFIANT])
    assert fit.unused == {"ended early by a verdict that another run defied": 1}


def test_before_the_end_a_cut_run_above_a_best_rate_is_made_again_once_at_the_largest_place() -> None:
    cut = [CUT_AT_64, run(0.08, None, 64, beaten=BEATEN, trial=9), run(0.001, None, 64, beaten=BEATEN)]
    records = [BEST, run(0.01, width=64), CHECK, *cut, run(0.02, None, beaten=BEATEN)]
    assert design().verdict(records, []) is None, "a check at a smaller place shows nothing here"
    (again,) = design().propose(records, [], 9)
    assert again == replace(task_of(CUT_AT_64), lenient=True)
    assert design().propose(records, [again], 9) == []
    assert design().verdict([*records, run(0.012, 3.1, 64)], []) is not None, "a whole run"
    checked = [*records[:2], *records[3:], replace(CHECK_AT_64, trial=99)]
    ended = design().verdict(checked, [])
    assert ended is not None and ended.ending is Ending.COMPLETE, "one at the largest place is enough for all"
    (another,) = design().propose([*records, run(0.04, None, 64, status="failed", trial=99)], [], 9)
    assert another.learning_rate == 0.08, "one that failed checks nothing, and is not made a third time"
    assert design().verdict([*records, run(0.04, None, 64, status="diverged", trial=99)], []) is not None, "a failure"


@pytest.mark.parametrize("ending", list(Ending))
def test_a_check_is_due_before_each_end_that_more_runs_would_not_change(ending: Ending) -> None:
    class Ended(FixedDesign):
        def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason:
            return StopReason(ending, "")

    checked = CheckedDesign(lambda: Ended([]), STUDY)
    is_due = ending in (Ending.ENOUGH, Ending.COMPLETE, Ending.EXHAUSTED)
    assert (checked.verdict([run(0.01, width=64), CUT_AT_64], []) is None) == is_due


def late(trial: Trial) -> None:
    """Constant rate, then a decay: the noise of a high rate hides its progress until it decays."""
    trial.describe(parameters=12 * trial.hidden_size**2, tokens_per_step=100)
    rate, progress = trial.learning_rate * trial.hidden_size / 32, 0.0
    for step in range(trial.steps + 1):
        left = min(1.0, 5 * (1 - step / trial.steps))
        if step % trial.report_every == 0:
            is_late = trial.hidden_size >= trial.options.get("from", 0)
            noise = is_late * trial.options["noise"] * rate * left * min(1.0, step / 20)
            loss = 2.5 + 2 / math.sqrt(1 + 20 * rate * progress) + noise + 0.02 * max(0.0, math.log2(rate / 0.04)) ** 2
            if not trial.report(step, loss=loss + 0.002 * math.sin(1e5 * rate + step + trial.seed)):
                return
        progress += left * 100 / trial.steps


def searched(folder: Path, noise: float, **settings: Any) -> tuple[list[TrialRecord], list[str], dict[int, float]]:
    """Records, notes, and the rule's rates as multiples of the best, 0.0985 · 32 / width."""
    notes: list[str] = []
    done = run_search(
        "test_checked:late",
        folder / "run",
        engine="inline",
        write_rule=False,
        widths=(32, 64),
        lr_min=1e-3,
        lr_max=0.1,
        steps=200,
        report_every=10,
        options={"noise": noise} | settings.pop("options", {}),
        on_event=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
        **settings,
    )
    assert done.rule is not None and done.ending in (Ending.ENOUGH, Ending.COMPLETE)
    rates = {width: done.rule.recommend(width).learning_rate * width / 32 / 0.0985 for width in (32, 64)}
    return list(done.records), notes, rates


@pytest.mark.slow
def test_a_trainer_whose_high_rates_win_late_is_found_out(tmp_path: Path) -> None:
    records, notes, rates = searched(tmp_path, noise=10.0)
    assert [text for text in notes if "no longer end" in text] == [defiance(records)]
    assert all(0.75 < ratio < 1.33 for ratio in rates.values()), rates
    first = next(record.trial for record in records if record.defies)
    assert not [
        r for r in records if r.status == "beaten" and r.trial > first + 2 and r.beaten["peer"] < r.learning_rate
    ]


@pytest.mark.slow
@pytest.mark.parametrize("design", ["scale-aware", "grid"])
def test_a_trainer_whose_high_rates_win_late_at_wide_widths_only_is_found_out(tmp_path: Path, design: str) -> None:
    records, notes, rates = searched(tmp_path, noise=10.0, options={"from": 64}, design=design)
    assert [text for text in notes if "no longer end" in text] == [defiance(records)]
    assert all(0.75 < ratio < 1.33 for ratio in rates.values()), rates


@pytest.mark.slow
def test_a_trainer_that_the_verdict_fits_pays_for_two_runs(tmp_path: Path) -> None:
    records, notes, _ = searched(tmp_path, noise=0.0)
    assert not [text for text in notes if "no longer end" in text]
    assert sum(record.is_check for record in records) <= 2
