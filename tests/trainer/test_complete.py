"""Horizons in tokens: what they become in steps, and which contradictions are refused before the start."""

from dataclasses import replace

import pytest

from lrtune.cli.values import parse_targets
from lrtune.errors import InputError
from lrtune.study.study import Study
from lrtune.study.task import Task, steps_of, targets
from lrtune.study.toml import parse_study, to_toml
from lrtune.trainer.command import command_trainer
from lrtune.trainer.complete import complete
from lrtune.trainer.find import resolve_trainer
from lrtune.trainer.trial import Trainer

BASE = Study(widths=(32, 64), steps=300, report_every=50)


def trainer(per_sequence=None):
    """A trainer of 8 sequences a step, or of as many as its scale ``batch`` says."""
    declared = None if per_sequence is None else (lambda study, scales: int(per_sequence * scales.get("batch", 8)))
    return Trainer(target="mine:train", train=lambda trial: None, tokens_per_step=declared)


def test_a_value_error_of_the_trainers_check_is_its_refusal(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "def train(trial): ...\ndef check(study): raise ValueError('depth over 8 does not fit')\n"
    (tmp_path / "refusing.py").write_text(source)
    with pytest.raises(InputError, match=r"^depth over 8 does not fit$"):
        complete(BASE, resolve_trainer("refusing:train"))


def test_a_target_names_each_scale_once():
    assert parse_targets(["hidden_size=128,steps=400"]) == ({"hidden_size": 128.0, "steps": 400.0},)
    with pytest.raises(InputError, match="--target: expected each name once, but got 'hidden_size' twice"):
        parse_targets(["hidden_size=128,steps=400,hidden_size=64"])


def test_tokens_become_steps():
    several = complete(replace(BASE, scales={"tokens": (25_600, 102_401)}), trainer(16))
    assert several.scales == {"steps": (200.0, 801.0)}  # 128 tokens a step; a started step counts
    one = complete(replace(BASE, scales={"tokens": (2560,), "depth": (2, 4)}), trainer(16))
    assert (one.steps, one.scales) == (20, {"depth": (2.0, 4.0)})
    assert (several.report_every, one.report_every) == (50, 2)


def test_tokens_and_a_swept_batch_give_each_run_its_steps():
    study = complete(replace(BASE, scales={"tokens": (64_000,), "batch_tokens": (512, 1000)}), trainer())
    steps = [
        steps_of(Task(hidden_size=32, learning_rate=0.1, scales={"tokens": 64_000, "batch_tokens": size}), study)
        for size in (512, 1000)
    ]
    assert steps == [125, 64]


def test_tokens_and_a_batch_in_the_trainers_own_unit_give_each_run_its_steps():
    asked = replace(BASE, scales={"tokens": (25_600, 51_200), "batch": (8, 16)}, report_every=30)
    asked = replace(asked, targets=({"hidden_size": 512, "steps": 400, "batch_tokens": 1024},))
    study = complete(asked, trainer(16))
    assert study.scales == asked.scales and study.report_every == 10
    assert targets(study) == ({"hidden_size": 512.0, "batch": 64.0, "tokens": 409_600.0},)
    steps = [
        steps_of(Task(hidden_size=32, learning_rate=0.1, scales={"tokens": tokens, "batch": batch}), study)
        for tokens, batch in ((25_600, 8), (51_200, 8), (25_600, 16), (51_200.5, 16), (409_600, 64))
    ]
    assert steps == [200, 400, 100, 201, 400]
    assert parse_study(to_toml(study)) == study == complete(study, trainer(16))
    with pytest.raises(InputError, match=r"expected batch=32\.0 in \[step_tokens\]"):
        steps_of(Task(hidden_size=32, learning_rate=0.1, scales={"tokens": 25_600, "batch": 32}), study)


def test_tokens_that_agree_with_steps_are_no_contradiction():
    study = complete(replace(BASE, scales={"tokens": (12_800, 25_600), "steps": (100, 200)}), trainer(16))
    assert study.scales == {"steps": (100.0, 200.0)}


@pytest.mark.parametrize(
    ("scales", "per_sequence", "message"),
    [
        ({"tokens": (2560,)}, None, "tokens: expected a trainer whose module has tokens_per_step.*mine:train has none"),
        ({"tokens": (12_800,), "steps": (200,)}, 16, "tokens: .* if they agree: the steps are 25600 tokens, not 12800"),
        ({"tokens": (12_800, 25_600), "steps": (100,), "batch": (8, 16)}, 16, "tokens: expected steps or tokens"),
    ],
)
def test_tokens_that_cannot_be_counted_in_steps_are_one_clear_line(scales, per_sequence, message):
    with pytest.raises(InputError, match=message):
        complete(replace(BASE, scales=scales), trainer(per_sequence))


def test_a_target_in_tokens_or_in_the_rules_batch_takes_the_units_of_the_study():
    study = replace(BASE, scales={"steps": (100, 200), "batch": (8, 16)})
    asked = replace(study, targets=({"hidden_size": 512, "tokens": 512_000, "batch_tokens": 1024},))
    assert targets(complete(asked, trainer(16))) == ({"hidden_size": 512.0, "steps": 500.0, "batch": 64.0},)


def test_a_target_in_steps_is_counted_in_tokens_where_the_study_sweeps_them():
    study = replace(BASE, scales={"tokens": (64_000, 128_000), "batch_tokens": (512, 1000)})
    asked = replace(study, targets=({"hidden_size": 512, "steps": 1000, "batch_tokens": 2048},))
    done = complete(asked, trainer())
    assert targets(done) == ({"hidden_size": 512.0, "tokens": 2_048_000.0, "batch_tokens": 2048.0},)
    assert complete(done, trainer()) == done


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"hidden_size": 64, "steps": 500, "tokens": 100}, "target: expected steps or tokens, or both if they agree"),
        ({"hidden_size": 64, "dpth": 2}, "target: expected scales of this study"),
    ],
)
def test_a_target_that_contradicts_itself_or_is_unknown_is_refused_before_the_start(target, message):
    study = replace(BASE, scales={"steps": (100, 200)}, targets=(target,))
    with pytest.raises(InputError, match=message):
        complete(study, trainer(16))


def test_a_scale_that_a_command_cannot_see_is_refused_before_the_start():
    study = replace(BASE, scales={"depth": (2, 4)})
    blind = command_trainer(["train", "{learning_rate}", "{hidden_size}"])
    with pytest.raises(InputError, match=r"scales\.depth: expected \{depth\} in the command"):
        complete(study, blind)
    with pytest.raises(InputError, match=r"scales\.hidden_size: expected \{hidden_size\} in the command"):
        complete(BASE, command_trainer(["train", "{learning_rate}"]))
    complete(replace(study, allow_inert_scale=True), blind)
    complete(study, command_trainer(["train", "{learning_rate}", "--size={hidden_size}x{depth}"]))
