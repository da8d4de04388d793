"""Figure (b): the law, its interval and the measured optima, with the published rules."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import altair as alt

from lrtune.report.advice import asked_of_published, sentence
from lrtune.report.plots.theme import BAND, LINE, NAME, THIN, Figure, inline, rate_axis
from lrtune.report.terminal.chart import geometric
from lrtune.rule import Rule, recommend
from lrtune.rule.display import sizes as measured_sizes
from lrtune.rule.published import published_rates

_HEIGHT = 360
_NAME_HEIGHT, _NAMES_WIDTH = 12, 94  # pixels for the names of published rules


def law_figure(rule: Rule | None) -> Figure | None:
    """The optimum against hidden size, measured, fitted and extrapolated; None without a law of one scale."""
    sizes = measured_sizes(rule)
    if rule is None or not sizes:
        return None
    low, high = sizes[0] / 1.1, sizes[-1] * 4
    answers = [(size, recommend(size, rule=rule)) for size in geometric(sizes[0] * 1.001, sizes[-1] * 4, 60)]
    line = [
        {
            "hidden_size": size,
            "learning_rate": answer.learning_rate,
            "low": answer.low,
            "high": answer.high,
            "part": "measured range" if size <= sizes[-1] * 1.001 else "extrapolated",
        }
        for size, answer in answers
    ]
    joint = next((row for row in reversed(line) if row["part"] == "measured range"), None)
    line += [{**joint, "part": "extrapolated"}] if joint else []
    published = _published_rows(rule, sizes[0], sizes[-1] * 4)
    values = [row[key] for row in line for key in ("low", "high")] + [row["learning_rate"] for row in published]
    domain = [max(min(values), 1e-5) / 1.3, min(max(values), 3.0) * 1.3]
    margin = _NAMES_WIDTH if published else 12
    x = alt.X(
        "hidden_size:Q",
        title="hidden size",
        scale=alt.Scale(type="log", domain=[low, high], nice=False, range=[0, alt.ExprRef(f"width - {margin}")]),
        axis=alt.Axis(format="~g", labelOverlap=True, values=_doublings(low, high)),
    )
    y = rate_axis(alt.Y, *domain)
    layers: list[Any] = [
        alt.Chart(inline(line))
        .mark_area(color=BAND, opacity=0.25, clip=True)
        .encode(x=x, y=alt.Y("low:Q", title="learning rate"), y2="high:Q")
    ]
    if published:
        layers += _published_layers(published, x, y, domain)
    layers.append(
        alt.Chart(inline(line))
        .mark_line(color=LINE, strokeWidth=2.5, clip=True)
        .encode(
            x=x,
            y=y,
            strokeDash=alt.StrokeDash(
                "part:N",
                title="our law",
                scale=alt.Scale(domain=["measured range", "extrapolated"], range=[[1, 0], [5, 5]]),
                legend=alt.Legend(orient="bottom"),
            ),
        )
    )
    layers += _measured_layers(rule, x, y)
    largest = recommend(sizes[-1], rule=rule)
    says = (
        f"Best learning rate against hidden size. Measured at {', '.join(f'{size:g}' for size in sizes)}; at "
        f"{sizes[-1]:g} the law says {largest.learning_rate:.3g}, {largest.level:.0%} interval {largest.low:.3g} to "
        f"{largest.high:.3g}. {sentence(rule.reason)} The band is the interval; beyond {sizes[-1]:g} the "
        "line is dashed: extrapolated. Thin grey lines are published rules, dotted outside their published size range."
    )
    return Figure(name="law", title="The law", says=says, panels=[alt.layer(*layers).properties(height=_HEIGHT)])


def _published_rows(rule: Rule, low: float, high: float) -> list[dict[str, Any]]:
    """The published rules' rates over the sizes, if the rule's conditions provide their inputs."""
    scales = asked_of_published(rule)
    return [
        {
            "hidden_size": size,
            "learning_rate": opinion.learning_rate,
            "name": opinion.name,
            "where": "in its domain" if opinion.in_domain else "outside of its domain",
            "why": opinion.why,
        }
        for size in geometric(low, high, 40)
        for opinion in published_rates(size, **scales).opinions
        if opinion.learning_rate is not None
    ]


def _published_layers(rows: list[dict[str, Any]], x: alt.X, y: Any, domain: Sequence[float]) -> list[Any]:
    last = max(row["hidden_size"] for row in rows)
    detail = alt.Detail(["name:N", "where:N"])
    tooltip = [
        alt.Tooltip("name:N", title="published"),
        alt.Tooltip("hidden_size:Q", title="hidden size", format=".0f"),
        alt.Tooltip("learning_rate:Q", title="learning rate", format=".3g"),
        alt.Tooltip("why:N"),
    ]
    lines = [
        alt.Chart(inline(row for row in rows if row["where"] == where))
        .mark_line(color=THIN, strokeWidth=1.2, strokeDash=dash, opacity=0.9, clip=True, tooltip=True)
        .encode(x=x, y=y, detail=detail, tooltip=tooltip)
        for where, dash in (("in its domain", [1, 0]), ("outside of its domain", [1, 3]))
    ]
    names = (
        alt.Chart(inline(_named([row for row in rows if row["hidden_size"] == last], domain)))
        .mark_text(align="left", dx=5, fontSize=10, color=NAME)
        .encode(x=x, y=y, text="name:N")
    )
    return [*lines, names]


def _named(ends: list[dict[str, Any]], domain: Sequence[float]) -> list[dict[str, Any]]:
    """The visible ends of lines, moved as little as possible so that their names do not overlap."""
    unit = math.log(domain[1] / domain[0]) / _HEIGHT
    seen = sorted(
        (row for row in ends if domain[0] < row["learning_rate"] < domain[1]), key=lambda row: row["learning_rate"]
    )
    groups: list[list[float]] = []  # neighbours that touch move together around their common centre
    for index, row in enumerate(seen):
        groups.append([math.log(row["learning_rate"]) / unit - index * _NAME_HEIGHT])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    places = [fmean(group) for group in groups for _ in group]
    return [
        {**row, "learning_rate": math.exp((place + index * _NAME_HEIGHT) * unit)}
        for index, (row, place) in enumerate(zip(seen, places, strict=True))
    ]


def _doublings(low: float, high: float) -> list[float]:
    first = math.ceil(math.log2(low))
    return [2.0**power for power in range(first, math.floor(math.log2(high)) + 1)]


def _measured_layers(rule: Rule, x: alt.X, y: Any) -> list[Any]:
    rows = [
        {
            "hidden_size": cell.scales["hidden_size"],
            "learning_rate": cell.learning_rate,
            "low": cell.low,
            "high": cell.high,
            "trials": cell.trials,
            "bound": f"only a {cell.bound} bound" if cell.bound else "both sides sampled",
        }
        for cell in rule.cells
    ]
    base = alt.Chart(inline(rows))
    tooltip = [
        alt.Tooltip("hidden_size:Q", title="hidden size"),
        alt.Tooltip("learning_rate:Q", title="best rate", format=".3g"),
        alt.Tooltip("low:Q", format=".3g"),
        alt.Tooltip("high:Q", format=".3g"),
        alt.Tooltip("trials:Q"),
        alt.Tooltip("bound:N"),
    ]
    return [
        base.mark_rule(color="#222222", strokeWidth=1.5, clip=True).encode(
            x=x, y=alt.Y("low:Q", title="learning rate"), y2="high:Q"
        ),
        base.mark_point(filled=True, size=80, color="#222222", opacity=1, clip=True).encode(x=x, y=y, tooltip=tooltip),
    ]
