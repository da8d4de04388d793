"""The built-in study, fitted to the machine."""

from dataclasses import replace
from typing import Any

import pytest

from lrtune.cli import run
from lrtune.cli.search import _fitted
from lrtune.cli.settings import quick_study
from lrtune.search.quick import fitted
from lrtune.study.knob import Knob
from lrtune.study.study import Budget

QUICK = quick_study()
AVX2 = {48: 0.021, 64: 0.028, 96: 0.044, 128: 0.069}  # seconds of a step on two cores capped at AVX2


def planned(capfd: pytest.CaptureFixture[str], *flags: str) -> str:
    """What a dry run says before its plan."""
    assert run(["search", "--dry-run", *flags]) == 0
    return capfd.readouterr().err


def test_a_machine_with_avx2_trains_every_width_in_the_studys_time() -> None:
    study, line = fitted(QUICK, AVX2, workers=2)
    assert study == QUICK
    assert line == "a step takes 21 ms at 48, 69 ms at 128"


@pytest.mark.parametrize(("times", "widths"), [(1.6, (48, 64, 96, 128)), (2.5, (48, 64, 96)), (4.0, (48, 64))])
def test_a_slower_machine_drops_the_largest_widths(times: float, widths: tuple[int, ...]) -> None:
    study, line = fitted(QUICK, {width: times * seconds for width, seconds in AVX2.items()}, workers=2)
    assert study.widths == widths
    assert line.startswith("left out for 240 s: hidden 128 (a step: 173 ms at 128)") == (times == 2.5)
    assert ("all: --budget " in line) == (times > 2)
    assert len(line) < 79


def test_two_widths_stay_however_slow_the_machine_is() -> None:
    assert fitted(QUICK, dict.fromkeys(AVX2, 60.0), workers=1)[0].widths == (48, 64)


def test_one_worker_needs_twice_the_time_of_two() -> None:
    assert fitted(QUICK, AVX2, workers=1)[0].widths == fitted(QUICK, {w: 2 * s for w, s in AVX2.items()}, 2)[0].widths


@pytest.mark.parametrize(
    "own",
    [
        {"budget": Budget(seconds=600)},
        {"options": {**QUICK.options, "depth": 2}},
        {"scales": {"depth": (2.0, 4.0)}},
        {"knobs": {"weight_decay": Knob(low=0.01, high=0.3)}},
        {"command": ("train", "{learning_rate}", "{hidden_size}")},
    ],
    ids=lambda own: next(iter(own)),
)
def test_a_study_of_ones_own_stays_as_it_is(own: dict[str, Any]) -> None:
    study = replace(QUICK, **own)
    assert _fitted(study, {"workers": 2, "device": "cpu", "engine": "local"}) == (study, "")


def test_a_text_of_ones_own_makes_a_study_of_ones_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert "a step takes " not in planned(capfd, "--dataset", "other.txt", "--design", "grid")


@pytest.mark.slow
def test_the_step_is_measured_before_the_built_in_study_starts(capfd: pytest.CaptureFixture[str]) -> None:
    assert "a step takes " in planned(capfd)
