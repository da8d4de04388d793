"""Figure: loss above the best against the rate, a panel for each parametrization, a line for each size."""

import math
from collections.abc import Sequence
from statistics import fmean

import altair as alt

from lrtune.compare.transfer import Transfer, Transfers, sentence
from lrtune.records.record import TrialRecord
from lrtune.report.plots.theme import DANGER, Figure, inline, rate_axis
from lrtune.report.terminal.chart import geometric
from lrtune.rule.drawn import locate, regrets
from lrtune.trainer.direction import Words, words

_MOST = 0.15  # of loss above a size's best: what is worse is not drawn


def transfer_figure(transfers: Transfers) -> Figure | None:
    """The law's expected loss at each rate above the best of each size, and the runs; None without runs to draw."""
    rates = [run.learning_rate for runs in transfers.records.values() for run in runs]
    if not transfers.found or not rates:
        return None
    low, high = min(rates) / 1.15, max(rates) * 1.15
    told = words(maximize=transfers.maximize)
    panels = [_panel(one, transfers.records[one.name], low, high, told) for one in transfers.found]
    says = f"{sentence(transfers)}. A line is the expected {told.what} {told.worse} the best of one size, "
    return Figure(
        name="transfer",
        title=sentence(transfers).capitalize(),
        says=says + "a point is a run; the dashed line is the smallest size's best rate.",
        panels=panels,
    )


def _panel(one: Transfer, runs: Sequence[TrialRecord], low: float, high: float, told: Words) -> alt.LayerChart:
    assert one.rule.draws is not None
    points, curves = [], []
    for cell in one.rule.cells:
        size, place = cell.scales["hidden_size"], locate(one.rule, one.rule.draws, cell.scales)
        for rate in geometric(low, high, 80):
            above = fmean(regrets(place, math.log2(rate)))
            curves.append({"hidden_size": size, "learning_rate": rate, "above": above})
        for run in runs:
            if all(run.scale(name) == value for name, value in cell.scales.items()) and run.loss and cell.loss:
                above = (run.loss - cell.loss) / abs(cell.loss)
                points.append({"hidden_size": size, "learning_rate": run.learning_rate, "above": above})
    shown = [{**row, "above": max(0.0, row["above"])} for row in points if row["above"] <= _MOST]
    x = rate_axis(alt.X, low, high)
    y = alt.Y("above:Q", title=f"{told.what} {told.worse} its best").axis(format="%").scale(domain=[0, _MOST])
    colour = alt.Color("hidden_size:O", title="hidden size", legend=alt.Legend(orient="bottom")).scale(scheme="viridis")
    lines = alt.Chart(inline(curves)).mark_line(clip=True).encode(x=x, y=y, color=colour)
    marks = alt.Chart(inline(shown)).mark_point(filled=True, size=50).encode(x=x, y=y, color=colour)
    rule = (
        alt.Chart(inline([{"learning_rate": one.carried}]))
        .mark_rule(color=DANGER, strokeDash=[4, 3], strokeWidth=1.5)
        .encode(x=x)
    )
    return alt.layer(lines, marks, rule).properties(title=one.name, height=220)
