"""The answers of a rule as data."""

from collections.abc import Mapping

from lrtune.named import NamedTuple
from lrtune.rule.doubt import Doubt


class KnobAdvice(NamedTuple):
    """The answer for one knob, with all others at their recommended values.

    Attributes:
        value, low, high: and its interval at the rule's level.
        coordinate: empty if the law is of the value, ``*learning_rate`` if it is of its ratio to that knob, and
            ``/learning_rate`` if it is of their product.
        law: in one sentence.
        basis, supported, doubt: as of the learning rate.
        matters: False if every value that was tried at any size costs at most `tolerance`.
        regret, regret_90: expected relative loss above the best, and its 90% quantile.
        safe_low, safe_high: values that cost at most `tolerance` with 90% probability, or None.
    """

    value: float
    low: float
    high: float
    coordinate: str
    law: str
    basis: str
    supported: bool
    matters: bool
    regret: float
    regret_90: float
    tolerance: float
    safe_low: float | None = None
    safe_high: float | None = None
    doubt: Doubt | None = None


class Recommendation(NamedTuple):
    """The rule's answer for one combination of scales.

    Attributes:
        learning_rate: the peak of stage 1, never above `collapse_10`.
        low, high: its interval at `level`.
        safe_low, safe_high: rates that cost at most the rule's tolerance of loss with 90% probability; None if
            the answer is not supported.
        collapse_10, collapse_50: rates at which 10% and 50% of the runs collapse or diverge; None if none did.
        basis: ``measured`` (at three rates or more, unless no size was), ``interpolated`` or ``extrapolated``;
            `extrapolation` is the factor beyond the range.
        supported: `regret` is within the rule's tolerance, `regret_90` within three times that, and the conditions
            are close to the measured ones (schema 1: the interval stays within a factor of 2 of the rate).
        doubt: why the answer is not supported; the first of `warnings` says it for this answer. None if supported.
        why: one sentence.
        stage2_learning_rate, weight_decay, …: the rest of the advice, or None.
        horizon_tokens, horizon_steps: the training length of the answer.
        conditions: the settings that the rule holds for.
        warnings: reasons for caution, one sentence each.
        source: the file of the rule.
        regret, regret_90: expected relative loss above the best at `learning_rate`, and its 90% quantile; None if
            unknown: in rules of schema 1, and where all runs above the best rate were ended early (`Doubt.CUT`).
        at, at_regret, at_regret_90: the rate in question, and its regrets; None as above.
        knobs: the answers for the rule's other knobs; `regret` and `supported` include them.
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
    regret: float | None = None
    regret_90: float | None = None
    at: float | None = None
    at_regret: float | None = None
    at_regret_90: float | None = None
    doubt: Doubt | None = None
    knobs: Mapping[str, KnobAdvice] = {}

    def __repr__(self) -> str:
        from lrtune.rule.display import answer_sentence

        return f"<Recommendation: {answer_sentence(self)}>"

    def _repr_html_(self) -> str:
        from lrtune.rule.display import answer_html

        return answer_html(self)


class Transfer(NamedTuple):
    """A rate scaled from one size to another by the law's ratio; its interval is that of the ratio.

    `regret` is the share of loss that it costs on average if the given rate is the best at its size; in one case of ten
    it costs more than `regret_90`. None if unknown, as of a `Recommendation`.
    """

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
    doubt: Doubt | None = None
    regret: float | None = None
    regret_90: float | None = None

    def __repr__(self) -> str:
        from lrtune.rule.display import transfer_sentence

        return f"<Transfer: {transfer_sentence(self)}>"
