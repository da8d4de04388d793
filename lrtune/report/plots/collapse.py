"""Figure (d): the collapse map, every run by its size and rate."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from lrtune.records.record import TrialRecord
from lrtune.report.plots.theme import (
    DANGER,
    Figure,
    inline,
    rate_axis,
    status_colour,
    status_shape,
    statuses,
    trial_row,
    trial_tooltip,
)
from lrtune.report.terminal.chart import geometric
from lrtune.rule import Rule, recommend
from lrtune.rule.display import sizes


def collapse_figure(records: Sequence[TrialRecord], rule: Rule | None) -> Figure | None:
    """Every run by width and rate, with the boundary of collapse if known; None if no run collapsed or diverged."""
    bad = [record for record in records if record.status in ("collapsed", "diverged")]
    if not bad:
        return None
    widths = sorted({record.hidden_size for record in records})
    rates = [record.learning_rate for record in records]
    shown = statuses(records)
    x = alt.X(
        "hidden_size:Q",
        title="hidden size",
        scale=alt.Scale(type="log", domain=[widths[0] / 1.15, widths[-1] * 1.15], nice=False),
        axis=alt.Axis(format="~g", labelOverlap=True, values=widths),
    )
    y = rate_axis(alt.Y, min(rates) / 1.3, max(rates) * 1.3)
    layers: list[Any] = []
    if rule is not None and rule.boundary is not None and sizes(rule):
        layers += _boundary_layers(rule, widths, x, max(rates) * 1.3)
    layers.append(
        alt.Chart(inline(trial_row(record) for record in records))
        .mark_point(filled=True, size=75, opacity=0.8)
        .encode(
            x=x, y=y, color=status_colour(shown), shape=status_shape(shown), tooltip=trial_tooltip(records[0].maximize)
        )
    )
    lowest = min(record.learning_rate for record in bad)
    says = (
        "Every run by hidden size and learning rate, its verdict as colour and shape. "
        f"{len(bad)} of {len(records)} runs collapsed or diverged, the lowest rate of them {lowest:.3g}."
    )
    return Figure(name="collapse", title="Collapse map", says=says, panels=[alt.layer(*layers).properties(height=340)])


def _boundary_layers(rule: Rule, widths: Sequence[int], x: alt.X, top: float) -> list[Any]:
    rows = []
    for size in geometric(widths[0], widths[-1], 16) if len(widths) > 1 else list(map(float, widths)):
        answer = recommend(size, rule=rule)
        if answer.collapse_10 is not None and answer.collapse_50 is not None:
            rows.append({"hidden_size": size, "ten": answer.collapse_10, "half": answer.collapse_50, "top": top})
    base = alt.Chart(inline(rows))
    return [
        base.mark_area(color=DANGER, opacity=0.15, clip=True).encode(
            x=x, y=alt.Y("half:Q", title="learning rate"), y2="top:Q"
        ),
        base.mark_line(color=DANGER, strokeDash=[4, 3], clip=True).encode(x=x, y=alt.Y("ten:Q", title="learning rate")),
    ]
