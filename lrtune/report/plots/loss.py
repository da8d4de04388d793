"""Figure (a): loss against learning rate, a panel per width."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from lrtune.records.record import TrialRecord
from lrtune.records.tally import best_by_size
from lrtune.report.advice import fitted_curve, sentence
from lrtune.report.plots.theme import (
    DANGER,
    LINE,
    SAFE,
    TRIAL_TOOLTIP,
    Figure,
    inline,
    present_statuses,
    rate_axis,
    status_colour,
    status_shape,
    trial_row,
)
from lrtune.rule import Rule, recommend
from lrtune.rule.display import sizes

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit


def loss_figure(records: Sequence[TrialRecord], rule: Rule | None, fit: "LawFit | None") -> Figure | None:
    """Every run's loss against its rate with the fitted curve, one panel per width; None without finished runs."""
    finished = [record for record in records if record.status == "finished" and record.loss is not None]
    if not finished:
        return None
    rates = [record.learning_rate for record in records]
    widths = sorted({record.hidden_size for record in records})
    present: set[str] = {record.status for record in records}
    panels = [
        _loss_panel([r for r in records if r.hidden_size == width], width, rates, present, rule, fit)
        for width in widths
    ]
    lowest = "; ".join(
        f"hidden {width}: lowest loss {record.loss:.3f} at {record.learning_rate:.3g}"
        for width, record in best_by_size(records).items()
    )
    return Figure(
        name="loss",
        title="Loss against learning rate",
        says="Validation loss of every run against its learning rate, one panel per hidden size, with the fitted "
        "curve; the dotted line is the recommended rate, green its safe range, red where most runs collapse; runs that "
        f"ended early, or higher than the panel shows, stand at the upper edge. {sentence(lowest)}",
        panels=panels,
        verdicts=present_statuses(records),
        minimum=380 if len(panels) == 4 else 280,  # two rows of two
    )


def _loss_panel(
    own: Sequence[TrialRecord],
    width: int,
    rates: Sequence[float],
    present: set[str],
    rule: Rule | None,
    fit: "LawFit | None",
) -> alt.LayerChart:
    low, high = min(rates) / 1.15, max(rates) * 1.15
    finished = sorted(r.loss for r in own if r.status == "finished" and r.loss is not None)
    curve = fitted_curve(fit, width, [r.learning_rate for r in own], 160)
    bottom = min([*finished[:1], *(loss for _, loss in curve)], default=0.0)
    span = finished[int(0.75 * (len(finished) - 1))] - bottom if finished else 0.0
    span = max(span, 0.015 * abs(bottom)) or 1.0  # keeps a flat curve flat
    top = bottom + 1.8 * span
    rows = [
        {**trial_row(r), "shown": top if r.status != "finished" or r.loss is None else min(r.loss, top)} for r in own
    ]
    x = rate_axis(alt.X, low, high)
    y = alt.Y(
        "shown:Q", title="validation loss", scale=alt.Scale(domain=[bottom - 0.1 * span, top], nice=False, zero=False)
    )
    layers = _zones(width, low, high, rule)
    if curve:
        layers.append(
            # Points far above the panel would get coordinates that renderers cannot clip.
            alt.Chart(inline({"learning_rate": at, "shown": min(loss, top + span)} for at, loss in curve))
            .mark_line(color=LINE, strokeWidth=2, clip=True)
            .encode(x=x, y=y)
        )
    layers.append(
        alt.Chart(inline(rows))
        .mark_point(filled=True, size=70, opacity=0.85)
        .encode(
            x=x,
            y=y,
            color=status_colour(present),
            shape=status_shape(present),
            tooltip=TRIAL_TOOLTIP,
        )
    )
    return alt.layer(*layers).properties(title=f"hidden {width}", height=220)


def _zones(width: int, low: float, high: float, rule: Rule | None) -> list[Any]:
    """The safe range, the zone of collapse and the recommended rate, behind the points."""
    if rule is None or not sizes(rule):
        return []
    answer = recommend(width, rule=rule)
    zones = []
    if answer.safe_low is not None and answer.safe_high is not None:
        zones.append((max(low, answer.safe_low), min(high, answer.safe_high), SAFE, 0.14))
    if answer.collapse_50 is not None and answer.collapse_50 < high:
        zones.append((max(low, answer.collapse_50), high, DANGER, 0.12))
    layers: list[Any] = [
        alt.Chart(inline([{"learning_rate": start, "end": end}]))
        .mark_rect(color=colour, opacity=opacity)
        .encode(x=rate_axis(alt.X, low, high), x2="end:Q")
        for start, end, colour, opacity in zones
        if start < end
    ]
    layers.append(
        alt.Chart(inline([{"learning_rate": answer.learning_rate}]))
        .mark_rule(color=LINE, strokeDash=[2, 3])
        .encode(x=rate_axis(alt.X, low, high))
    )
    return layers
