"""The end of a search: the answer at the targets, whether it is good enough, why it ended, and how to go on."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from builders import finished_run, knob_rule

from lrtune.law.fit import LawFit, fit_run
from lrtune.law.no_rule import NoRule
from lrtune.records.record import TrialRecord
from lrtune.report.findings import is_fault_of_trainer
from lrtune.report.outlook import again, duration, outlook_of
from lrtune.report.terminal.conclusion import conclusion
from lrtune.report.terminal.summary import next_commands
from lrtune.search.ending import Ending, StopReason
from lrtune.search.options import SearchResult
from lrtune.study.study import Budget, Study

STUDY = Study(widths=(32, 64, 128), steps=100, budget=Budget(seconds=60, tolerance=0.01))

STRICT = replace(STUDY, budget=Budget(seconds=60, tolerance=1e-4))


def runs(octaves: tuple[float, ...] = (-2, -1, 0, 1, 2), widths: tuple[int, ...] = (32, 64, 128)) -> list[TrialRecord]:
    return [
        finished_run(
            width,
            0.3 / width * 2.0**octave,
            4 + 0.1 * (octave - 0.2) ** 2 + 0.003 * math.sin(37 * n),
            trial=n,
            seconds=10.0,
        )
        for n, (width, octave) in enumerate((w, o) for w in widths for o in octaves)
    ]


def ended(records: list[TrialRecord], ending: Ending, study: Study = STUDY, text: str = "so") -> SearchResult:
    fit: LawFit | None = fit_run(records, tolerance=study.budget.tolerance) if records else None
    return SearchResult(records=records, reason=StopReason(ending, text), out=Path("runs/x"), fit=fit, workers=2)


def said(done: SearchResult, study: Study = STUDY) -> tuple[list[str], str]:
    """The lines, and the command that resumes the search."""
    found = outlook_of(done, study)
    return conclusion(done, study, found), " ".join(
        again(study, done.out, done.records, done.ending, found, done.workers) or []
    )


def test_an_end_that_is_good_enough_says_so_and_needs_no_more() -> None:
    lines, command = said(ended(runs(), Ending.ENOUGH, text="regret is low"))
    assert [line.split(" ", 1)[1][:13] for line in lines[:3]] == ["at hidden 32 ", "at hidden 64 ", "at hidden 128"]
    assert all(": good enough, may cost 0." in line and line.endswith("(wanted: 1%)") for line in lines[:3])
    assert lines[3:] == [f"ended: {Ending.ENOUGH.value}: regret is low"] and command == ""


def test_the_cost_of_an_answer_that_rests_on_runs_that_were_ended_early_is_not_said() -> None:
    cut = [
        replace(run, status="beaten", loss=None) if run.hidden_size == 128 and run.learning_rate > 0.003 else run
        for run in runs()
    ]
    done = ended(cut, Ending.TRIALS_SPENT)
    found = outlook_of(done, STUDY)
    assert found is not None and (found.cost, found.then) == (None, None) and found.runs
    lines = conclusion(done, STUDY, found)
    assert "every run above 0.00234 was ended early" in lines[2] and "cost" not in lines[2]
    assert lines[-1].startswith("more: train one run above the best rate to its end, as a resumed search does (")


def test_the_other_knobs_are_said_at_the_largest_size() -> None:
    fit = LawFit(rule=knob_rule(), cells=(), regrets={}, unused={})
    done = replace(ended([], Ending.ENOUGH), fit=fit)
    lines, _ = said(done, Study(widths=(32, 64)))
    (line,) = [line for line in lines if "adam_lr" in line]
    assert line.startswith("adam_lr at hidden 64: 0.002")


def test_a_spent_budget_names_what_more_would_cost_and_bring_and_the_command() -> None:
    lines, command = said(ended(runs(), Ending.SECONDS_SPENT, STRICT, "the budget of 60 s is spent"), STRICT)
    assert any(": not good enough, it may cost " in line for line in lines)
    assert "ended: the budget of 60 s is spent" in lines
    (more,) = [line for line in lines if line.startswith("more: ")]
    assert " more runs (" in more and "on 2 workers) would bring the cost from " in more
    assert more.endswith("to about 0.01% of loss")
    assert command.startswith("search runs/x/study.toml --out runs/x --budget ")


def test_the_runs_still_wanted_grow_with_the_root_of_the_cost() -> None:
    """By the square law that the recorded searches show: a quarter of the tolerance takes twice the runs."""
    found = outlook_of(ended(runs(), Ending.SECONDS_SPENT, STRICT), STRICT)
    assert found is not None and found.cost is not None and found.runs is not None
    assert found.runs == math.ceil(15 * (math.sqrt(found.cost / 1e-4) - 1)) < 45
    assert found.seconds == pytest.approx(found.runs * 10 / 2)


def test_runs_on_one_side_ask_for_the_other_side() -> None:
    lines, command = said(ended(runs((-2, 1.5)), Ending.SECONDS_SPENT))
    assert any("not good enough, runs lie on one side of the optimum only" in line for line in lines)
    assert lines[-1].startswith("more: add runs on the other side of the optimum (hidden ") and "--budget" in command


def test_a_search_without_a_signal_calls_no_rate_good_and_promises_nothing() -> None:
    lines, command = said(ended(runs(), Ending.NO_SIGNAL, text="no signal"))
    assert [line.partition("): ")[2] for line in lines[:-1]] == ["no rate is better than another there"] * 3
    assert lines[-1] == f"ended: no signal; {Ending.NO_SIGNAL.value}" and "check-trainer" in lines[-1]
    assert command == ""


def test_a_search_without_an_optimum_promises_nothing_of_more_runs() -> None:
    lines, command = said(ended(runs((-2, 1.5)), Ending.NO_OPTIMUM, text="no optimum found"))
    assert lines[-1] == f"ended: no optimum found; {Ending.NO_OPTIMUM.value}" and command == ""
    assert not any(line.startswith("more: ") for line in lines)


def test_targets_come_first_and_one_beyond_the_trained_sizes_asks_for_a_nearer_size() -> None:
    far = replace(STUDY, targets=({"hidden_size": 4096.0},))
    lines, command = said(ended(runs((-2, 0, 1.5)), Ending.ENOUGH, far), far)
    assert " at hidden 4096 (" in lines[0] and "not good enough" in lines[0]
    assert next(line for line in lines if line.startswith("more: ")).endswith("(hidden 4096)")
    assert "--widths 32,64,128,256" in command


def test_the_next_commands_verify_once_where_the_target_is_the_largest_size() -> None:
    done = ended(runs(), Ending.ENOUGH)
    told = outlook_of(done, STUDY).answers[-1:]  # type: ignore[union-attr]
    lines = [line for line, _ in next_commands(done.rule, done.out, lambda *words: " ".join(words), told)]
    assert sum(line.startswith("verify 128") for line in lines) == 1
    longer = [told[0]._replace(scales={"hidden_size": 128.0, "steps": 5000.0})]
    lines = [line for line, _ in next_commands(done.rule, done.out, lambda *words: " ".join(words), longer)]
    assert [line for line in lines if "verify" in line] == ["verify 128 --study runs/x/study.toml --scale steps=5000"]


def test_the_next_commands_name_a_rule_that_is_not_active() -> None:
    """Without its name, they would ask another model's rule."""
    done = ended(runs(), Ending.ENOUGH)
    lines = next_commands(done.rule, done.out, lambda *words: " ".join(words), is_active=False)
    assert [line.split()[0] for line, _ in lines if line.endswith(" --rule runs/x")] == ["lr", "verify", "export"]


def test_a_search_without_an_optimum_asks_for_a_look_at_the_trainer() -> None:
    done = ended(runs(), Ending.NO_OPTIMUM)
    assert is_fault_of_trainer(done.ending, None) and is_fault_of_trainer(None, NoRule.EQUAL_LOSSES)
    assert not is_fault_of_trainer(Ending.SECONDS_SPENT, None)
    lines = next_commands(done.rule, done.out, lambda *words: " ".join(words), suspect="mine:train")
    assert [line for line, _ in lines] == ["check-trainer mine:train", "report runs/x"]


def test_a_horizon_beyond_the_trained_ones_asks_for_a_longer_one() -> None:
    study = replace(
        STUDY, scales={"steps": (100.0, 200.0)}, targets=({"hidden_size": 128.0, "steps": 5000.0},), budget=Budget()
    )
    both = [replace(run, scales={"steps": s}, trial=run.trial + int(s)) for s in (100.0, 200.0) for run in runs()]
    lines, command = said(ended(both, Ending.ENOUGH, study), study)
    assert " at hidden 128, steps 5000 (" in lines[0]
    assert "--scale steps=100,200,400" in command and "--budget" not in command


def test_without_a_rule_the_command_has_a_budget_for_every_size() -> None:
    lines, command = said(ended([], Ending.SECONDS_SPENT))
    assert lines == ["ended: so"] and command == "search runs/x/study.toml --out runs/x --budget 3m"


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (Ending.EXHAUSTED, ""),
        (Ending.COMPLETE, "--design scale-aware --budget"),
        (Ending.TRIALS_SPENT, "--trials "),
        (Ending.INTERRUPTED, "search runs/x/study.toml --out runs/x --budget "),
    ],
)
def test_how_to_go_on_follows_the_ending(ending: Ending, words: str) -> None:
    _, command = said(ended(runs((-2, 1.5)), ending))
    assert words in command and bool(words) == bool(command)
    _, command = said(ended(runs(), ending))
    assert bool(command) == (ending is Ending.INTERRUPTED), "every answer is good enough"


@pytest.mark.parametrize(("seconds", "text"), [(1, "5s"), (61, "65s"), (100, "2m"), (3700, "62m"), (9000, "2h30m")])
def test_durations_are_rounded_up_and_readable_by_the_flag(seconds: float, text: str) -> None:
    from lrtune.study.toml import parse_seconds

    assert duration(seconds) == text and parse_seconds(text) >= seconds
