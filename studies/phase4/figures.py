"""The pictures of README.md, from records.jsonl alone.

python -m studies.phase4.figures [--out studies/phase4]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from lrtune.records.record import TrialRecord
from studies.phase4.record import OPTIMIZERS
from studies.phase4.tables import LARGE, judged, load

# Arms of the large vocabulary, as a reader would call them.
STORY = {
    "base-50k": "Adam, L2 0.1, 0.0015",
    "lower-rate-50k": "Adam, L2 0.1, 0.0005",
    "two-stage-50k": "Adam, L2 0.1 → 0 at half, 0.0015",
    "no-decay-50k": "Adam, no decay, 0.0015",
    "adamw-50k": "AdamW 0.1, 0.0015",
    "adamw-lower-rate-50k": "AdamW 0.1, 0.0005",
}
NAMES = {"adam-l2": "Adam with L2 in the gradient", "adamw": "AdamW"}
RATES = [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
_WIDTH, _HEIGHT = 300, 190


def courses(records: Sequence[TrialRecord], column: str) -> list[dict[str, Any]]:
    """One row per report of the arms in `STORY`."""
    return [
        {"step": step, "value": value, "arm": STORY[record.arm or ""]}
        for record in records
        if record.arm in STORY and record.seed == 0
        for step, value in zip(record.curve["step"], record.curve.get(column, ()), strict=False)
        if value is not None
    ]


def course(rows: list[dict[str, Any]], title: str, marks: Sequence[tuple[float, str]] = (), log: bool = False) -> Any:
    """A line per arm over the steps, with named levels."""
    scale = alt.Scale(type="log") if log else alt.Scale(zero=False)
    order = list(STORY.values())
    lines = (
        alt.Chart(alt.Data(values=rows), width=_WIDTH, height=_HEIGHT, title=title)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(format="~s")),
            y=alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "arm:N",
                title=None,
                sort=order,
                legend=alt.Legend(orient="bottom", columns=3, columnPadding=40, labelLimit=300),
            ),
        )
    )
    levels = [{"level": level, "name": name} for level, name in marks]
    if not levels:
        return lines
    rules = alt.Chart(alt.Data(values=levels)).mark_rule(strokeDash=[4, 3], color="#888").encode(y="level:Q")
    texts = (
        alt.Chart(alt.Data(values=levels))
        .mark_text(align="left", baseline="bottom", dx=2, color="#555", fontSize=10)
        .encode(y="level:Q", x=alt.value(0), text="name:N")
    )
    return lines + rules + texts


def collapse(records: Sequence[TrialRecord]) -> Any:
    """Loss and diversity at the write-up's vocabulary."""
    first = next(record for record in records if (record.arm or "").endswith(LARGE))
    assert first.facts.unigram_entropy is not None
    levels = [(first.facts.unigram_entropy, "unigram entropy"), (10.825, "ln V")]
    return alt.hconcat(
        course(courses(records, "loss"), "Validation loss, nats", levels),
        course(courses(records, "diversity"), "Diversity of the answers ÷ of the text"),
    )


def locked_in(records: Sequence[TrialRecord]) -> Any:
    """What the ternary weights do meanwhile."""
    return alt.hconcat(
        course(courses(records, "flipped_share"), "Ternary weights flipped since the last report"),
        course(courses(records, "zero_share"), "Ternary weights that are zero"),
        course(courses(records, "weight_rms"), "RMS of the latent weights", log=True),
    )


def threshold(records: Sequence[TrialRecord]) -> Any:
    """Final loss over the rate by width, for either optimizer."""
    rows = [
        {
            "rate": record.learning_rate,
            "loss": min(record.loss, 9.4),
            "hidden": record.hidden_size,
            "optimizer": NAMES[optimizer],
            "ended": "learned" if judged(record).status == "finished" else "did not learn",
        }
        for optimizer in OPTIMIZERS
        for record in records
        if record.arm == f"threshold-{optimizer}" and record.loss is not None
    ]
    return (
        alt.Chart(alt.Data(values=rows), width=_WIDTH * 1.4, height=_HEIGHT * 1.2)
        .mark_point(size=28)
        .encode(
            x=alt.X(
                "rate:Q", title="learning rate", scale=alt.Scale(type="log"), axis=alt.Axis(values=RATES, format="~g")
            ),
            y=alt.Y("loss:Q", title="final loss, nats (9.4: that or more)", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "hidden:O", title="hidden size", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(orient="bottom")
            ),
            shape=alt.Shape(
                "ended:N",
                title=None,
                scale=alt.Scale(range=["cross", "circle"]),
                legend=alt.Legend(orient="bottom"),
            ),
            column=alt.Column("optimizer:N", title=None, sort=list(NAMES.values())),
        )
    )


FIGURES = {"collapse": collapse, "locked-in": locked_in, "threshold": threshold}


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of the Phase 4 study.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    flags = parser.parse_args()
    records = load()
    for name, draw in FIGURES.items():
        draw(records).save(flags.out / f"{name}.svg")


if __name__ == "__main__":
    main()
