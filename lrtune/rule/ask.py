"""Which learning rate, with what interval, carried from where: what a training configuration calls."""

import os
import warnings

from lrtune.errors import InputError
from lrtune.rule.answer import PROVISIONAL, answer, carry
from lrtune.rule.data import Recommendation, Rule, Transfer
from lrtune.rule.file import load_rule

RuleLike = Rule | str | os.PathLike[str] | None


class ExtrapolationWarning(UserWarning):
    """`get_learning_rate` was asked outside of what its rule measured."""


def get_learning_rate(
    hidden_size: float | None = None, *, rule: RuleLike = None, stage: int = 1, **scales: float
) -> float:
    """The peak learning rate for a model of this hidden size.

    Args:
        hidden_size: the model's width.
        rule: a `Rule`, a path, or None for the one that `find_rule` finds.
        stage: 1 or 2; stage 2 is the rate that the two-stage schedule steps down to.
        **scales: further scales of the rule (``tokens=2e9``).

    Raises:
        InputError: no such rule, a scale that it does not know, or a stage that it has no rate for.

    Warns once for each place where the answer is extrapolated or not supported.
    """
    found = recommend(hidden_size, rule=rule, **scales)
    for sentence in found.warnings:
        if sentence == PROVISIONAL:
            continue
        warnings.warn(f"lrtune: {sentence} (rule: {found.source or 'given'})", ExtrapolationWarning, stacklevel=2)
    if stage == 1:
        return found.learning_rate
    if stage != 2:
        raise InputError(f"stage: expected 1 or 2, but got {stage!r:.40}")
    if found.stage2_learning_rate is None:
        raise InputError("stage: this rule was measured on a schedule of one stage and has no rate for stage 2")
    return found.stage2_learning_rate


def recommend(
    hidden_size: float | None = None, *, rule: RuleLike = None, at: float | None = None, **scales: float
) -> Recommendation:
    """The peak learning rate with its interval, its safe range and what it rests on; see `Recommendation`.

    Args:
        hidden_size: the model's width; None only for a rule that has no such scale.
        rule: a `Rule`, a path, or None for the one that `find_rule` finds.
        at: another rate, to be told what it would cost.
        **scales: further scales of the rule.

    Raises:
        InputError: no such rule, or a scale or the rate is missing, unknown or not positive.
    """
    return answer(rule if isinstance(rule, Rule) else load_rule(rule), hidden_size, scales, at)


def transfer_learning_rate(
    learning_rate: float, from_size: float, to_size: float, *, rule: RuleLike = None, **scales: float
) -> Transfer:
    """Carry a rate that was tuned elsewhere at `from_size` to `to_size`, by the law's ratio between the two.

    The tuned rate brings its own setting's scale (data, batch, optimizer); the rule brings only the slope, so the
    interval is the ratio's: exact at equal sizes, wider the further apart.

    Raises:
        InputError: as `recommend`, or the given rate is not a positive number.
    """
    start, end = ({"hidden_size": size, **scales} for size in (from_size, to_size))
    return carry(rule if isinstance(rule, Rule) else load_rule(rule), learning_rate, start, end)
