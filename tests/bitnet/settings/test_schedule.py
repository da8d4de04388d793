"""The schedules at hand-computed points."""

import pytest

pytest.importorskip("torch")

from bitnet.settings.schedule import AdaptiveWarmup, Schedule, default_warmup


def paper(**changes: object) -> Schedule:
    """The Training Tips' own numbers at a thousandth of their length."""
    settings = {"peak": 1.5e-3, "steps": 1000, "warmup": 100, "end": 3e-5, "stage2_ratio": 2 / 3, **changes}
    return Schedule(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 1.5e-3 / 100),  # the first of a hundred updates of warm-up
        (49, 0.75e-3),
        (99, 1.5e-3),
        (100, 1.5e-3),
        (499, 3e-5 + 1.47e-3 * (1 - 399 / 900)),  # last of stage 1
        (500, 3e-5 + 0.97e-3 * (1 - 400 / 900)),  # first of stage 2: the second line, peak 1e-3
        (999, 3e-5 + 0.97e-3 * (1 - 899 / 900)),
    ],
)
def test_two_stage(step: int, rate: float) -> None:
    assert paper().learning_rate(step) == pytest.approx(rate, rel=1e-12)


def test_the_rate_jumps_down_at_the_switch() -> None:
    schedule = paper()
    before, after = schedule.learning_rate(499), schedule.learning_rate(500)
    slope = schedule.learning_rate(498) - before
    assert before - after > 100 * slope


def test_weight_decay_switches_with_the_stage() -> None:
    schedule = paper(weight_decay=0.1, weight_decay_stage2=0.0)
    assert [schedule.decay(step) for step in (0, 499, 500, 999)] == [0.1, 0.1, 0.0, 0.0]
    assert paper(switch=700).decay(699) == 0.1 and paper(switch=700).decay(700) == 0.0


@pytest.mark.parametrize(
    ("changes", "jumps"),
    [
        ({}, (500,)),
        ({"switch": 700}, (700,)),
        ({"stage2_ratio": 1.0}, (500,)),  # weight decay still changes
        ({"stage2_ratio": 1.0, "weight_decay_stage2": 0.1}, ()),
        ({"switch": 1000}, ()),  # never reached
        ({"kind": "constant"}, ()),
        ({"kind": "cosine"}, ()),
    ],
)
def test_regime_changes_are_where_something_jumps(changes: dict[str, object], jumps: tuple[int, ...]) -> None:
    assert paper(**changes).regime_changes == jumps


def test_constant_and_cosine() -> None:
    constant, cosine = paper(kind="constant"), paper(kind="cosine")
    assert [constant.learning_rate(step) for step in (99, 500, 999)] == [1.5e-3] * 3
    assert constant.decay(999) == 0.1
    assert cosine.learning_rate(100) == pytest.approx(1.5e-3)
    assert cosine.learning_rate(550) == pytest.approx((1.5e-3 + 3e-5) / 2)  # half-way down
    assert cosine.learning_rate(999) == pytest.approx(3e-5, rel=1e-3)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (49, 0.75e-3),
        (100, 1.5e-3),
        (750, 1.5e-3),  # 250 updates left, the length of the cooldown
        (875, (1.5e-3 + 3e-5) / 2),  # half-way down
        (999, 3e-5 + 1.47e-3 / 250),
    ],
)
def test_warmup_stable_decay(step: int, rate: float) -> None:
    schedule = paper(kind="wsd", cooldown=0.25)
    assert schedule.learning_rate(step) == pytest.approx(rate, rel=1e-12)
    assert schedule.decay(step) == 0.1 and schedule.regime_changes == ()


def test_default_warm_up_is_the_papers_or_a_tenth() -> None:
    assert [default_warmup(steps) for steps in (5, 300, 10_000)] == [1, 30, 375]


def test_adaptive_warm_up_slows_down_while_collapsed() -> None:
    warmup = AdaptiveWarmup(unigram_entropy=6.0, floor=0.1, pace=0.25)
    assert [warmup.advance() for _ in range(4)] == [1, 2, 3, 4]
    warmup.judge(loss=6.5, diversity=0.01)
    assert [warmup.advance() for _ in range(4)] == [4.25, 4.5, 4.75, 5.0]
    warmup.judge(loss=6.5, diversity=0.3)
    assert warmup.advance() == 6.0
    warmup.judge(loss=5.9, diversity=0.01)  # below the unigram entropy: it learns
    assert warmup.advance() == 7.0
    # The rate follows the updates that were counted, not the steps.
    assert paper().learning_rate(70, ramp=50.0) == pytest.approx(0.75e-3)
