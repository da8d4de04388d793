"""Published rules: the numbers of their tables and formulas, and where each was measured."""

import math

import pytest

from lrtune.errors import InputError
from lrtune.rule.opinions import family, published_rates
from lrtune.rule.published import PUBLISHED


def opinion(name: str, hidden_size: float, **scales: float):
    return next(o for o in published_rates(hidden_size, own="", **scales).opinions if o.name == name)


@pytest.mark.parametrize(
    ("name", "hidden_size", "peak", "stage2"),
    [
        ("BitNet b1.58", 3200, 1.2e-3, 8e-4),
        ("GPT-3", 5140, 1e-4, None),
        ("Llama3-8B-1.58", 4096, 1e-4, None),
        ("parameter-golf, ternary", 768, 0.04, None),
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
        # 0.0047 · (N / 108e6)^(−1/3) at 8 · 108e6: half of 0.0047
        ("OLMo-core ladder", {"parameters": 8.64e8}, 2.35e-3),
        # 0.33 · √B / hidden at B = 64 sequences of 4,096 and hidden 1024: 0.33 · 8 / 1024
        ("Marin", {"batch_tokens": 64 * 4096.0}, 2.578e-3),
        ("nanochat", {"batch_tokens": 524288.0}, 0.02),
        # 3.239e-3 − 1.395e-4 · ln N, ln 1e8 = 18.421
        ("Kaplan et al.", {"parameters": 1e8}, 6.693e-4),
    ],
)
def test_formulas(name: str, scales: dict[str, float], expected: float) -> None:
    found = opinion(name, 1024, **scales)
    assert found.learning_rate == pytest.approx(expected, rel=5e-4)
    assert found.in_domain or name == "Marin"


def test_a_formula_over_the_width() -> None:
    assert opinion("Tinker, Llama", 2048).learning_rate == pytest.approx(5e-4 * (2000 / 2048) ** 0.781)
    assert "--batch-tokens" in opinion("Marin", 2048).why
    found = opinion("Marin", 2048, batch_tokens=4096.0)
    assert not found.in_domain and found.why == "measured at sizes that are not known"
    assert opinion("Marin", 32, batch_tokens=2.0**20).learning_rate == 0.01
    assert opinion("HyperP", 2048, tokens=1e9).learning_rate is None


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"model": "bitnet-b1.58", "optimizer": "adamw"}, "ternary transformer"),
        ({"model": "GPT-2", "optimizer": "adamw"}, "transformer"),
        ({"model": "my-gpt", "optimizer": "muon"}, "transformer, Muon"),
        ({"model": "resnet", "optimizer": "muon"}, ""),
        ({}, ""),
    ],
)
def test_the_family_of_a_model_is_read_from_its_conditions(conditions: dict[str, object], expected: str) -> None:
    assert family(conditions) == expected
    assert not expected or any(rule.family == expected for rule in PUBLISHED)


def test_rules_of_the_models_own_family_come_first() -> None:
    ordered = published_rates(768, own="transformer, Muon").opinions
    assert {opinion.name for opinion in ordered[:2]} == {"nanochat", "HyperP"}
    assert len(ordered) == len(PUBLISHED)


def test_between_two_rows_the_line_is_straight_in_logs() -> None:
    assert opinion("BitNet", math.sqrt(768 * 1024)).learning_rate == pytest.approx(math.sqrt(2.4e-3 * 1.2e-3))


def test_a_small_model_lies_outside_all_domains_of_decoders() -> None:
    """At hidden 256 and 4 layers the formulas disagree more than tenfold, and none was measured there."""
    comparison = published_rates(256, ours=0.004, depth=4, tokens=6e7)
    inside = [o.name for o in comparison.opinions if o.in_domain and o.learning_rate]
    assert inside == ["Phase 4, option B"]
    formulas = [o.learning_rate for o in comparison.opinions if o.learning_rate and "parameters" in o.why]
    assert max(formulas) / min(formulas) > 10
    text = str(comparison)
    assert "ours" in text and "outside its hidden_size, 768 … 7168" in text
    assert all(rule.name in text and rule.source in text for rule in PUBLISHED)


def test_what_a_rule_needs_and_lacks_is_reported() -> None:
    assert opinion("Step Law", 256).learning_rate is None
    assert "--tokens" in opinion("Step Law", 256, depth=4).why
    assert opinion("µP, Adam", 256).learning_rate is None
    assert opinion("Kaplan et al.", 256, parameters=1e12).why == "gives no positive rate there"
    with pytest.raises(InputError, match="depth: expected a positive number"):
        published_rates(256, depth=-4)


def test_what_was_not_checked_is_reported() -> None:
    assert "not checked against the source: the sizes" in opinion("Kaplan et al.", 256, depth=4).note
    assert "not checked" not in opinion("DeepSeek", 256, depth=4, tokens=1e9).note
    formulas = [rule for rule in PUBLISHED if rule.factor]
    assert len(formulas) == 8 and all(rule.note and ("arXiv" in rule.source or "/" in rule.source) for rule in formulas)
