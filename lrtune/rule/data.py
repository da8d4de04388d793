"""The rule as data: its law, cells and boundary.

Named tuples import faster than dataclasses: ``from lrtune import get_learning_rate`` takes a few milliseconds.
`lrtune.rule.export` copies this file and those that answer into a standalone module.
"""

import math
from collections.abc import Mapping, Sequence

from lrtune.named import NamedTuple
from lrtune.rule.advice import Recommendation
from lrtune.rule.knob import Coordinate

FORMS = ("drawn", "constant", "power", "curved", "effective", "step", "table")  # all but the first: schema 1
BOUNDS = (None, "lower", "upper")
CUTS = (None, "checked", "unchecked")
ADVICE = ("stage2_ratio", "weight_decay", "weight_decay_stage2", "warmup_steps", "warmup_share")
HORIZON = ("tokens", "steps", "batch_tokens")
SAME = 1e-6  # relative difference below which two values are equal
WIDEST = 100.0  # limit of an interval's factor from the rate: wider intervals carry no information
RATE_UNIT, HEIGHT_UNIT = 0.005, 0.05  # octaves that one unit of a drawn whole number is worth

Condition = str | bool | float | tuple[float, float]


def exponential(value: float) -> float:
    """e^value, finite and positive for any finite value."""
    return math.exp(max(-300.0, min(300.0, value)))


class Scale(NamedTuple):
    """A scale of the law: its measured range and the centre of its logarithm."""

    low: float
    high: float
    centre: float


class Polynomial(NamedTuple):
    """A quantity in log learning rate: Σ coefficients[t] · Π_s z_s^exponents[t][s], z_s = ln(scale_s / centre_s).

    `covariance` is that of the coefficients, including terms of mean zero: an unobserved curvature still widens the
    interval far outside the data.
    """

    exponents: tuple[tuple[int, ...], ...]
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    def terms(self, scales: Mapping[str, Scale], at: Mapping[str, float]) -> list[float]:
        """Its terms at a place, without their coefficients."""
        z = [math.log(at[name] / scale.centre) for name, scale in scales.items()]
        return [math.prod(v**p for v, p in zip(z, exponents, strict=True)) for exponents in self.exponents]

    def at(self, terms: Sequence[float]) -> tuple[float, float]:
        """Its mean and variance where its terms have these values."""
        size = range(len(terms))
        variance = sum(terms[i] * self.covariance[i][j] * terms[j] for i in size for j in size)
        return sum(c * term for c, term in zip(self.coefficients, terms, strict=True)), max(0.0, variance)


class Step(NamedTuple):
    """A threshold law: one log rate below `low` of its scale, another above `high`."""

    scale: str
    low: float
    high: float
    below: float
    above: float
    below_variance: float
    above_variance: float


class RuleCell(NamedTuple):
    """One measured combination of scales.

    `bound` is set if only one side of its optimum was sampled; `tried_low` and `tried_high` are the extreme rates of
    the finished runs. `cut` is set if all runs between the best one and the lowest failure above it were ended early as
    beaten by runs at lower rates: ``checked`` if a run at these scales or larger ones showed that such verdicts hold,
    else ``unchecked``.
    """

    scales: Mapping[str, float]
    learning_rate: float
    low: float
    high: float
    bound: str | None = None
    safe_low: float | None = None
    safe_high: float | None = None
    loss: float | None = None
    trials: int = 0
    tried_low: float | None = None
    tried_high: float | None = None
    cut: str | None = None

    def is_at(self, scales: Mapping[str, float]) -> bool:
        """Whether these are its scales, but for rounding."""
        return all(abs(value / self.scales[name] - 1) < SAME for name, value in scales.items())


class CellDraws(NamedTuple):
    """One measured cell, by draw: its optimum relative to the law, the index of its shape, and its height."""

    off: tuple[int, ...]
    shape: tuple[int, ...]
    height: tuple[int, ...]


class Draws(NamedTuple):
    """Equally likely posterior draws, one whole number per draw in each column.

    The law of a draw, in octaves of learning rate, z_s = ln(scale_s / centre_s):

        optimum = level + Σ slopes_s z_s + Σ_{s ≤ t} bends_st z_s z_t (½ where s = t) + Σ wander_s(z_s) + steps_s + own

    Attributes:
        shapes: loss curves: kind, low and high factor, power, bend, wall, its position, and the scale of the rest.
        level, slopes, bends: in units of RATE_UNIT octaves; one column per scale or pair of scales.
        reach: correlation length of `wander`, in e-folds.
        wander, wander_sd: deviation along each scale at each of its measured values, and its standard deviation.
        steps, steps_sd: independent deviation of each value of a scale, likewise; empty with one scale.
        own_sd: standard deviation of a cell's independent deviation.
        inert: probability by scale that the best rate does not depend on it.
        shape, height: of an unmeasured cell; log2 of the relative loss an octave off, in HEIGHT_UNIT.
        cells: in the order of the rule's cells.
        ratio: heights are logs of loss; else shares of loss.
        values: measured values of each scale, in order.
    """

    shapes: tuple[tuple[float, ...], ...]
    level: tuple[int, ...]
    slopes: tuple[tuple[int, ...], ...]
    bends: tuple[tuple[int, ...], ...]
    reach: float
    wander: tuple[tuple[tuple[int, ...], ...], ...]
    wander_sd: tuple[tuple[int, ...], ...]
    steps: tuple[tuple[tuple[int, ...], ...], ...]
    steps_sd: tuple[tuple[int, ...], ...]
    own_sd: tuple[int, ...]
    inert: tuple[float, ...]
    shape: tuple[int, ...]
    height: tuple[int, ...]
    cells: tuple[CellDraws, ...]
    ratio: bool
    values: tuple[tuple[float, ...], ...]


class Boundary(NamedTuple):
    """P(collapse or divergence) = logistic((log LR − line(z)) / width); it is one half on `line`."""

    line: Polynomial
    width: float


class Zero(NamedTuple):
    """Runs in which a knob is zero: their mean relative loss above the best of its range, and its standard error."""

    above: float
    error: float


class KnobLaw(NamedTuple):
    """The law of a knob: a rule whose rates are the knob's coordinate; `zero` if it was zero in some runs."""

    coordinate: Coordinate
    rule: "Rule"
    zero: Zero | None = None


class Rule(NamedTuple):
    """Hidden size (and other scales) → peak learning rate, with its uncertainty.

    Attributes:
        form: one of `FORMS`: ``drawn``, or a form of schema 1.
        reason: the law in one sentence.
        scales: the scales of the law, in the order of the exponents.
        cells: the measured combinations of scales.
        law: the polynomial (None for ``step`` and ``table``).
        step: the threshold law of the form ``step``.
        discrepancy: variance of a single optimum about the law, in log learning rate.
        level, quantile: of the intervals; ±`quantile` standard deviations have the probability `level`.
        tolerance: relative loss that the safe range may cost.
        safe_below, safe_above: width of the safe range below and above the optimum, in log learning rate; or None.
        boundary: of collapse and divergence; None if no run failed.
        conditions: the settings that the rule holds for; a pair of numbers is a range.
        advice: ``stage2_ratio``, ``weight_decay``, ``weight_decay_stage2``, ``warmup_steps``, and ``warmup_share``
            of the steps if runs of different length agree on it.
        horizon: ``tokens`` and ``steps`` of the longest runs measured.
        provenance: the rule's origin.
        provisional: a stand-in until a better rule is measured.
        draws: the posterior; None in rules of schema 1.
        left_out: mean regret of sizes predicted without their own runs, or of values of another scale if fewer than
            three sizes were run; None if no scale has three values.
        study: study.toml of the runs, as text; empty if they are not of lrtune.
        runs: six hexadecimal digits for each run with a loss (`lrtune.records.identity`).
        knobs: the laws of what was chosen beside the learning rate, by name. All else is with these at their best.
        source: the file it was read from; not part of the file.
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
    draws: Draws | None = None
    left_out: float | None = None
    study: str = ""
    runs: str = ""
    knobs: Mapping[str, KnobLaw] = {}
    source: str = ""

    def recommend(
        self, hidden_size: float | None = None, *, at: float | None = None, **scales: float
    ) -> Recommendation:
        """The rule's answer at this size; see `lrtune.recommend`."""
        from lrtune.rule.ask import recommend

        return recommend(hidden_size, rule=self, at=at, **scales)

    def __repr__(self) -> str:
        from lrtune.rule.display import rule_sentence

        return f"<Rule: {rule_sentence(self)}>"

    def _repr_html_(self) -> str:
        from lrtune.rule.display import rule_html

        return rule_html(self)
