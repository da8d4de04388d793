"""A search played through in advance on an analytic law: how many runs it makes where, and what its rule is worth."""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrtune.law.no_rule import NoRuleError
from lrtune.records.record import TrialRecord, task_of
from lrtune.rule import recommend
from lrtune.search.cost import StepCost
from lrtune.study.knob import Knob, coordinates
from lrtune.study.study import Study
from lrtune.study.task import Task, cells, group_name, steps_of, targets

_LEAST, _MOST, _PER_CELL = 60, 150, 4  # limits of the number of runs played
_LOSS, _RISE, _NOISE = 4.0, 0.03, 0.004  # of the analytic law: 0.75% of loss an octave off, noise of 0.1%


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What to expect of a search.

    Attributes:
        counts: runs by group (see `lrtune.study.task.group_name`).
        how: the method of the count.
        regret, regret_90: expected loss of the advice at the worst target at its end, relative to the best, and its
            90% quantile; None if unknown.
    """

    counts: Mapping[str, int]
    how: str
    regret: float | None = None
    regret_90: float | None = None


def foresee_grid(study: Study) -> Foreseen:
    """The grid's points and two refinements per cell, without the points that widening may add."""
    groups = [group_name(width, scales) for width, scales in cells(study)]
    return Foreseen(counts=dict.fromkeys(groups, (study.points + 2) * study.seeds), how="grid")


def foresee(study: Study, cost: StepCost | None, workers: int) -> Foreseen:
    """An adaptive search on a law of exponent −1 in the middle of the range, within the budget; knobs follow no scale.

    Args:
        study: the study.
        cost: of one step, for a budget of seconds; None if unknown.
        workers: how many share the budget of seconds.
    """
    from lrtune.search.adaptive import AdaptiveDesign

    design = AdaptiveDesign(study)
    draw = random.Random(study.seed)
    most = max(_LEAST, min(_PER_CELL * len(cells(study)), _MOST))
    most = min(most, study.budget.trials or most)
    records: list[TrialRecord] = []
    left = math.inf if study.budget.seconds is None else study.budget.seconds * workers
    while design.verdict(records, []) is None and len(records) < most and left > 0:
        tasks = design.propose(records, [], 1)
        if not tasks:
            break
        for task in tasks:
            records.append(_played(study, task, len(records), draw))
            each = cost.at({"hidden_size": task.hidden_size, **task.scales}) if cost else None
            left -= (each or 0.0) * steps_of(task, study)
    regret, regret_90 = _worth(study, records)
    return Foreseen(
        counts=Counter(task_of(record).group for record in records),
        how="as many as an adaptive search needs on a smooth law",
        regret=regret,
        regret_90=regret_90,
    )


def _played(study: Study, task: Task, number: int, draw: random.Random) -> TrialRecord:
    middle = math.sqrt(study.lr_min * study.lr_max)
    centre = math.exp(sum(math.log(width) for width in study.widths) / len(study.widths))
    octaves = math.log2(task.learning_rate * task.hidden_size / (middle * centre))
    steps = steps_of(task, study)
    squares = octaves**2 + sum(
        math.log2(value / math.sqrt(knob.low * knob.high)) ** 2 for knob, value in _coordinates(study, task) if value
    )
    return TrialRecord(
        trial=number,
        hidden_size=task.hidden_size,
        learning_rate=task.learning_rate,
        seed=task.seed,
        scales=task.scales,
        knobs=task.knobs,
        status="finished",
        steps=steps,
        steps_done=steps,
        loss=_LOSS + _RISE * squares + draw.gauss(0.0, _NOISE),
    )


def _coordinates(study: Study, task: Task) -> list[tuple[Knob, float]]:
    values = {"learning_rate": task.learning_rate, **task.knobs}
    return [(knob, knob.coordinate.at(task.knobs[name], values)) for name, knob in study.knobs.items()]


def _worth(study: Study, records: Sequence[TrialRecord]) -> tuple[float | None, float | None]:
    """The regret of the rule at the worst target, and its 90% quantile."""
    from lrtune.law.fit import fit_run

    try:
        rule = fit_run(records, tolerance=study.budget.tolerance, knobs=coordinates(study.knobs)).rule
    except NoRuleError:
        return None, None
    answers = []
    for target in targets(study):
        known = {*rule.scales, *rule.conditions, "hidden_size"}
        answers.append(recommend(rule=rule, **{name: value for name, value in target.items() if name in known}))
    worst = max(answers, key=lambda answer: answer.regret or 0.0)
    return worst.regret, worst.regret_90
