"""A tuned rate carried between places that differ in more than the size."""

import math

import pytest
from builders import power_rule

from lrtune.rule import Doubt, Polynomial, Scale, transfer_learning_rate


def over_steps():
    """0.01 · 128/width · √(300/steps)."""
    base = power_rule()
    line = Polynomial(
        ((0, 0), (1, 0), (0, 1)), (math.log(0.01), -1.0, -0.5), ((1e-4, 0, 0), (0, 1e-4, 0), (0, 0, 1e-4))
    )
    cells = tuple(cell._replace(scales={**cell.scales, "steps": 300.0}) for cell in base.cells)
    scales = {**base.scales, "steps": Scale(100.0, 300.0, 300.0)}
    return power_rule(scales=scales, cells=cells, law=line, conditions={"tokens_per_step": 1000.0})


def test_both_ends_have_their_own_scales():
    moved = transfer_learning_rate(0.003, 100, 200, rule=over_steps(), from_scales={"steps": 75}, steps=300)
    assert moved.ratio == pytest.approx(0.25) and moved.learning_rate == pytest.approx(0.00075)
    assert moved.ratio_low < 0.25 < moved.ratio_high


@pytest.mark.parametrize(("start", "end"), [({"steps": 75}, {}), ({}, {"steps": 75}), ({}, {"tokens": 75_000})])
def test_a_scale_that_one_end_leaves_out_is_the_same_at_both(start, end):
    moved = transfer_learning_rate(0.003, 100, 200, rule=over_steps(), from_scales=start, **end)
    assert moved.ratio == pytest.approx(0.5)


def test_steps_at_one_end_and_tokens_at_the_other_are_one_scale():
    moved = transfer_learning_rate(0.003, 100, 100, rule=over_steps(), from_scales={"steps": 75}, tokens=300_000)
    assert moved.ratio == pytest.approx(0.5)


def test_an_effect_that_the_law_lacks_is_no_supported_ratio():
    rule = power_rule()
    assert transfer_learning_rate(0.003, 64, 128, rule=rule, from_scales={"steps": 100}, steps=190).supported
    far = transfer_learning_rate(0.003, 64, 128, rule=rule, from_scales={"steps": 100}, steps=900)
    assert (far.supported, far.doubt) == (False, Doubt.FAR_HORIZON)
    assert "the ends differ by a factor of 9 in steps, and this rule's law is not over steps" in far.warnings[0]
    deep = transfer_learning_rate(0.003, 64, 128, rule=rule, from_scales={"depth": 2}, depth=8)
    assert deep.doubt == Doubt.FAR_CONDITION


def test_tokens_are_compared_with_the_steps_that_they_make():
    known = power_rule(conditions={"tokens_per_step": 1e4})
    assert transfer_learning_rate(0.003, 64, 128, rule=known, from_scales={"steps": 100}, tokens=1e6).supported
    assert not transfer_learning_rate(0.003, 64, 128, rule=known, from_scales={"steps": 100}, tokens=9e6).supported


def test_a_ratio_says_what_it_costs_if_the_given_rate_is_the_best_at_its_size():
    same, near, far = (transfer_learning_rate(0.003, 64, size, rule="packaged") for size in (64, 512, 2048))
    assert same.regret == same.regret_90 == 0
    assert near.regret is not None and far.regret is not None and far.regret_90 is not None
    assert 0 < near.regret < far.regret < far.regret_90
    assert near.supported and near.regret < 0.01
    assert transfer_learning_rate(0.003, 64, 512, rule=power_rule()).regret is None
