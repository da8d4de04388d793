"""Figure: loss above the best against the rate, a panel for each parametrization, a line for each size."""

from collections.abc import Sequence
from statistics import fmean

import altair as alt

from lrtune.compare.transfer import Transfer, Transfers, sentence
from lrtune.records.record import TrialRecord
from lrtune.report.plots.theme import DANGER, Figure, inline, rate_axis

_MOST = 0.15  # of loss above a size's best: what is worse is not drawn


def transfer_figure(transfers: Transfers) -> Figure | None:
    """Each finished run's loss above the lowest of its size; None without runs to draw."""
    rates = [run.learning_rate for runs in transfers.records.values() for run in runs]
    if not transfers.found or not rates:
        return None
    low, high = min(rates) / 1.15, max(rates) * 1.15
    panels = [_panel(one, transfers.records[one.name], low, high) for one in transfers.found]
    says = f"{sentence(transfers)}. Each panel shows the mean loss of every rate above the lowest of its size; the "
    return Figure(
        name="transfer",
        title=sentence(transfers).capitalize(),
        says=says + "dashed line is the smallest size's best rate.",
        panels=panels,
    )


def _panel(one: Transfer, runs: Sequence[TrialRecord], low: float, high: float) -> alt.LayerChart:
    losses: dict[tuple[int, float], list[float]] = {}
    for run in runs:
        if run.status == "finished" and run.loss is not None:
            losses.setdefault((run.hidden_size, run.learning_rate), []).append(run.loss)
    means = {key: fmean(values) for key, values in losses.items()}
    best = {size: min(loss for (own, _), loss in means.items() if own == size) for size, _ in means}
    rows = [
        {"hidden_size": size, "learning_rate": rate, "above": loss / best[size] - 1}
        for (size, rate), loss in sorted(means.items())
        if loss / best[size] - 1 <= _MOST
    ]
    x = rate_axis(alt.X, low, high)
    lines = (
        alt.Chart(inline(rows))
        .mark_line(point=True)
        .encode(
            x=x,
            y=alt.Y("above:Q", title="loss above its best").axis(format="%").scale(domain=[0, _MOST]),
            color=alt.Color("hidden_size:O", title="hidden size").scale(scheme="viridis"),
        )
    )
    rule = (
        alt.Chart(inline([{"learning_rate": one.carried}]))
        .mark_rule(color=DANGER, strokeDash=[4, 3], strokeWidth=1.5)
        .encode(x=x)
    )
    return alt.layer(lines, rule).properties(title=one.name, height=220)
