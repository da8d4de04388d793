"""Evidence against a rule: of the same trainer, and not the runs that the rule was fitted to."""

from dataclasses import replace

import pytest
from builders import finished_run, power_rule

from lrtune.compare.check import check_rule
from lrtune.compare.setting import run_differences, study_differences
from lrtune.errors import InputError
from lrtune.law.fit import fit_law
from lrtune.law.no_rule import NoRuleError
from lrtune.records.record import TrialRecord
from lrtune.study.study import Study
from lrtune.study.toml import to_toml
from lrtune.trainer.trial import Facts

STUDY = Study(trainer="mine:train", steps=100, options={"depth": 4, "dataset": "texts"})


def runs(seed: int) -> list[TrialRecord]:
    return [
        finished_run(
            width, 0.3 / width * 2.0**octave, 4 + 0.1 * octave**2 + 0.001 * seed * (octave + 3) + width / 1e6, seed=seed
        )
        for width in (32, 64, 128)
        for octave in range(-2, 3)
    ]


def test_another_trainer_or_command_is_refused() -> None:
    rule = power_rule(study=to_toml(STUDY))
    with pytest.raises(InputError, match="fitted to runs of mine:train, but these are of other:train"):
        study_differences(rule, replace(STUDY, trainer="other:train"))
    with pytest.raises(InputError, match=r"but these are of python t.py"):
        study_differences(rule, replace(STUDY, command=("python", "t.py")))


def test_options_and_steps_that_differ_are_named_and_seed_and_pruner_are_not() -> None:
    rule = power_rule(study=to_toml(STUDY))
    assert study_differences(rule, replace(STUDY, seed=7, pruner="none", widths=(8,))) == []
    here = replace(STUDY, steps=200, options={"depth": 8, "dataset": "texts", "tied": True})
    assert study_differences(rule, here) == [
        "depth: 4 in the rule's runs, 8 here",
        "tied: not set in the rule's runs, True here",
        "steps: 100 in the rule's runs, 200 here",
    ]
    assert study_differences(power_rule(), here) == []  # a rule of a table from elsewhere


def test_data_that_differ_are_named() -> None:
    records = [replace(run, facts=Facts(conditions={"data": "theirs"})) for run in runs(0)]
    assert run_differences(power_rule(conditions={"data": "ours", "clip": 1.0}), records) == [
        "data: ours in the rule's runs, theirs here"
    ]


def test_the_runs_of_the_fit_give_no_verdict_and_others_give_theirs() -> None:
    own, others = runs(0), runs(1)
    rule = fit_law(own).rule
    alone = check_rule(rule, own)
    assert not alone.has_verdict and {row.held for row in alone.rows} == {None}
    assert str(alone).endswith("no verdict: the rule was fitted to these 15 runs")
    # Read back from a table they are the same runs, whatever their seeds and numbers.
    assert not check_rule(rule, [replace(run, seed=5, trial=9, scales={"a": 1.0}) for run in own]).has_verdict
    mixed = check_rule(rule, [*own, *others])
    assert (mixed.fitted, mixed.has_verdict) == (15, True)
    with pytest.raises(NoRuleError, match="the other 1 give no verdict: only one learning rate"):
        check_rule(rule, [*own, others[0]])
    assert all(row.held and row.trials == 5 for row in mixed.rows)
    assert "without 15 runs that the rule was fitted to" in str(mixed)
