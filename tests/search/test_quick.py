"""The built-in study: fitted to the machine, and started from the packaged rule."""

from dataclasses import replace

import pytest

from lrtune.cli import run
from lrtune.cli.settings import quick_study
from lrtune.rule import recommend
from lrtune.search.quick import fitted, started

QUICK = quick_study()
AVX2 = {48: 0.021, 64: 0.028, 96: 0.044, 128: 0.069}  # seconds of a step on two cores capped at AVX2


def planned(capfd: pytest.CaptureFixture[str], *flags: str) -> str:
    """What a dry run says before its plan."""
    assert run(["search", "--dry-run", *flags]) == 0
    return capfd.readouterr().err


def test_a_machine_with_avx2_trains_every_width_in_the_studys_time() -> None:
    study, line = fitted(QUICK, AVX2, workers=2)
    assert study == QUICK
    assert line == "a step takes 21 ms at 48, 69 at 128"


@pytest.mark.parametrize(("times", "widths"), [(1.6, (48, 64, 96, 128)), (2.5, (48, 64, 96)), (4.0, (48, 64))])
def test_a_slower_machine_drops_the_largest_widths(times: float, widths: tuple[int, ...]) -> None:
    study, line = fitted(QUICK, {width: times * seconds for width, seconds in AVX2.items()}, workers=2)
    assert study.widths == widths
    assert line.startswith("left out for 240 s: hidden 128 (173 ms a step at 128)") == (times == 2.5)
    assert ("all: --budget " in line) == (times > 2)
    assert len(line) < 79


def test_two_widths_stay_however_slow_the_machine_is() -> None:
    assert fitted(QUICK, dict.fromkeys(AVX2, 60.0), workers=1)[0].widths == (48, 64)


def test_one_worker_needs_twice_the_time_of_two() -> None:
    assert fitted(QUICK, AVX2, workers=1)[0].widths == fitted(QUICK, {w: 2 * s for w, s in AVX2.items()}, 2)[0].widths


def test_the_range_reaches_an_octave_beyond_the_packaged_rules_rates() -> None:
    study, line = started(QUICK)
    rates = [recommend(width, rule="packaged", steps=300).learning_rate for width in QUICK.widths]
    assert study.lr_min == pytest.approx(min(rates) / 2, rel=0.05)
    assert study.lr_max == pytest.approx(max(rates) * 2, rel=0.05)
    assert replace(study, lr_min=QUICK.lr_min, lr_max=QUICK.lr_max) == QUICK
    assert "by the packaged rule (--no-prior: 0.003 to 0.3)" in line


@pytest.mark.parametrize(
    "flags",
    [
        ["--no-prior"],
        ["--lr-min", "0.001"],
        ["--dataset", "other.txt"],
        ["--option", "depth=2"],
        ["--scale", "depth=2,4"],
        ["--knob", "weight_decay=0.01..0.3"],
        ["--command", "train {learning_rate} {hidden_size}"],
    ],
)
def test_only_the_built_in_study_starts_from_the_packaged_rule(
    capfd: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    usual = ["--widths", "48,64"]
    assert "by the packaged rule" in planned(capfd, *usual)
    assert "by the packaged rule" not in planned(capfd, *usual, *flags)


@pytest.mark.slow
def test_the_step_is_measured_before_the_built_in_study_starts(capfd: pytest.CaptureFixture[str]) -> None:
    assert "a step takes " in planned(capfd)
    assert "a step takes " not in planned(capfd, "--budget", "10m")
