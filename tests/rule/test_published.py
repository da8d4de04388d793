"""Published rules: the numbers of their tables and formulas, and where each was measured."""

import math

import pytest

from lrtune.errors import InputError
from lrtune.rule.published import PUBLISHED, published_rates


def opinion(name: str, hidden_size: float, **scales: float):
    return next(o for o in published_rates(hidden_size, **scales).opinions if o.name == name)


@pytest.mark.parametrize(
    ("name", "hidden_size", "peak", "stage2"),
    [
        ("BitNet b1.58", 3200, 1.2e-3, 8e-4),
        ("GPT-3", 5140, 1e-4, None),
        ("Phase 4, option B", 511, 5e-4, None),
        ("Phase 4, option B", 512, 1.5e-3, None),
    ],
)
def test_tables(name: str, hidden_size: int, peak: float, stage2: float | None) -> None:
    found = opinion(name, hidden_size)
    assert found.learning_rate == pytest.approx(peak)
    assert found.stage2_learning_rate == (None if stage2 is None else pytest.approx(stage2))


@pytest.mark.parametrize(
    ("name", "scales", "expected"),
    [
        # 1.79 · N^−0.713 · D^0.307 = 1.79 · 10^(−6.417 + 3.377)
        ("Step Law", {"parameters": 1e9, "tokens": 1e11}, 1.632e-3),
        # 0.3118 · C^−0.125 at C = 6ND = 6e18: 0.3118 · 10^(−18.778 / 8)
        ("DeepSeek", {"parameters": 1e8, "tokens": 1e10}, 1.402e-3),
        # 3.7 · N^−0.36 = 3.7 · 10^−2.88
        ("Porian et al.", {"parameters": 1e8}, 4.878e-3),
        # 3.239e-3 − 1.395e-4 · ln N, ln 1e8 = 18.421
        ("Kaplan et al.", {"parameters": 1e8}, 6.693e-4),
    ],
)
def test_formulas(name: str, scales: dict[str, float], expected: float) -> None:
    found = opinion(name, 1024, **scales)
    assert found.learning_rate == pytest.approx(expected, rel=5e-4) and found.in_domain


def test_between_two_rows_the_line_is_straight_in_logs() -> None:
    assert opinion("BitNet", math.sqrt(768 * 1024)).learning_rate == pytest.approx(math.sqrt(2.4e-3 * 1.2e-3))


def test_a_small_model_lies_outside_all_domains_of_decoders() -> None:
    """At hidden 256 and 4 layers the formulas disagree more than tenfold, and none was measured there."""
    comparison = published_rates(256, ours=0.004, depth=4, tokens=6e7)
    inside = [o.name for o in comparison.opinions if o.in_domain and o.learning_rate]
    assert inside == ["Phase 4, option B"]
    formulas = [o.learning_rate for o in comparison.opinions if o.learning_rate and "parameters" in o.why + o.name]
    assert max(formulas) / min(formulas) > 10
    text = str(comparison)
    assert "ours" in text and "outside its 768 … 7168" in text
    assert all(rule.name in text and rule.source in text for rule in PUBLISHED)


def test_what_a_rule_needs_and_lacks_is_said() -> None:
    assert opinion("Step Law", 256).learning_rate is None
    assert "--tokens" in opinion("Step Law", 256, depth=4).why
    assert opinion("µP, Adam", 256).learning_rate is None
    assert opinion("Kaplan et al.", 256, parameters=1e12).why == "gives no positive rate there"
    with pytest.raises(InputError, match="depth: expected a positive number"):
        published_rates(256, depth=-4)


def test_what_was_not_checked_is_said() -> None:
    assert "not checked against the source: the sizes" in opinion("Kaplan et al.", 256, depth=4).why
    assert "not checked" not in opinion("DeepSeek", 256, depth=4, tokens=1e9).why
    formulas = [rule for rule in PUBLISHED if rule.factor]
    assert len(formulas) == 4 and all("arXiv" in rule.source and rule.note for rule in formulas)
