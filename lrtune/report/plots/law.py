"""Figure (b): the law, its interval and the measured optima, with published rules of its family."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import altair as alt

from lrtune.report.advice import asked_of_published
from lrtune.report.plots.theme import BAND, LINE, NAME, THIN, Figure, inline, rate_axis
from lrtune.report.terminal.chart import geometric
from lrtune.rule import Rule, recommend
from lrtune.rule.display import knob_text
from lrtune.rule.opinions import family, published_rates

_HEIGHT = 360
_RATE = "learning rate"
_NAME_HEIGHT, _NAMES_WIDTH = 12, 94  # pixels for the names of published rules


def law_figure(rule: Rule | None) -> Figure | None:
    """The optimum against each scale with several values; None without one. Further knobs have panels of their own.

    A panel varies one scale; the others stand at their largest measured values.
    """
    varied = [] if rule is None else [name for name, scale in rule.scales.items() if scale.low < scale.high]
    if rule is None or not varied:
        return None
    top = {name: scale.high for name, scale in rule.scales.items()}
    published = _published_rows(rule) if varied == ["hidden_size"] and not rule.knobs else []
    largest = recommend(rule=rule, **top)
    at = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in top.items())
    says = (
        f"Best learning rate against {' and '.join(name.replace('_', ' ') for name in varied)}. At {at} the law says "
        f"{largest.learning_rate:.3g}, {largest.level:.0%} interval {largest.low:.3g} to {largest.high:.3g}. The band "
        "is the interval; beyond the largest measured value the line is dashed: extrapolated."
    )
    if published:
        says += " Thin grey lines are published rules of this family, dotted outside their published size range."
    if len(top) > 1:
        says += " Each panel varies one scale; the others stand at their largest measured values."
    panels = [_panel(rule, name, top, published) for name in varied]
    for knob, law in rule.knobs.items():
        panels += [_panel(law.rule, name, top, [], law.coordinate.named(knob)) for name in varied]
        says += f" For {knob}: {knob_text(largest.knobs[knob])}."
    return Figure(name="law", title="The law", says=says, panels=panels, minimum=340 if len(panels) > 1 else 280)


def _panel(
    rule: Rule, scale: str, top: dict[str, float], published: list[dict[str, Any]], title: str = _RATE
) -> alt.LayerChart:
    """The law over one scale, `top` giving the others; `title` is what the law is of."""
    start, end = rule.scales[scale].low, rule.scales[scale].high
    reach = end * (4 if scale == "hidden_size" else 2)
    low, high = start / 1.1, reach
    at = geometric(start * 1.001, reach, 30)  # beside measured values, where the interval is that of the runs
    answers = [(value, recommend(rule=rule, **{**top, scale: value})) for value in at]
    line = [
        {
            "value": value,
            "learning_rate": answer.learning_rate,
            "low": answer.low,
            "high": answer.high,
            "part": "measured range" if value <= end * 1.001 else "extrapolated",
        }
        for value, answer in answers
    ]
    joint = next((row for row in reversed(line) if row["part"] == "measured range"), None)
    line += [{**joint, "part": "extrapolated"}] if joint else []
    values = [row[key] for row in line for key in ("low", "high")] + [row["learning_rate"] for row in published]
    least, most = (1e-7, 3.0) if title == _RATE else (1e-30, 1e30)
    domain = [max(min(values), least) / 1.3, min(max(values), most) * 1.3]
    # Only alone does a panel know its width: among others the signal is that of the whole figure.
    room = {"range": [0, alt.ExprRef(f"width - {_NAMES_WIDTH}")]} if published else {}
    x = alt.X(
        "value:Q",
        title=scale.replace("_", " "),
        scale=alt.Scale(type="log", domain=[low, high], nice=False, **room),
        axis=alt.Axis(format="~s" if reach >= 1e5 else "~g", labelOverlap=True, values=_doublings(start, reach)),
    )
    y = rate_axis(alt.Y, domain[0], domain[1], title)
    layers: list[Any] = [
        alt.Chart(inline(line))
        .mark_area(color=BAND, opacity=0.25, clip=True)
        .encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q")
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
    layers += _measured_layers(rule, scale, top, x, y, title)
    return alt.layer(*layers).properties(height=_HEIGHT if len(top) == 1 else 280)


def _published_rows(rule: Rule) -> list[dict[str, Any]]:
    """The rates of the published rules of this model's family that hold over a part of the chart."""
    scales, own = asked_of_published(rule), family(rule.conditions)
    low, high = rule.scales["hidden_size"].low, rule.scales["hidden_size"].high
    rows = [
        {
            "value": size,
            "learning_rate": opinion.learning_rate,
            "name": opinion.name,
            "where": "in its domain" if opinion.in_domain else "outside of its domain",
            "why": f"{opinion.why}; {opinion.note}",
        }
        for size in geometric(low, high * 4, 25)
        for opinion in published_rates(size, own=own, **scales).opinions
        if opinion.learning_rate is not None and opinion.family == own
    ]
    holding = Counter(row["name"] for row in rows if row["where"] == "in its domain")
    return [row for row in rows if holding[row["name"]] > 1]


def _published_layers(rows: list[dict[str, Any]], x: alt.X, y: Any, domain: Sequence[float]) -> list[Any]:
    last = max(row["value"] for row in rows)
    detail = alt.Detail(["name:N", "where:N"])
    tooltip = [
        alt.Tooltip("name:N", title="published"),
        alt.Tooltip("value:Q", title="hidden size", format=".0f"),
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
        alt.Chart(inline(_named([row for row in rows if row["value"] == last], domain)))
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


def _doublings(start: float, reach: float) -> list[float]:
    """Ticks: the smallest measured value and its doublings."""
    return [start * 2.0**power for power in range(math.floor(math.log2(reach / start) + 1e-9) + 1)]


def _measured_layers(rule: Rule, scale: str, top: dict[str, float], x: alt.X, y: Any, title: str) -> list[Any]:
    others = {name: value for name, value in top.items() if name != scale}
    rows = [
        {
            "value": cell.scales[scale],
            "learning_rate": cell.learning_rate,
            "low": cell.low,
            "high": cell.high,
            "trials": cell.trials,
            "bound": f"only a {cell.bound} bound" if cell.bound else "both sides sampled",
        }
        for cell in rule.cells
        if others.items() <= cell.scales.items()
    ]
    base = alt.Chart(inline(rows))
    tooltip = [
        alt.Tooltip("value:Q", title=scale.replace("_", " ")),
        alt.Tooltip("learning_rate:Q", title="best", format=".3g"),
        alt.Tooltip("low:Q", format=".3g"),
        alt.Tooltip("high:Q", format=".3g"),
        alt.Tooltip("trials:Q"),
        alt.Tooltip("bound:N"),
    ]
    return [
        base.mark_rule(color="#222222", strokeWidth=1.5, clip=True).encode(
            x=x, y=alt.Y("low:Q", title=title), y2="high:Q"
        ),
        base.mark_point(filled=True, size=80, color="#222222", opacity=1, clip=True).encode(x=x, y=y, tooltip=tooltip),
    ]
