"""Shared by all figures: the `Figure`, colours and shapes of verdicts, the axis of rates, a trial's tooltip."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from lrtune.errors import plain
from lrtune.records.record import STATUSES, TrialRecord
from lrtune.report.terminal.chart import log_ticks
from lrtune.study.knob import beside
from lrtune.study.task import place_name

# Okabe & Ito's palette, which colour-blind readers can tell apart; each verdict has its own shape, too.
COLOURS = {
    "finished": "#0072b2",
    "beaten": "#e69f00",
    "collapsed": "#d55e00",
    "diverged": "#cc79a7",
    "failed": "#7f7f7f",
}
SHAPES = {
    "finished": "circle",
    "beaten": "square",
    "collapsed": "cross",
    "diverged": "triangle-up",
    "failed": "diamond",
}
LINE, BAND, SAFE, DANGER, THIN, NAME = "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#8c8c8c", "#5b6471"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of the report.

    Attributes:
        name: of its files and its anchor.
        title: above it.
        says: its content in words; the alternative text.
        panels: its charts, each as wide as its container.
        verdicts: those that its marks show.
        minimum: width in pixels below which each panel takes its own row.
    """

    name: str
    title: str
    says: str
    panels: Sequence[alt.TopLevelMixin]
    verdicts: Sequence[str] = ()
    minimum: int = 280


def inline(rows: Iterable[dict[str, Any]]) -> alt.InlineData:
    """Rows as data of a chart."""
    return alt.InlineData(values=tuple(rows))


def statuses(records: Iterable[TrialRecord]) -> list[str]:
    """The statuses that occur, in the order of `STATUSES`."""
    present = {record.status for record in records}
    return [status for status in STATUSES if status in present]


def status_colour(shown: Sequence[str]) -> alt.Color:
    """Verdicts as colours; the legend names those shown."""
    return alt.Color(
        "status:N",
        title="verdict",
        scale=alt.Scale(domain=shown, range=[COLOURS[status] for status in shown]),
        legend=alt.Legend(orient="bottom"),
    )


def status_shape(shown: Sequence[str]) -> alt.Shape:
    """Verdicts as shapes."""
    return alt.Shape(
        "status:N", title="verdict", scale=alt.Scale(domain=shown, range=[SHAPES[status] for status in shown])
    )


def rate_axis(channel: type, low: float, high: float, title: str = "learning rate") -> Any:
    """A logarithmic axis of learning rates, or of a knob's coordinate."""
    return channel(
        "learning_rate:Q",
        title=title,
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(format="~g", labelOverlap=True, labelSeparation=5, values=log_ticks(low, high, 7)),
    )


def loss_axis(field: str, domain: Sequence[float], maximize: bool) -> alt.Y:
    """An axis of losses; of a measure that is maximised, the loss is minus the measure, and the best is at the top."""
    size = max(map(abs, domain))
    usual = alt.Axis() if 1e-4 < size < 1e6 else alt.Axis(format="~g")
    axis = alt.Axis(labelExpr="format(-datum.value, '~g')") if maximize else usual
    return alt.Y(
        f"{field}:Q",
        title="measure" if maximize else "validation loss",
        scale=alt.Scale(domain=list(domain), nice=False, zero=False, reverse=maximize),
        axis=axis,
    )


def trial_tooltip(maximize: bool) -> list[alt.Tooltip]:
    """The tooltip of a trial's row."""
    return [
        alt.Tooltip("trial:Q", title="trial"),
        alt.Tooltip("place:N", title="at"),
        alt.Tooltip("rate:N", title="learning rate"),
        alt.Tooltip("seed:Q", title="seed"),
        alt.Tooltip("status:N", title="verdict"),
        alt.Tooltip("why:N", title="why"),
        alt.Tooltip("loss:Q", title="measure" if maximize else "loss", format=".5~g"),
        alt.Tooltip("diversity:Q", title="diversity", format=".2f"),
    ]


def trial_row(record: TrialRecord) -> dict[str, Any]:
    """The values of a trial's tooltip."""
    return {
        "trial": record.trial,
        "hidden_size": record.hidden_size,
        "place": place_name(record.place),
        "learning_rate": record.learning_rate,
        "rate": beside(f"{record.learning_rate:.3g}", record.knobs),
        "seed": record.seed,
        "status": record.status,
        "why": plain(record.reason)[:160],
        "loss": record.measure,
        "diversity": record.diversity,
    }
