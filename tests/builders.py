"""What many tests are made of: rules, records, sweeps."""

import math
from typing import Any

from lrtune.rule.data import Polynomial, Rule, RuleCell, Scale


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
