"""Figure (a): loss against learning rate, a panel per width."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from lrtune.records.record import TrialRecord
from lrtune.records.tally import best_of
from lrtune.report.advice import fitted_curve, sentence
from lrtune.report.plots.theme import (
    DANGER,
    LINE,
    SAFE,
    Figure,
    inline,
    loss_axis,
    rate_axis,
    status_colour,
    status_shape,
    statuses,
    trial_row,
    trial_tooltip,
)
from lrtune.rule import Rule, recommend
from lrtune.study.task import place_name

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit


Place = tuple[tuple[str, float], ...]  # (scale, value) of each scale
_MOST_PANELS, _MOST_NAMED = 12, 4


def loss_figure(records: Sequence[TrialRecord], rule: Rule | None, fit: "LawFit | None") -> Figure | None:
    """Every run's loss against its rate with the fitted curve, a panel per place; None without finished runs.

    A place is a hidden size with the values of the law's other scales. With many places, the panels are those of the
    largest other scales.
    """
    records = [record for record in records if record.arm is None]
    if not any(record.status == "finished" and record.loss is not None for record in records):
        return None
    rates = [record.learning_rate for record in records]
    verdicts = statuses(records)
    every = _by_place(records, rule)
    shown = _shown(every)
    panels = [_loss_panel(own, dict(place), rates, verdicts, rule, fit) for place, own in shown.items()]
    some = f" {len(shown)} of {len(every)} places are drawn." if len(shown) < len(every) else ""
    lowest = "; ".join(
        f"{place_name(dict(place))}: {'best measure' if best.maximize else 'lowest loss'} {best.measure:.4g} "
        f"at {best.learning_rate:.3g}"
        for place, own in list(shown.items())[-_MOST_NAMED:]
        if (best := best_of(own)) is not None
    )
    return Figure(
        name="loss",
        title=f"{'Measure' if records[0].maximize else 'Loss'} against learning rate",
        says=f"{'Measure' if records[0].maximize else 'Validation loss'} of every run against its learning rate, one "
        "panel per size, with the fitted curve; the dotted line is the recommended rate, green its safe range, red "
        "where most runs collapse; runs that ended early, or worse than the panel shows, stand at its edge."
        f"{some} {sentence(lowest)}",
        panels=panels,
        verdicts=verdicts,
        minimum=380 if len(panels) == 4 else 280,  # two rows of two
    )


def _by_place(records: Sequence[TrialRecord], rule: Rule | None) -> dict[Place, list[TrialRecord]]:
    """The records at each combination of the law's scales, ascending; one that a record lacks is left out."""
    names = [name for name in (rule.scales if rule else ()) if name != "hidden_size"]
    found: dict[Place, list[TrialRecord]] = {}
    for record in records:
        others = ((name, value) for name in names if (value := record.scale(name)) is not None)
        found.setdefault((("hidden_size", record.scale("hidden_size") or 0.0), *others), []).append(record)
    return dict(sorted(found.items()))


def _shown(every: dict[Place, list[TrialRecord]]) -> dict[Place, list[TrialRecord]]:
    if len(every) <= _MOST_PANELS:
        return every
    most: dict[str, float] = {}
    for name, value in (other for place in every for other in place[1:]):
        most[name] = max(value, most.get(name, value))
    return {place: own for place, own in every.items() if dict(place[1:]) == most} or every


def _loss_panel(
    own: Sequence[TrialRecord],
    place: Mapping[str, float],
    rates: Sequence[float],
    verdicts: Sequence[str],
    rule: Rule | None,
    fit: "LawFit | None",
) -> alt.LayerChart:
    low, high = min(rates) / 1.15, max(rates) * 1.15
    finished = sorted(r.loss for r in own if r.status == "finished" and r.loss is not None)
    is_fitted = len(finished) > 1 and fit is not None and fit.rule.scales.keys() <= place.keys()
    curve = fitted_curve(fit, place, [r.learning_rate for r in own], 160) if is_fitted else []
    bottom = min([*finished[:1], *(loss for _, loss in curve)], default=0.0)
    span = finished[int(0.75 * (len(finished) - 1))] - bottom if finished else 0.0
    span = max(span, 0.015 * abs(bottom)) or 1.0  # keeps a flat curve flat
    top = bottom + 1.8 * span
    rows = [
        {**trial_row(r), "shown": top if r.status != "finished" or r.loss is None else min(r.loss, top)} for r in own
    ]
    x = rate_axis(alt.X, low, high)
    y = loss_axis("shown", [bottom - 0.1 * span, top], own[0].maximize)
    layers = _zones(place, low, high, rule)
    if curve:
        layers.append(
            # Points far above the panel would get coordinates that renderers cannot clip.
            alt.Chart(inline({"learning_rate": at, "shown": min(loss, top + span)} for at, loss in curve))
            .mark_line(color=LINE, strokeWidth=2, clip=True)
            .encode(x=x, y=y)
        )
    layers.append(
        alt.Chart(inline(rows))
        .mark_point(filled=True, size=70, opacity=0.85)
        .encode(
            x=x,
            y=y,
            color=status_colour(verdicts),
            shape=status_shape(verdicts),
            tooltip=trial_tooltip(own[0].maximize),
        )
    )
    return alt.layer(*layers).properties(title=place_name(place), height=220)


def _zones(place: Mapping[str, float], low: float, high: float, rule: Rule | None) -> list[Any]:
    """The safe range, the zone of collapse and the recommended rate, behind the points."""
    if rule is None or not rule.scales.keys() <= place.keys():
        return []
    answer = recommend(rule=rule, **{name: place[name] for name in rule.scales})
    zones = []
    if answer.safe_low is not None and answer.safe_high is not None:
        zones.append((max(low, answer.safe_low), min(high, answer.safe_high), SAFE, 0.14))
    if answer.collapse_50 is not None and answer.collapse_50 < high:
        zones.append((max(low, answer.collapse_50), high, DANGER, 0.12))
    layers: list[Any] = [
        alt.Chart(inline([{"learning_rate": start, "end": end}]))
        .mark_rect(color=colour, opacity=opacity)
        .encode(x=rate_axis(alt.X, low, high), x2="end:Q")
        for start, end, colour, opacity in zones
        if start < end
    ]
    layers.append(
        alt.Chart(inline([{"learning_rate": answer.learning_rate}]))
        .mark_rule(color=LINE, strokeDash=[2, 3])
        .encode(x=rate_axis(alt.X, low, high))
    )
    return layers
