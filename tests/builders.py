"""What many tests are made of: rules, records, sweeps."""

import math
from collections.abc import Mapping
from typing import Any

from lrtune.law.fit import fit_law
from lrtune.records.record import TrialRecord
from lrtune.rule.data import Polynomial, Rule, RuleCell, Scale
from lrtune.rule.knob import Coordinate
from lrtune.study.task import Task


def power_rule(slope: float = -1.0, *, curvature_sd: float = 0.02, **changes: Any) -> Rule:
    """0.01 · (width / 128)^slope, measured at 64, 128 and 256 to 10% either way."""
    cells = tuple(
        RuleCell({"hidden_size": float(w)}, rate := 0.01 * (w / 128) ** slope, rate / 1.1, rate * 1.1, trials=5)
        for w in (64, 128, 256)
    )
    rule = Rule(
        form="power",
        reason="a power law",
        scales={"hidden_size": Scale(64.0, 256.0, 128.0)},
        cells=cells,
        law=Polynomial(
            ((0,), (1,), (2,)),
            (math.log(0.01), slope, 0.0),
            ((1e-3, 0.0, 0.0), (0.0, 1e-3, 0.0), (0.0, 0.0, curvature_sd**2)),
        ),
        safe_below=0.5,
        safe_above=0.4,
        advice={"stage2_ratio": 0.5, "weight_decay": 0.1, "weight_decay_stage2": 0.0, "warmup_steps": 20.0},
        horizon={"tokens": 1e6, "steps": 100.0},
        conditions={"depth": 4.0, "optimizer": "adamw"},
    )
    return rule._replace(**changes)


def finished_run(
    width: int,
    rate: float,
    loss: float | None,
    knobs: Mapping[str, float] | None = None,
    *,
    steps: int = 100,
    **more: Any,
) -> TrialRecord:
    """A run to its end, unless `more` says otherwise: other fields of the record."""
    usual = {"trial": 0, "seed": 0, "status": "finished", "steps_done": steps, "knobs": knobs or {}}
    return TrialRecord(hidden_size=width, learning_rate=rate, loss=loss, steps=steps, **{**usual, **more})


def run_of(task: Task, trial: int, loss: float | None, **more: Any) -> TrialRecord:
    """The run of a task, to its end, unless `more` says otherwise."""
    asked: dict[str, Any] = {"trial": trial, "seed": task.seed, "scales": task.scales}
    return finished_run(task.hidden_size, task.learning_rate, loss, task.knobs, **asked, **more)


def knob_rule() -> Rule:
    """A rule with a best rate of 0.64 / width and a best ratio of `adam_lr` to it of a quarter, at 32 and 64."""
    runs = [
        finished_run(
            width,
            0.64 / width * 2.0**u,
            3 * math.exp(0.02 * u**2 + 0.01 * v**2),
            {"adam_lr": 0.16 / width * 2.0 ** (u + v)},
        )
        for width in (32, 64)
        for u, v in [(0, 0), (-1, 0), (1, 0), (2, 0), (-2, 0), (0, 1), (0, -1), (0, 2), (0, -2)]
    ]
    return fit_law(runs, knobs={"adam_lr": Coordinate(times="learning_rate")}).rule
