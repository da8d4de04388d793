"""Charts of a run in Altair's grammar: loss curves, the law, courses of runs, the map of collapse, the budget."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrtune.errors import MissingExtraError
from lrtune.published import compare
from lrtune.records import STATUSES, TrialRecord
from lrtune.rule import Rule, recommend
from lrtune.terminal_chart import geometric, log_ticks

try:
    import altair as alt
except ImportError as error:
    raise MissingExtraError("report", "altair", "the report") from error

if TYPE_CHECKING:
    from lrtune.law import LawFit

# Okabe & Ito's palette, told apart by the colour-blind; shapes say the same again.
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
_LINE, _BAND, _SAFE, _DANGER, _THIN = "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#8c8c8c"
_MOST_COURSES = 150
_MOST_POINTS = 60


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of the report.

    Attributes:
        name: of its files and its anchor.
        title: above it.
        says: what it shows, in words; the alternative text.
        panels: the charts in it, each as wide as it is given room.
        minimum: pixels below which a panel takes a row of its own.
    """

    name: str
    title: str
    says: str
    panels: Sequence[alt.TopLevelMixin]
    minimum: int = 280


def figures(records: Sequence[TrialRecord], rule: Rule | None, fit: "LawFit | None") -> list[Figure]:
    """All figures that the records carry; without finished runs, fewer."""
    made = [
        _loss_figure(records, rule, fit),
        _law_figure(records, rule),
        _course_figure(records),
        _collapse_figure(records, rule),
        _budget_figure(records),
    ]
    return [figure for figure in made if figure is not None]


def _data(rows: Iterable[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _status_colour(present: set[str]) -> alt.Color:
    shown = [status for status in STATUSES if status in present]
    return alt.Color(
        "status:N",
        title="verdict",
        scale=alt.Scale(domain=shown, range=[COLOURS[status] for status in shown]),
        legend=alt.Legend(orient="bottom"),
    )


def _status_shape(present: set[str]) -> alt.Shape:
    shown = [status for status in STATUSES if status in present]
    return alt.Shape(
        "status:N", title="verdict", scale=alt.Scale(domain=shown, range=[SHAPES[status] for status in shown])
    )


def _rate_axis(channel: type, low: float, high: float) -> Any:
    """A logarithmic axis of learning rates."""
    return channel(
        "learning_rate:Q",
        title="learning rate",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(format="~g", labelOverlap=True, values=log_ticks(low, high, 7)),
    )


_TRIAL_TOOLTIP = [
    alt.Tooltip("trial:Q", title="trial"),
    alt.Tooltip("hidden_size:Q", title="hidden size"),
    alt.Tooltip("learning_rate:Q", title="learning rate", format=".3g"),
    alt.Tooltip("seed:Q", title="seed"),
    alt.Tooltip("status:N", title="verdict"),
    alt.Tooltip("why:N", title="why"),
    alt.Tooltip("loss:Q", title="loss", format=".4f"),
    alt.Tooltip("diversity:Q", title="diversity", format=".2f"),
]


def _row(record: TrialRecord) -> dict[str, Any]:
    lines = record.why.strip().splitlines()
    return {
        "trial": record.trial,
        "hidden_size": record.hidden_size,
        "learning_rate": record.learning_rate,
        "seed": record.seed,
        "status": record.status,
        "why": lines[-1][:160] if lines else "",
        "loss": record.loss,
        "diversity": record.diversity,
    }


# (a) loss against learning rate, a panel per width


def _loss_figure(records: Sequence[TrialRecord], rule: Rule | None, fit: "LawFit | None") -> Figure | None:
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
    best = {
        width: min((r for r in finished if r.hidden_size == width), key=lambda r: r.loss or 0.0, default=None)
        for width in widths
    }
    said = "; ".join(
        f"hidden {width}: lowest loss {record.loss:.3f} at {record.learning_rate:.3g}"
        for width, record in best.items()
        if record is not None
    )
    return Figure(
        name="loss",
        title="Loss against learning rate",
        says="Validation loss of every run against its learning rate, one panel per hidden size, with the fitted "
        "curve; the dotted line is the recommended rate, green its safe range, red where most runs collapse; runs that "
        f"ended early stand at the upper edge. {said}.",
        panels=panels,
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
    curve = _fitted(fit, width, min(r.learning_rate for r in own), max(r.learning_rate for r in own))
    bottom = min([*finished[:1], *(loss for _, loss in curve)], default=0.0)
    span = finished[int(0.75 * (len(finished) - 1))] - bottom if finished else 0.0
    span = max(span, 0.015 * abs(bottom)) or 1.0  # a flat curve shall look flat
    top = bottom + 1.8 * span
    rows = [{**_row(r), "shown": top if r.status != "finished" or r.loss is None else min(r.loss, top)} for r in own]
    x = _rate_axis(alt.X, low, high)
    y = alt.Y(
        "shown:Q", title="validation loss", scale=alt.Scale(domain=[bottom - 0.1 * span, top], nice=False, zero=False)
    )
    layers = _zones(width, low, high, rule)
    if curve:
        layers.append(
            alt.Chart(_data({"learning_rate": at, "shown": loss} for at, loss in curve))
            .mark_line(color=_LINE, strokeWidth=2, clip=True)
            .encode(x=x, y=y)
        )
    layers.append(
        alt.Chart(_data(rows))
        .mark_point(filled=True, size=70, opacity=0.85)
        .encode(
            x=x,
            y=y,
            color=_status_colour(present),
            shape=_status_shape(present),
            tooltip=_TRIAL_TOOLTIP,
        )
    )
    return alt.layer(*layers).properties(title=f"hidden {width}", height=220)


def _zones(width: int, low: float, high: float, rule: Rule | None) -> list[Any]:
    """The safe range, the zone of collapse and the recommended rate, as shades behind the points."""
    if rule is None or "hidden_size" not in rule.scales or len(rule.scales) > 1:
        return []
    answer = recommend(width, rule=rule)
    zones = []
    if answer.safe_low is not None and answer.safe_high is not None:
        zones.append((max(low, answer.safe_low), min(high, answer.safe_high), _SAFE, 0.14))
    if answer.collapse_50 is not None and answer.collapse_50 < high:
        zones.append((max(low, answer.collapse_50), high, _DANGER, 0.12))
    layers: list[Any] = [
        alt.Chart(_data([{"learning_rate": start, "end": end}]))
        .mark_rect(color=colour, opacity=opacity)
        .encode(x=_rate_axis(alt.X, low, high), x2="end:Q")
        for start, end, colour, opacity in zones
        if start < end
    ]
    layers.append(
        alt.Chart(_data([{"learning_rate": answer.learning_rate}]))
        .mark_rule(color=_LINE, strokeDash=[2, 3])
        .encode(x=_rate_axis(alt.X, low, high))
    )
    return layers


def _fitted(fit: "LawFit | None", width: int, low: float, high: float) -> list[tuple[float, float]]:
    cell = None if fit is None else next((c for c in fit.cells if c.scales.get("hidden_size") == width), None)
    if cell is None or low == high:
        return []
    points = [(rate, float(cell.loss_at(rate))) for rate in geometric(low, high, 60)]
    return [(rate, loss) for rate, loss in points if math.isfinite(loss)]


# (b) the law


def _law_figure(records: Sequence[TrialRecord], rule: Rule | None) -> Figure | None:
    if rule is None or set(rule.scales) != {"hidden_size"}:
        return None
    sizes = sorted(cell.scales["hidden_size"] for cell in rule.cells)
    low, high = sizes[0] / 1.1, sizes[-1] * 4.4
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
    x = alt.X(
        "hidden_size:Q",
        title="hidden size",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(format="~g", labelOverlap=True, values=_doublings(low, high)),
    )
    y = _rate_axis(alt.Y, *domain)
    layers: list[Any] = [
        alt.Chart(_data(line))
        .mark_area(color=_BAND, opacity=0.25, clip=True)
        .encode(x=x, y=alt.Y("low:Q", title="learning rate"), y2="high:Q")
    ]
    if published:
        layers += _published_layers(published, x, y)
    layers.append(
        alt.Chart(_data(line))
        .mark_line(color=_LINE, strokeWidth=2.5, clip=True)
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
        f"{largest.high:.3g}. {rule.reason}. Beyond {sizes[-1]:g} the line is dashed: extrapolated. Thin grey "
        "lines are published rules, dashed outside of the sizes that they were made for."
    )
    return Figure(name="law", title="The law", says=says, panels=[alt.layer(*layers).properties(height=360)])


def _published_rows(rule: Rule, low: float, high: float) -> list[dict[str, Any]]:
    """What published rules say along the sizes, as far as the rule's conditions answer what they ask."""
    known = {name: float(v) for name in ("depth",) if isinstance(v := rule.conditions.get(name), int | float)}
    if tokens := rule.horizon.get("tokens"):
        known["tokens"] = tokens
    return [
        {
            "hidden_size": size,
            "learning_rate": opinion.learning_rate,
            "name": opinion.name,
            "where": "in its domain" if opinion.in_domain else "outside of its domain",
            "why": opinion.why,
        }
        for size in geometric(low, high, 40)
        for opinion in compare(size, **known).opinions
        if opinion.learning_rate is not None
    ]


def _published_layers(rows: list[dict[str, Any]], x: alt.X, y: Any) -> list[Any]:
    last = max(row["hidden_size"] for row in rows)
    detail = alt.Detail(["name:N", "where:N"])
    tooltip = [
        alt.Tooltip("name:N", title="published"),
        alt.Tooltip("hidden_size:Q", title="hidden size", format=".0f"),
        alt.Tooltip("learning_rate:Q", title="learning rate", format=".3g"),
        alt.Tooltip("why:N"),
    ]
    lines = [
        alt.Chart(_data(row for row in rows if row["where"] == where))
        .mark_line(color=_THIN, strokeWidth=1.2, strokeDash=dash, opacity=0.9, clip=True, tooltip=True)
        .encode(x=x, y=y, detail=detail, tooltip=tooltip)
        for where, dash in (("in its domain", [1, 0]), ("outside of its domain", [1, 3]))
    ]
    names = (
        alt.Chart(_data(_spread([row for row in rows if row["hidden_size"] == last])))
        .mark_text(align="right", dx=-2, dy=-5, fontSize=9, color=_THIN, clip=True)
        .encode(x=x, y=y, text="name:N")
    )
    return [*lines, names]


def _spread(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that can carry a label without one lying on another."""
    kept: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: row["learning_rate"]):
        if not kept or row["learning_rate"] > kept[-1]["learning_rate"] * 1.18:
            kept.append(row)
    return kept


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
    base = alt.Chart(_data(rows))
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


# (c) courses of runs


def _course_figure(records: Sequence[TrialRecord]) -> Figure | None:
    shown = [record for record in records if len(record.curve.get("step", ())) > 1]
    if not shown:
        return None
    total = len(shown)
    if total > _MOST_COURSES:
        # Evenly over the rates of every width, so that both ends stay in sight.
        ordered = sorted(shown, key=lambda record: (record.hidden_size, record.learning_rate))
        shown = [ordered[index * total // _MOST_COURSES] for index in range(_MOST_COURSES)]
    rows = [row for record in shown for row in _course_rows(record)]
    losses = sorted(row["at_loss"] for row in rows if row["at_loss"] is not None)
    if not losses:
        return None
    highest = min(losses[-1], losses[int(0.9 * (len(losses) - 1))] * 1.15)
    panels = [
        _course_panel(rows, "at_loss", "validation loss", [losses[0] * 0.98, highest]),
    ]
    if any(row["at_diversity"] is not None for row in rows):
        panels.append(_course_panel(rows, "at_diversity", "diversity", [0.0, 1.05]))
    counts = {status: sum(record.status == status for record in records) for status in STATUSES}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    some = f" {len(shown)} of {total} runs are drawn." if len(shown) < total else ""
    return Figure(
        name="courses",
        title="Courses of the runs",
        says=f"Validation loss and diversity over training steps, one line per run, coloured by verdict: {said}.{some}",
        panels=panels,
        minimum=340,
    )


def _course_rows(record: TrialRecord) -> list[dict[str, Any]]:
    steps = record.curve["step"]
    losses = record.curve.get("loss", [None] * len(steps))
    diversities = record.curve.get("diversity", [None] * len(steps))
    stride = max(1, math.ceil(len(steps) / _MOST_POINTS))
    kept = sorted({*range(0, len(steps), stride), len(steps) - 1})
    base = _row(record)
    return [{**base, "step": steps[i], "at_loss": losses[i], "at_diversity": diversities[i]} for i in kept]


def _course_panel(rows: list[dict[str, Any]], field: str, title: str, domain: list[float]) -> Any:
    hover = alt.selection_point(name=field, fields=["trial"], on="pointerover", nearest=True, empty=False)
    known = [row for row in rows if row[field] is not None]
    base = alt.Chart(_data(known)).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(format="~s", tickCount=6)),
        y=alt.Y(f"{field}:Q", title=title, scale=alt.Scale(domain=domain, nice=False, zero=False)),
        color=_status_colour({row["status"] for row in rows}),
        detail="trial:N",
    )
    lines = base.mark_line(clip=True).encode(
        opacity=alt.condition(hover, alt.value(1.0), alt.value(0.35)),
        strokeWidth=alt.condition(hover, alt.value(3), alt.value(1.2)),
    )
    points = (
        base.mark_point(filled=True, clip=True, size=60)
        .encode(opacity=alt.condition(hover, alt.value(0.8), alt.value(0)), tooltip=_TRIAL_TOOLTIP)
        .add_params(hover)
    )
    return alt.layer(lines, points).properties(height=280)


# (d) the map of collapse


def _collapse_figure(records: Sequence[TrialRecord], rule: Rule | None) -> Figure | None:
    if not records:
        return None
    widths = sorted({record.hidden_size for record in records})
    rates = [record.learning_rate for record in records]
    present: set[str] = {record.status for record in records}
    x = alt.X(
        "hidden_size:Q",
        title="hidden size",
        scale=alt.Scale(type="log", domain=[widths[0] / 1.15, widths[-1] * 1.15], nice=False),
        axis=alt.Axis(format="~g", labelOverlap=True, values=widths),
    )
    y = _rate_axis(alt.Y, min(rates) / 1.3, max(rates) * 1.3)
    layers: list[Any] = []
    if rule is not None and rule.boundary is not None and set(rule.scales) == {"hidden_size"}:
        layers += _boundary_layers(rule, widths, x, y, max(rates) * 1.3)
    layers.append(
        alt.Chart(_data(_row(record) for record in records))
        .mark_point(filled=True, size=75, opacity=0.8)
        .encode(x=x, y=y, color=_status_colour(present), shape=_status_shape(present), tooltip=_TRIAL_TOOLTIP)
    )
    bad = [record for record in records if record.status in ("collapsed", "diverged")]
    lowest = min((record.learning_rate for record in bad), default=None)
    says = "Every run by hidden size and learning rate, its verdict as colour and shape. " + (
        "No run collapsed or diverged."
        if lowest is None
        else f"{len(bad)} of {len(records)} runs collapsed or diverged, the lowest rate of them {lowest:.3g}."
    )
    return Figure(
        name="collapse", title="The map of collapse", says=says, panels=[alt.layer(*layers).properties(height=340)]
    )


def _boundary_layers(rule: Rule, widths: Sequence[int], x: alt.X, y: Any, top: float) -> list[Any]:
    rows = []
    for size in geometric(widths[0], widths[-1], 40) if len(widths) > 1 else list(map(float, widths)):
        answer = recommend(size, rule=rule)
        if answer.collapse_10 is not None and answer.collapse_50 is not None:
            rows.append({"hidden_size": size, "ten": answer.collapse_10, "half": answer.collapse_50, "top": top})
    base = alt.Chart(_data(rows))
    return [
        base.mark_area(color=_DANGER, opacity=0.15, clip=True).encode(
            x=x, y=alt.Y("half:Q", title="learning rate"), y2="top:Q"
        ),
        base.mark_line(color=_DANGER, strokeDash=[4, 3], clip=True).encode(
            x=x, y=alt.Y("ten:Q", title="learning rate")
        ),
    ]


# (e) the budget


def _budget_figure(records: Sequence[TrialRecord]) -> Figure | None:
    rows = []
    spent_all = saved_all = 0.0
    for width in sorted({record.hidden_size for record in records}):
        own = [record for record in records if record.hidden_size == width]
        spent = sum(record.cost for record in own)
        saved = sum(
            record.cost / record.steps_done * (record.steps - record.steps_done)
            for record in own
            if record.steps_done and record.status in ("collapsed", "beaten", "diverged")
        )
        spent_all, saved_all = spent_all + spent, saved_all + saved
        rows += [
            {"width": str(width), "part": "spent", "cost": spent, "runs": len(own)},
            {"width": str(width), "part": "saved by ending runs early", "cost": saved, "runs": len(own)},
        ]
    if not spent_all:
        return None
    unit = (
        "parameters × tokens"
        if any(r.facts.parameters and r.facts.tokens_per_step for r in records)
        else "size² × steps"
    )
    chart = (
        alt.Chart(_data(rows))
        .mark_bar()
        .encode(
            x=alt.X("cost:Q", title=f"compute ({unit})", axis=alt.Axis(format="~s", tickCount=5)),
            y=alt.Y("width:N", title="hidden size", sort=None),
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=["spent", "saved by ending runs early"], range=[_LINE, "#e69f00"]),
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


def image_spec(figure: Figure) -> dict[str, Any]:
    """One chart of all panels of a figure, for a picture file."""
    width = 640 if len(figure.panels) == 1 else 330
    panels = [panel.properties(width=width) for panel in figure.panels]
    whole = panels[0] if len(panels) == 1 else alt.concat(*panels, columns=2 if len(panels) < 5 else 3)
    chart = whole.properties(title=alt.Title(figure.title, anchor="start", fontSize=15), background="white")
    spec: dict[str, Any] = chart.to_dict()
    spec["description"] = figure.says
    return spec
