"""Figure (e): the compute spent at each width, and the saving from runs ended early."""

from collections.abc import Sequence

import altair as alt

from lrtune.records.record import TrialRecord
from lrtune.records.tally import ENDED_EARLY
from lrtune.report.plots.theme import LINE, Figure, inline


def budget_figure(records: Sequence[TrialRecord]) -> Figure | None:
    """Bars of compute by width; None if nothing was saved."""
    rows = []
    spent_all = saved_all = 0.0
    for width in sorted({record.hidden_size for record in records}):
        own = [record for record in records if record.hidden_size == width]
        spent = sum(record.cost for record in own)
        saved = sum(
            record.cost / record.steps_done * (record.steps - record.steps_done)
            for record in own
            if record.steps_done and record.status in ENDED_EARLY
        )
        spent_all, saved_all = spent_all + spent, saved_all + saved
        rows += [
            {"width": str(width), "part": "spent", "cost": spent, "runs": len(own)},
            {"width": str(width), "part": "saved by ending runs early", "cost": saved, "runs": len(own)},
        ]
    if not saved_all:
        return None
    is_known = any(r.facts.parameters and r.facts.tokens_per_step for r in records)
    unit = "parameters × tokens" if is_known else "size² × steps"
    chart = (
        alt.Chart(inline(rows))
        .mark_bar()
        .encode(
            x=alt.X(
                "cost:Q",
                title=f"compute ({unit})",
                axis=alt.Axis(tickCount=5, labelExpr="datum.value ? format(datum.value, '~s') : '0'"),
            ),
            y=alt.Y("width:N", title="hidden size", sort=None),
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=["spent", "saved by ending runs early"], range=[LINE, "#e69f00"]),
                legend=alt.Legend(orient="bottom"),
            ),
            order=alt.Order("part:N", sort="descending"),
            tooltip=["width:N", "part:N", alt.Tooltip("cost:Q", format=".3s"), "runs:Q"],
        )
        .properties(height=28 * len(rows) // 2 + 8)
    )
    share = saved_all / (spent_all + saved_all)
    says = (
        f"Compute by hidden size, in {unit}: spent, and saved by ending runs early. "
        f"{share:.0%} of what all runs together would have cost was saved."
    )
    return Figure(name="budget", title="Where the compute went", says=says, panels=[chart])
