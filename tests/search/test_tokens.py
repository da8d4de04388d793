"""A search over tokens and a batch in the trainer's own unit: the steps of its runs, its rule and its verification."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lrtune.compare.verify import verification_study
from lrtune.search.run import run_search
from lrtune.study.study import Study
from lrtune.study.task import Task, steps_of
from lrtune.study.toml import load_study
from lrtune.trainer.trial import Trial

SEARCH: Any = {"engine": "inline", "write_rule": False, "widths": (32,), "lr_min": 1e-3, "lr_max": 0.3, "trials": 9}


def tokens_per_step(study: Study, scales: Mapping[str, float]) -> int:
    return int(16 * scales["batch"])


def train(trial: Trial) -> None:
    trial.describe(tokens_per_step=int(16 * trial.scales["batch"]))
    only_declared(trial)


def only_declared(trial: Trial) -> None:
    best = 3 + 0.1 * math.log2(trial.learning_rate * trial.hidden_size / 0.3 / trial.scales["batch"] ** 0.5) ** 2
    for step in range(trial.steps + 1):
        due = step % trial.report_every == 0 or step == trial.steps
        if due and not trial.report(step, loss=best + (1 - step / trial.steps) ** 2):
            return


@pytest.mark.slow
def test_the_tokens_that_a_module_declares_count_for_a_run_that_does_not_describe_them(tmp_path: Path) -> None:
    swept = {"batch": (8, 16)}
    done = run_search("test_tokens:only_declared", tmp_path / "run", steps=20, scales=swept, **SEARCH)
    assert {(r.scales["batch"], r.facts.tokens_per_step, r.tokens) for r in done.records} == {
        (8, 128, 2560),
        (16, 256, 5120),
    }
    assert done.rule is not None and list(done.rule.scales) == ["batch_tokens"]


@pytest.mark.slow
def test_each_run_has_the_steps_of_its_tokens_and_batch(tmp_path: Path) -> None:
    swept = {"tokens": (2560, 5120), "batch": (8, 16)}
    done = run_search("test_tokens:train", tmp_path / "run", scales=swept, **SEARCH)
    assert {dict(r.scales)["batch"] for r in done.records} == {8, 16}
    assert all(r.steps == r.scales["tokens"] / r.scales["batch"] / 16 for r in done.records)
    assert done.rule is not None and list(done.rule.scales) == ["batch_tokens", "tokens"]
    study = load_study(tmp_path / "run" / "study.toml")
    planned = verification_study(32, study, done.rule, scales={"tokens": 20_480, "batch_tokens": 512})
    assert (planned.scales, planned.steps) == ({"batch": (32.0,)}, 40)
    assert steps_of(Task(hidden_size=32, learning_rate=0.1, scales={"batch": 32}), planned) == 40
