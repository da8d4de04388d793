"""Tasks (training runs to make), and grids of sizes and rates."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from lrtune.errors import InputError
from lrtune.study.study import Study

LR_FLOOR, LR_CEILING = 1e-6, 10.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """One training run to make.

    `options` overrides the study's options; `knobs` holds the knobs' values. No finished run at a lower rate ends a
    `lenient` run (see `lrtune.search.pruning.check`).
    """

    hidden_size: int
    learning_rate: float
    seed: int = 0
    arm: str | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, float] = field(default_factory=dict)
    lenient: bool = False

    @property
    def place(self) -> dict[str, float]:
        """The hidden size and the other scales."""
        return {"hidden_size": self.hidden_size, **self.scales}

    @cached_property
    def group(self) -> str:
        """Key of the comparable runs: same width, scales and options, any rate, knobs and seed."""
        return group_name(self.hidden_size, self.scales, self.arm, self.options)

    @cached_property
    def key(self) -> str:
        """Key of this run within its study."""
        knobs = f" {json.dumps(dict(sorted(self.knobs.items())))}" if self.knobs else ""
        return f"{self.group} {self.learning_rate!r} {self.seed}{knobs}"


def task_at(place: Mapping[str, float], learning_rate: float = 1.0, **more: Any) -> Task:
    """The task at a place: its hidden size and other scales."""
    scales = {name: value for name, value in place.items() if name != "hidden_size"}
    return Task(hidden_size=round(place["hidden_size"]), learning_rate=learning_rate, scales=scales, **more)


def group_name(
    hidden_size: int, scales: Mapping[str, float], arm: str | None = None, options: Mapping[str, Any] | None = None
) -> str:
    """Key of the tasks with this width, scales, arm and options."""
    parts = [hidden_size, dict(sorted(scales.items())), arm, dict(sorted((options or {}).items()))]
    return json.dumps(parts, separators=(",", ":"), default=str)


def steps_of(task: Task, study: Study) -> int:
    """The optimizer steps of a task's run; tokens, if swept, are divided by the tokens of a step.

    Raises:
        InputError: tokens are swept, and a step's tokens vary but are not known at these scales.
    """
    tokens, per_step = task.scales.get("tokens"), task.scales.get("batch_tokens")
    if tokens is not None and per_step is None and study.step_tokens:
        per_step = study.step_tokens.get(step_name(task.scales))
        if per_step is None:
            raise InputError(f"tokens: expected {step_name(task.scales)} in [step_tokens], but it is missing")
    return int(task.scales.get("steps", study.steps)) if not (tokens and per_step) else math.ceil(tokens / per_step)


def step_name(scales: Mapping[str, float]) -> str:
    """The scales on which the tokens of a step may depend, as a key of `Study.step_tokens`: ``batch=8.0``."""
    return ",".join(f"{name}={float(value)!r}" for name, value in sorted(scales.items()) if name != "tokens")


def scale_combinations(study: Study) -> list[dict[str, float]]:
    """Every combination of the swept scales other than the width; one empty mapping if only the width is swept."""
    return [dict(zip(study.scales, values, strict=True)) for values in product(*study.scales.values())]


def place_name(place: Mapping[str, float]) -> str:
    """``hidden 512, batch 16, steps 1600``: the scales of a place in words, in one order everywhere."""
    names = sorted(place, key=lambda name: (name != "hidden_size", name))
    return ", ".join(f"{name.removesuffix('_size').replace('_', ' ')} {place[name]:.9g}" for name in names)


def cells(study: Study) -> list[tuple[int, dict[str, float]]]:
    """Every width with every combination of the other scales. A search trains each at least once."""
    return [(width, scales) for width in study.widths for scales in scale_combinations(study)]


def targets(study: Study) -> tuple[dict[str, float], ...]:
    """The places that the rule is for, each with ``hidden_size`` and every swept scale; by default all `cells`.

    A scale that a target leaves out takes its only trained value.

    Raises:
        InputError: a target names an unknown scale, or leaves out one with several trained values.
    """
    if not study.targets:
        return tuple({"hidden_size": float(width), **scales} for width, scales in cells(study))
    return tuple(_complete(study, target) for target in study.targets)


def _complete(study: Study, target: Mapping[str, float]) -> dict[str, float]:
    trained = {"hidden_size": study.widths, **study.scales}
    for name, value in target.items():
        if name == "steps" and name not in trained:
            if value != study.steps:
                raise InputError(
                    f"target.steps: expected {study.steps}, the only number of steps trained, but got {value:g}; "
                    f"train others too: --scale steps={study.steps},{2 * study.steps}"
                )
        elif name not in trained:
            raise InputError(f"target: expected scales of this study ({', '.join(trained)}), but got {name!r:.40}")
    place = {}
    for name, values in trained.items():
        if name not in target and len(values) > 1:
            shown = ", ".join(f"{value:g}" for value in values[:8])
            raise InputError(f"target.{name}: expected a value, since several are trained ({shown}), but it is missing")
        place[name] = float(target.get(name, values[0]))
    return place


def rates_of_one_size(widths: Sequence[int], given: Collection[str]) -> dict[str, Any]:
    """The fields ``lr_min`` and ``lr_max`` of a study of one size, unless one of them is `given`; else nothing.

    A run at one size may be fine-tuning, whose rates are lower. On smooth losses with the best rate at 2e-5, 3e-4 and
    1e-2 the wide range took 6, 6 and 4 runs, the usual one 15, 9 and 3.
    """
    if len(set(widths)) != 1 or {"lr_min", "lr_max"} & set(given):
        return {}
    return {"lr_min": 1e-5, "lr_max": 0.1}


def default_report_every(steps: int) -> int:
    """About a twelfth of the steps, preferably a divisor of them, so that the last step has a report."""
    counts = sorted(range(8, 19), key=lambda count: abs(count - 12))
    return next((steps // count for count in counts if steps % count == 0), max(1, steps // 12))


def log_spaced(low: float, high: float, count: int) -> list[float]:
    """`count` rates from `low` to `high`, evenly spaced in log; the geometric mean if `count` is 1."""
    if count == 1:
        return [tidy(math.sqrt(low * high))]
    step = math.log(high / low) / (count - 1)
    return [tidy(low * math.exp(step * index)) for index in range(count)]


def tidy(rate: float) -> float:
    """Round to six digits, so that rounding errors do not create distinct rates and records are readable."""
    return float(f"{rate:.6g}")
