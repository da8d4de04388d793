"""Compare a rule with measurements: predicted and measured optimum, and the regret of the prediction."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from lrtune.law.no_rule import NoRuleError
from lrtune.records.identity import fitted_to
from lrtune.records.record import TrialRecord
from lrtune.rule.answer import answer
from lrtune.rule.data import Rule


class CheckRow(NamedTuple):
    """One measured combination of scales.

    Attributes:
        predicted, low, high: the rule's answer.
        measured, measured_low, measured_high: the optimum of these runs alone.
        bound: ``lower`` or ``upper`` if the runs give only that bound of the optimum.
        regret: relative loss of the predicted rate above the best, on the curve of these runs; None if unknown, as
            where all runs above the best rate were ended early.
        held: the rule's interval and the measured one overlap; None without a verdict.
        supported: the rule marks its answer as supported.
    """

    scales: dict[str, float]
    predicted: float
    low: float
    high: float
    measured: float
    measured_low: float
    measured_high: float
    bound: str | None
    regret: float | None
    held: bool | None
    supported: bool
    trials: int


class Check(NamedTuple):
    """All rows; prints as a table with a summary line.

    Attributes:
        unused: the number of runs that the fit does not use, by reason.
        fitted: how many runs the rule was fitted to: they say nothing of it, and the others alone give the verdict.
        has_verdict: whether there are others.
    """

    rows: tuple[CheckRow, ...]
    unused: dict[str, int]
    fitted: int
    has_verdict: bool

    def __str__(self) -> str:
        scales = list(self.rows[0].scales) if self.rows else []
        header = (*scales, "predicted", "interval", "measured", "interval", "regret", "held")
        lines = [header, *(_line(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        if not self.has_verdict:
            return "\n".join([*text, f"no verdict: the rule was fitted to these {self.fitted} runs"])
        if self.fitted:
            text.append(f"without {self.fitted} runs that the rule was fitted to")
        held = sum(row.held is True for row in self.rows)
        regrets = [row.regret for row in self.rows if row.regret is not None]
        worst = f", worst regret {max(regrets):.2%} of loss" if regrets else ""
        return "\n".join([*text, f"the interval holds at {held} of {len(self.rows)} sizes{worst}"])


def check_rule(rule: Rule, records: Iterable[TrialRecord]) -> Check:
    """Compare a rule with runs other than those that it was fitted to.

    Raises:
        InputError: the records lack a scale of the rule.
        NoRuleError: the records do not determine an optimum.
    """
    scales, given = tuple(rule.scales), list(records)
    used = fitted_to(rule.runs, given)
    own = {id(record) for record in used}
    fresh = [record for record in given if id(record) not in own]
    has_verdict = any(record.loss is not None for record in fresh)
    from lrtune.law.fit import fit_law  # loads scipy

    try:
        fitted = fit_law(
            fresh if has_verdict else given,
            scales=scales,
            tolerance=rule.tolerance,
            level=rule.level,
            every_scale=True,
            knobs={name: law.coordinate for name, law in rule.knobs.items()},
        )
    except NoRuleError as error:
        if not (used and has_verdict):
            raise
        others = f"the rule was fitted to {len(used)} of these runs; the other {len(fresh)} give no verdict"
        raise NoRuleError(error.no_rule, f"{others}: {error.text}") from None
    rows = []
    for measured, stored in zip(fitted.cells, fitted.rule.cells, strict=True):
        predicted = answer(rule, None, measured.scales)
        regret = None
        if measured.loss and stored.cut != "unchecked":
            least = measured.loss_at(measured.learning_rate)
            regret = max(0.0, (measured.loss_at(predicted.learning_rate) - least) / abs(measured.loss))
        rows.append(
            CheckRow(
                scales=measured.scales,
                predicted=predicted.learning_rate,
                low=predicted.low,
                high=predicted.high,
                measured=measured.learning_rate,
                measured_low=measured.low,
                measured_high=measured.high,
                bound=measured.bound,
                regret=regret if regret is None or math.isfinite(regret) else None,
                held=predicted.low <= measured.high and measured.low <= predicted.high if has_verdict else None,
                supported=predicted.supported,
                trials=measured.trials,
            )
        )
    return Check(tuple(rows), fitted.unused, len(used), has_verdict)


def _line(row: CheckRow) -> tuple[str, ...]:
    sign = {"lower": "≥ ", "upper": "≤ ", None: ""}[row.bound]
    return (
        *(f"{value:g}" for value in row.scales.values()),
        f"{row.predicted:.3g}",
        f"{row.low:.2g} … {row.high:.2g}" + ("" if row.supported else " (not supported)"),
        f"{sign}{row.measured:.3g}",
        f"{row.measured_low:.2g} … {row.measured_high:.2g}",
        "–" if row.regret is None else f"{row.regret:.2%}",
        {True: "yes", False: "no", None: "–"}[row.held],
    )
