"""Tokens, steps and batch in a question: one notion of length, in the rule's own scales."""

import pytest
from builders import power_rule

from lrtune.errors import InputError
from lrtune.rule import Scale, recommend, transfer_learning_rate


def rule(own="steps", *, batch=False, **conditions):
    """0.01 · 128/width at 64, 128 and 256; also over the length `own`, and a batch, on neither of which it depends."""
    base = power_rule()
    assert base.law is not None
    more = ({own: (100.0, 300.0)} if own else {}) | ({"batch_tokens": (1e3, 4e3)} if batch else {})
    line = base.law._replace(exponents=tuple((*exponents, *[0] * len(more)) for exponents in base.law.exponents))
    scales = {**base.scales, **{name: Scale(low, high, (low * high) ** 0.5) for name, (low, high) in more.items()}}
    cells = tuple(
        cell._replace(scales={**cell.scales, **{name: high for name, (_, high) in more.items()}}) for cell in base.cells
    )
    return power_rule(
        scales=scales,
        cells=cells,
        law=line,
        conditions=conditions,
        horizon={"steps": 300, "tokens": 3e5 if own else conditions.get("tokens", 1.2e6)},
    )


def test_tokens_become_the_steps_of_the_law():
    advice = recommend(512, rule=rule(tokens_per_step=1000.0), tokens=1_500_500)
    assert advice.scales == {"hidden_size": 512, "steps": 1501}
    assert (advice.horizon_tokens, advice.horizon_steps) == (1_501_000, 1501)
    assert advice.extrapolation == pytest.approx(1501 / 300)


def test_steps_become_the_tokens_of_the_law():
    advice = recommend(512, rule=rule("tokens", tokens_per_step=2.0), steps=140)
    assert advice.scales == {"hidden_size": 512, "tokens": 280} and advice.basis == "extrapolated"
    assert (advice.horizon_tokens, advice.horizon_steps) == (280, 140)


def test_the_batch_in_question_converts_where_the_law_has_one():
    advice = recommend(512, rule=rule(batch=True), tokens=4e5, batch_tokens=2000)
    assert advice.scales == {"hidden_size": 512, "steps": 200, "batch_tokens": 2000}
    assert (advice.horizon_tokens, advice.horizon_steps) == (4e5, 200)
    with pytest.raises(InputError, match="tokens: expected batch_tokens too"):
        recommend(512, rule=rule(batch=True), tokens=4e5)
    with pytest.raises(InputError, match=r"^batch_tokens: expected .* `lrtune lr 512 --steps 200 --batch-tokens 4000`"):
        recommend(512, rule=rule(batch=True), steps=200)


@pytest.mark.parametrize(
    ("conditions", "asked", "length", "is_supported"),
    [
        ({"tokens": 3e5}, {}, (3e5, 75), True),  # runs of 300,000 tokens at each batch: 75 to 300 steps
        ({"tokens": 3e5}, {"steps": 75}, (3e5, 75), True),
        ({"tokens": 3e5}, {"steps": 300}, (1.2e6, 300), False),
        ({}, {}, (1.2e6, 300), True),  # runs of 300 steps at each batch: 300,000 to 1,200,000 tokens
        ({}, {"tokens": 1.2e6}, (1.2e6, 300), True),
        ({}, {"tokens": 1.2e6, "batch_tokens": 1000}, (1.2e6, 1200), False),
    ],
)
def test_runs_of_several_batches_are_as_long_as_what_they_share(conditions, asked, length, is_supported):
    advice = recommend(128, rule=rule(None, batch=True, **conditions), **{"batch_tokens": 4000, **asked})
    assert (advice.horizon_tokens, advice.horizon_steps, advice.supported) == (*length, is_supported)


def test_a_batch_that_no_run_had_is_reported():
    known = rule(tokens_per_step=1000.0)
    advice = recommend(128, rule=known, tokens=6e5, batch_tokens=4000)
    assert advice.scales["steps"] == 150 and not advice.supported
    assert "tokens_per_step 4,000 is more than a factor of 2 from the measured 1,000" in advice.warnings[0]
    assert recommend(128, rule=known, tokens=2e5, batch_tokens=1000).scales["steps"] == 200


def test_tokens_and_steps_must_agree():
    known = rule(tokens_per_step=1000.0)
    assert recommend(512, rule=known, tokens=200_400, steps=200).scales["steps"] == 200
    message = "steps: expected 400, since tokens is 400,000 at 1,000 tokens a step, but got 200"
    with pytest.raises(InputError, match=message):
        recommend(512, rule=known, tokens=4e5, steps=200)
    with pytest.raises(InputError, match=message):
        recommend(512, rule=power_rule(conditions={"tokens_per_step": 1e3}), tokens=4e5, steps=200)
    with pytest.raises(InputError, match="tokens: expected steps instead, since the runs did not say how many tokens"):
        recommend(512, rule=rule(), tokens=4e5)


def test_a_transfer_converts_at_both_ends():
    known = rule(tokens_per_step=1000.0)
    moved = transfer_learning_rate(0.003, 128, 512, rule=known, tokens=2e5)
    assert moved.learning_rate == pytest.approx(0.003 / 4, rel=0.02)
