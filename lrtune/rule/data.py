"""The rule as data: what a law, its cells, its boundary and its advice are made of.

Named tuples instead of dataclasses keep ``from lrtune import get_learning_rate`` within a few milliseconds: a
training configuration calls it. `lrtune.rule.export` copies this file and `lrtune.rule.answer` into a module that
stands alone.
"""

from collections.abc import Mapping
from typing import NamedTuple

FORMS = ("constant", "power", "curved", "effective", "step", "table")
BOUNDS = (None, "lower", "upper")
ADVICE = ("stage2_ratio", "weight_decay", "weight_decay_stage2", "warmup_steps", "warmup_share")
HORIZON = ("tokens", "steps")

Condition = str | bool | float | tuple[float, float]


class Scale(NamedTuple):
    """A scale of the law: the range that was measured and the value that its logarithm is centred on."""

    low: float
    high: float
    centre: float


class Polynomial(NamedTuple):
    """A quantity in log learning rate: Σ coefficients[t] · Π_s z_s^exponents[t][s], z_s = ln(scale_s / centre_s).

    `covariance` is that of the coefficients, terms of mean zero included: a curvature that the data do not show
    still widens what is said far outside.
    """

    exponents: tuple[tuple[int, ...], ...]
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]


class Step(NamedTuple):
    """A threshold law: one log rate below `low` of hidden size (or whatever scale), another above `high`."""

    scale: str
    low: float
    high: float
    below: float
    above: float
    below_variance: float
    above_variance: float


class RuleCell(NamedTuple):
    """One measured combination of scales; `bound` says that only one side of its optimum was sampled."""

    scales: Mapping[str, float]
    learning_rate: float
    low: float
    high: float
    bound: str | None = None
    safe_low: float | None = None
    safe_high: float | None = None
    loss: float | None = None
    sensitivity: float | None = None
    trials: int = 0


class Boundary(NamedTuple):
    """P(collapse or divergence) = logistic((log LR − line(z)) / width); `line` is where it is one half."""

    line: Polynomial
    width: float


class Rule(NamedTuple):
    """Hidden size (and other scales) → peak learning rate, with what is known of its uncertainty.

    Attributes:
        form: one of `FORMS`; ``effective`` is a law found in relative update sizes and written in rates.
        reason: one sentence on why this form.
        scales: the scales of the law, in the order of the exponents.
        cells: what was measured.
        law: the polynomial (None for ``step`` and ``table``).
        step: the threshold law of the form ``step``.
        discrepancy: variance of a single optimum about the law, in log learning rate.
        level, quantile: of the intervals; `quantile` standard deviations either way hold the share `level`.
        tolerance: relative loss that the safe range may cost.
        safe_below, safe_above: safe range beside the optimum, in log learning rate; None where not known.
        boundary: of collapse and divergence; None where no run failed.
        conditions: what the rule holds for; a pair of numbers is a range.
        advice: ``stage2_ratio``, ``weight_decay``, ``weight_decay_stage2``, ``warmup_steps``, and ``warmup_share``
            of the steps where runs of different length had that in common.
        horizon: ``tokens`` and ``steps`` of the longest runs measured.
        provenance: where the rule came from.
        provisional: stands in until better is measured.
        source: the file that it was read from; not part of the file.
    """

    form: str
    reason: str
    scales: Mapping[str, Scale]
    cells: tuple[RuleCell, ...]
    law: Polynomial | None = None
    step: Step | None = None
    discrepancy: float = 0.0
    level: float = 0.9
    quantile: float = 1.6449
    tolerance: float = 0.01
    safe_below: float | None = None
    safe_above: float | None = None
    boundary: Boundary | None = None
    conditions: Mapping[str, Condition] = {}
    advice: Mapping[str, float] = {}
    horizon: Mapping[str, float] = {}
    provenance: Mapping[str, str] = {}
    provisional: bool = False
    source: str = ""


class Recommendation(NamedTuple):
    """What the rule says of one combination of scales.

    Attributes:
        learning_rate: the peak of stage 1, never above `collapse_10`.
        low, high: its interval at `level`.
        safe_low, safe_high: rates that cost at most the rule's tolerance of loss; None where not known.
        collapse_10, collapse_50: rates at which a run in ten, in two, collapses or diverges; None where none did.
        basis: ``measured``, ``interpolated`` or ``extrapolated``; `extrapolation` is the factor beyond the range.
        supported: the interval stays within a factor of 2 either way and the conditions are not far off.
        why: one sentence.
        stage2_learning_rate, weight_decay, …: the rest of the advice, None where the rule has none.
        horizon_tokens, horizon_steps: the training length that the answer is for.
        conditions: what the rule holds for.
        warnings: what to know before relying on it, a sentence each.
        source: the file of the rule.
    """

    learning_rate: float
    low: float
    high: float
    level: float
    basis: str
    extrapolation: float
    supported: bool
    why: str
    scales: Mapping[str, float]
    safe_low: float | None = None
    safe_high: float | None = None
    collapse_10: float | None = None
    collapse_50: float | None = None
    stage2_learning_rate: float | None = None
    weight_decay: float | None = None
    weight_decay_stage2: float | None = None
    warmup_steps: float | None = None
    horizon_tokens: float | None = None
    horizon_steps: float | None = None
    conditions: Mapping[str, object] = {}
    warnings: tuple[str, ...] = ()
    source: str = ""


class Transfer(NamedTuple):
    """A rate carried from one size to another by the law's ratio; its interval is that of the ratio."""

    learning_rate: float
    low: float
    high: float
    level: float
    ratio: float
    ratio_low: float
    ratio_high: float
    basis: str
    extrapolation: float
    supported: bool
    why: str
    warnings: tuple[str, ...] = ()
    source: str = ""
