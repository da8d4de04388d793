"""Charts of a run in Altair's grammar: loss curves, the law, courses of runs, the map of collapse, the budget."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
from altair.utils.schemapi import debug_mode

from lrtune.records.record import TrialRecord
from lrtune.report.plots.budget import budget_figure
from lrtune.report.plots.collapse import collapse_figure
from lrtune.report.plots.courses import course_figure
from lrtune.report.plots.law import law_figure
from lrtune.report.plots.loss import loss_figure
from lrtune.report.plots.theme import Figure
from lrtune.rule import Rule

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit


_TITLE = 64  # characters of a title's line: as wide as the narrowest chart in a wide font


def figures(records: Sequence[TrialRecord], rule: Rule | None, fit: "LawFit | None") -> list[Figure]:
    """All figures that the records allow; without finished runs, fewer.

    Altair's validation takes two thirds of the time, so that only the tests validate the charts.
    """
    with debug_mode(False):
        made = [
            loss_figure(records, rule, fit),
            law_figure(rule),
            course_figure(records),
            collapse_figure(records, rule),
            budget_figure(records),
        ]
    return [figure for figure in made if figure is not None]


def vega_lite(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """A chart as Vega-Lite, without validation."""
    with debug_mode(False):
        made: dict[str, Any] = chart.to_dict(validate=False)
    return made


def whole_chart(figure: Figure) -> alt.TopLevelMixin:
    """One chart of all panels of a figure, under its title."""
    width = 640 if len(figure.panels) == 1 else 330
    panels = [panel.properties(width=width) for panel in figure.panels]
    whole = panels[0] if len(panels) == 1 else alt.concat(*panels, columns=2 if len(panels) < 5 else 3)
    lines = textwrap.wrap(figure.title, _TITLE)
    title = alt.Title(lines if len(lines) > 1 else figure.title, anchor="start", fontSize=15)
    return whole.properties(title=title, background="white")
