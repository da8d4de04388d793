"""The functions that a training configuration calls: a learning rate, its interval, and a rate scaled between sizes."""

import os
from collections.abc import Mapping

from lrtune.errors import InputError
from lrtune.rule.advice import Recommendation, Transfer
from lrtune.rule.answer import PROVISIONAL, answer
from lrtune.rule.data import Rule
from lrtune.rule.file import find_rule, load_rule
from lrtune.rule.knob import FIRST

RuleLike = Rule | str | os.PathLike[str] | None
NOT_YOURS = "packaged BitNet rule, not your model"


class ExtrapolationWarning(UserWarning):
    """`get_learning_rate` was asked outside the range that its rule measured."""


class PackagedRuleWarning(UserWarning):
    """`get_learning_rate` found no rule of this project and answered with the packaged one."""


def read_rule(rule: RuleLike) -> tuple[Rule, bool]:
    """The rule in question, and whether it is the packaged one for want of another.

    Raises:
        InputError, NoActiveRuleError: as `load_rule`.
    """
    if isinstance(rule, Rule):
        return rule, False
    if rule is not None:
        return load_rule(rule), False
    path, how = find_rule()
    return load_rule(path), how == "packaged"


def get_learning_rate(
    hidden_size: float | None = None, knob: str = FIRST, *, rule: RuleLike = None, stage: int = 1, **scales: float
) -> float:
    """The peak learning rate for a model of this hidden size, or the value of another knob of the rule.

    >>> import lrtune
    >>> runs = [{"width": w, "lr": 0.3 / w * f, "loss": 3 + abs(f - 1)} for w in (32, 64, 128) for f in (0.5, 1, 2)]
    >>> rule = lrtune.fit(runs, lr="lr", loss="loss", hidden_size="width")
    >>> 0.3 / 64 / 2 < lrtune.get_learning_rate(64, rule=rule) < 0.3 / 64 * 2
    True

    Args:
        hidden_size: the model's width.
        knob: what to give, ``"adam_lr"`` say, for a rule with knobs beside the learning rate.
        rule: a `Rule`, a path, ``"packaged"``, ``"packaged:muon"``, or None for the one that `find_rule` finds.
        stage: 1 or 2; stage 2 is the rate that the two-stage schedule steps down to.
        **scales: further scales of the rule (``tokens=2e9``).

    Raises:
        InputError: the rule is missing, does not have one of the scales or the knob, or has no rate for the stage.
        NoActiveRuleError: the project's last search or fit found no rule.

    Warns once at each call site whose answer is extrapolated or not supported, or not from a rule of this project.
    """
    loaded, is_default = read_rule(rule)
    advice = answer(loaded, hidden_size, scales, with_safe_range=False)
    if is_default or advice.warnings:
        import warnings

        if is_default:
            text = f"lrtune: {NOT_YOURS}; measure yours with `lrtune search`, or pass rule='packaged'"
            warnings.warn(text, PackagedRuleWarning, stacklevel=2)
        for sentence in advice.warnings:
            if sentence != PROVISIONAL:
                text = f"lrtune: {sentence} (rule: {advice.source or 'given'})"
                warnings.warn(text, ExtrapolationWarning, stacklevel=2)
    if knob != FIRST:
        from lrtune.rule.knobs import value_of

        return value_of(advice, knob)
    if stage == 1:
        return advice.learning_rate
    if stage != 2:
        raise InputError(f"stage: expected 1 or 2, but got {stage!r:.40}")
    if advice.stage2_learning_rate is None:
        raise InputError("stage: this rule was measured with a one-stage schedule and has no rate for stage 2")
    return advice.stage2_learning_rate


def recommend(
    hidden_size: float | None = None, *, rule: RuleLike = None, at: float | None = None, **scales: float
) -> Recommendation:
    """The peak learning rate with its interval, safe range and basis; see `Recommendation`.

    >>> import lrtune
    >>> runs = [{"width": w, "lr": 0.3 / w * f, "loss": 3 + abs(f - 1)} for w in (32, 64, 128) for f in (0.5, 1, 2)]
    >>> advice = lrtune.recommend(256, rule=lrtune.fit(runs, lr="lr", loss="loss", hidden_size="width"))
    >>> advice.low < advice.learning_rate < advice.high
    True
    >>> advice.basis
    'extrapolated'

    Args:
        hidden_size: the model's width; None only for a rule that has no such scale.
        rule: a `Rule`, a path, ``"packaged"``, ``"packaged:muon"``, or None for the one that `find_rule` finds.
        at: another rate; the answer then gives its cost.
        **scales: further scales of the rule.

    Raises:
        InputError: no such rule, or a scale or the rate is missing, unknown or not positive.
    """
    return _recommend(rule, hidden_size, scales, at, with_safe_range=True)


def recommend_briefly(hidden_size: float, rule: RuleLike = None) -> Recommendation:
    """As `recommend`, but without the safe range: for scripts that want a number."""
    return _recommend(rule, hidden_size, {}, None, with_safe_range=False)


def _recommend(
    rule: RuleLike, hidden_size: float | None, scales: Mapping[str, float], at: float | None, *, with_safe_range: bool
) -> Recommendation:
    loaded, is_default = read_rule(rule)
    found = answer(loaded, hidden_size, scales, at, with_safe_range=with_safe_range)
    return found._replace(warnings=(NOT_YOURS, *found.warnings)) if is_default else found


def transfer_learning_rate(
    learning_rate: float,
    from_size: float,
    to_size: float,
    *,
    rule: RuleLike = None,
    from_scales: Mapping[str, float] | None = None,
    **scales: float,
) -> Transfer:
    """Scale a rate that you tuned at `from_size` to `to_size` by the law's ratio.

    >>> import lrtune
    >>> runs = [{"width": w, "lr": 0.3 / w * f, "loss": 3 + abs(f - 1)} for w in (32, 64, 128) for f in (0.5, 1, 2)]
    >>> rule = lrtune.fit(runs, lr="lr", loss="loss", hidden_size="width")
    >>> 0.0005 < lrtune.transfer_learning_rate(0.002, 32, 64, rule=rule).learning_rate < 0.002
    True

    The tuned rate carries the level of its setting (data, batch, optimizer); the rule adds only the slope. The
    interval is that of the ratio: zero wide at equal sizes, wider with their distance.

    Args:
        learning_rate: the tuned rate.
        from_size, to_size: the hidden sizes at which it was tuned and is wanted.
        rule: as of `recommend`.
        from_scales, scales: the further scales at both; one that either leaves out is the same at both.

    Raises:
        InputError: as `recommend`, or the given rate is not a positive number.
    """
    from lrtune.rule.transfer import carry

    start, end = {"hidden_size": from_size, **(from_scales or {})}, {"hidden_size": to_size, **scales}
    loaded, is_default = read_rule(rule)
    found = carry(loaded, learning_rate, start, end)
    return found._replace(warnings=(NOT_YOURS, *found.warnings)) if is_default else found
