"""Figure (c): loss and diversity over the steps of each run."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from lrtune.records.record import TrialRecord
from lrtune.records.tally import counts
from lrtune.report.plots.theme import (
    Figure,
    inline,
    loss_axis,
    status_colour,
    status_shape,
    statuses,
    trial_row,
    trial_tooltip,
)

_MOST_COURSES = 150
_MOST_POINTS = 60


def course_figure(records: Sequence[TrialRecord]) -> Figure | None:
    """Loss and diversity over steps, one line per run; None without curves."""
    shown = [record for record in records if len(record.curve.get("step", ())) > 1]
    if not shown:
        return None
    total = len(shown)
    if total > _MOST_COURSES:
        # Evenly over the rates of every width, so that both ends stay visible.
        ordered = sorted(shown, key=lambda record: (record.hidden_size, record.learning_rate))
        shown = [ordered[index * total // _MOST_COURSES] for index in range(_MOST_COURSES)]
    rows = [row for record in shown for row in _course_rows(record)]
    losses = sorted(row["at_loss"] for row in rows if row["at_loss"] is not None)
    if not losses:
        return None
    high = losses[int(0.9 * (len(losses) - 1))]
    domain = [losses[0] - 0.02 * abs(losses[0]), min(losses[-1], high + 0.15 * abs(high))]
    maximize = records[0].maximize
    verdicts = statuses(shown)
    panels = [_course_panel(rows, "at_loss", loss_axis("at_loss", domain, maximize), verdicts, maximize)]
    drawn = "The measure" if maximize else "Validation loss"
    if any(row["at_diversity"] is not None for row in rows):
        axis = alt.Y("at_diversity:Q", title="diversity", scale=alt.Scale(domain=[0.0, 1.05], nice=False, zero=False))
        panels.append(_course_panel(rows, "at_diversity", axis, verdicts, maximize))
        drawn += " and diversity"
    some = f" {len(shown)} of {total} runs are drawn." if len(shown) < total else ""
    return Figure(
        name="courses",
        title="Training curves",
        says=f"{drawn} over training steps, one line per run, coloured by verdict, which "
        f"the mark at its end also shows: {counts(records)}.{some}",
        panels=panels,
        verdicts=statuses(records),
        minimum=340,
    )


def _course_rows(record: TrialRecord) -> list[dict[str, Any]]:
    steps = record.curve["step"]
    losses = record.curve.get("loss", [None] * len(steps))
    diversities = record.curve.get("diversity", [None] * len(steps))
    stride = max(1, math.ceil(len(steps) / _MOST_POINTS))
    kept = sorted({*range(0, len(steps), stride), len(steps) - 1})
    base = trial_row(record)
    return [{**base, "step": steps[i], "at_loss": losses[i], "at_diversity": diversities[i]} for i in kept]


def _course_panel(rows: list[dict[str, Any]], field: str, y: alt.Y, verdicts: Sequence[str], maximize: bool) -> Any:
    hover = alt.selection_point(name=field, fields=["trial"], on="pointerover", nearest=True, empty=False)
    reported = [row for row in rows if row[field] is not None]
    base = alt.Chart(inline(reported)).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(format="~s", tickCount=6)),
        y=y,
        color=status_colour(verdicts),
        detail="trial:N",
    )
    lines = base.mark_line(clip=True).encode(
        opacity=alt.condition(hover, alt.value(1.0), alt.value(0.35)),
        strokeWidth=alt.condition(hover, alt.value(3), alt.value(1.2)),
    )
    points = (
        base.mark_point(filled=True, clip=True, size=60)
        .encode(opacity=alt.condition(hover, alt.value(0.8), alt.value(0)), tooltip=trial_tooltip(maximize))
        .add_params(hover)
    )
    ends = (
        alt.Chart(inline({row["trial"]: row for row in reported}.values()))
        .mark_point(filled=True, clip=True, size=34, opacity=0.9)
        .encode(x=base.encoding.x, y=base.encoding.y, color=base.encoding.color, shape=status_shape(verdicts))
    )
    return alt.layer(lines, ends, points).properties(height=280)
