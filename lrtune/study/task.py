"""Tasks (training runs to make), and grids of sizes and rates."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from lrtune.study.study import Study

LR_FLOOR, LR_CEILING = 1e-6, 10.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """One training run to make. `options` overrides the study's options."""

    hidden_size: int
    learning_rate: float
    seed: int = 0
    arm: str | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def group(self) -> str:
        """Key of the comparable runs: same width, scales and options, any rate and seed."""
        return group_name(self.hidden_size, self.scales, self.arm, self.options)

    @cached_property
    def key(self) -> str:
        """Key of this run within its study."""
        return f"{self.group} {self.learning_rate!r} {self.seed}"


def group_name(
    hidden_size: int, scales: Mapping[str, float], arm: str | None = None, options: Mapping[str, Any] | None = None
) -> str:
    """Key of the tasks with this width, scales, arm and options."""
    parts = [hidden_size, dict(sorted(scales.items())), arm, dict(sorted((options or {}).items()))]
    return json.dumps(parts, separators=(",", ":"), default=str)


def steps_of(task: Task, study: Study) -> int:
    """The optimizer steps of a task's run."""
    return int(task.scales.get("steps", study.steps))


def scale_combinations(study: Study) -> list[dict[str, float]]:
    """Every combination of the swept scales other than the width; one empty mapping if only the width is swept."""
    values = [[(name, value) for value in column] for name, column in study.scales.items()]
    return [dict(combination) for combination in product(*values)]


def cells(study: Study) -> list[tuple[int, dict[str, float]]]:
    """Every width with every combination of the other scales. A search trains each at least once."""
    return [(width, scales) for width in study.widths for scales in scale_combinations(study)]


def log_spaced(low: float, high: float, count: int) -> list[float]:
    """`count` rates from `low` to `high`, evenly spaced in log; the geometric mean if `count` is 1."""
    if count == 1:
        return [tidy(math.sqrt(low * high))]
    step = math.log(high / low) / (count - 1)
    return [tidy(low * math.exp(step * index)) for index in range(count)]


def tidy(rate: float) -> float:
    """Round to six digits, so that rounding errors do not create distinct rates and records are readable."""
    return float(f"{rate:.6g}")
