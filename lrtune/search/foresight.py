"""A search played through in advance on an analytic law: how many runs it makes where, and what its rule is worth."""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrtune.law.no_rule import NoRuleError
from lrtune.records.record import TrialRecord, record_of_task, task_of
from lrtune.records.tally import best_of
from lrtune.rule import recommend
from lrtune.search.cost import StepCost
from lrtune.search.ending import Ending
from lrtune.study.knob import coordinates
from lrtune.study.study import Study
from lrtune.study.task import Task, cells, group_name, steps_of, targets

_LEAST, _MOST, _PER_CELL = 60, 150, 4  # limits of the number of runs played
_LOSS, _RISE = 4.0, 0.03  # of the analytic law: 0.75% of loss an octave off


# Deviation of loss between two seeds, and where in the range searched first the best rate lies: 0 lowest, 1 highest.
_SMOOTH = (0.001, 0.5)
_NOISY = ((0.015, 0.25), (0.015, 0.75))  # the noise of the quick study's 300 steps


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What to expect of a search.

    Attributes:
        counts: runs by group (see `lrtune.study.task.group_name`): of noisy losses.
        how: the method of the count.
        least: runs in all where losses are smooth.
        regret, regret_90: expected loss of the advice at the worst target at its end, relative to the best, and its
            90% quantile; None if unknown.
        short_of: what ends it before it knows enough; empty if nothing does.
    """

    counts: Mapping[str, int]
    how: str
    least: int
    regret: float | None = None
    regret_90: float | None = None
    short_of: str = ""


def foresee_grid(study: Study) -> Foreseen:
    """The grid's points and two refinements per cell, without what widening and checks of early ends may add."""
    groups = [group_name(width, scales) for width, scales in cells(study)]
    each = (study.points + 2) * study.seeds
    return Foreseen(counts=dict.fromkeys(groups, each), how="grid", least=each * len(groups))


def foresee(study: Study, cost: StepCost | None, workers: int, *, noisy: bool = True) -> Foreseen:
    """An adaptive search on a law of exponent −1, within the budget; knobs follow no scale.

    Args:
        study: the study.
        cost: of one step, for a budget of seconds; None if unknown.
        workers: how many train at once, and share the budget of seconds.
        noisy: whether to play it on noisy losses too, which takes seconds; else the counts are those of smooth ones.
    """
    records, short_of = _play(study, cost, workers, _SMOOTH)
    least = len(records)
    if noisy:  # how long such a search takes is a matter of luck, so the longer one of two counts
        plays = [_play(study, cost, workers, losses) for losses in _NOISY]
        records, short_of = max(plays, key=lambda play: len(play[0]))
    regret, regret_90 = _worth(study, records)
    return Foreseen(
        counts=Counter(task_of(record).group for record in records),
        how="few if the losses are smooth, many if they are noisy" if least < len(records) else "",
        least=min(least, len(records)),
        regret=regret,
        regret_90=regret_90,
        short_of=short_of,
    )


def _play(
    study: Study, cost: StepCost | None, workers: int, losses: tuple[float, float]
) -> tuple[list[TrialRecord], str]:
    """The runs of a search, and what ended it before it knew enough."""
    from lrtune.search.designs import design_of

    design, draw = design_of(study), random.Random(study.seed)
    most = max(_LEAST, min(_PER_CELL * len(cells(study)), _MOST))
    allowed = min(most, study.budget.trials or most)
    left = math.inf if study.budget.seconds is None else study.budget.seconds * workers
    records: list[TrialRecord] = []
    pending: list[Task] = []
    while (reason := design.verdict(records, pending)) is None and len(records) < allowed and left > 0:
        pending += design.propose(records, pending, workers)
        if not pending:
            break
        task = pending.pop(0)
        records.append(_played(study, task, records, losses, draw))
        each = cost.at(task.place) if cost else None
        left -= (each or 0.0) * records[-1].steps_done
    if reason is not None:
        return records, "" if reason.ending is Ending.ENOUGH else reason.ending.value
    is_budget = left <= 0 or allowed < most
    return records, "the budget ends it before it is good enough" if is_budget else f"{most} runs are not enough"


def _played(
    study: Study, task: Task, records: Sequence[TrialRecord], losses: tuple[float, float], draw: random.Random
) -> TrialRecord:
    """A run; in the middle of its steps it is beaten if it will end clearly above the best one of its place."""
    noise, at = losses
    peak = study.lr_min * (study.lr_max / study.lr_min) ** at
    centre = math.exp(sum(math.log(width) for width in study.widths) / len(study.widths))
    octaves = math.log2(task.learning_rate * task.hidden_size / (peak * centre))
    steps = steps_of(task, study)
    values = {"learning_rate": task.learning_rate, **task.knobs}
    of_knobs = [(knob, knob.coordinate.at(task.knobs[name], values)) for name, knob in study.knobs.items()]
    squares = octaves**2 + sum(math.log2(at / math.sqrt(knob.low * knob.high)) ** 2 for knob, at in of_knobs if at)
    loss = _LOSS * (1 + draw.gauss(0.0, noise)) + _RISE * squares
    best = best_of(record for record in records if task_of(record).group == task.group)
    is_beaten = best is not None and study.pruner != "none" and loss > (best.loss or 0.0) * (1 + study.pruning.regret)
    is_cut = is_beaten and not task.lenient
    return record_of_task(
        task,
        trial=len(records),
        status="beaten" if is_cut else "finished",
        steps=steps,
        steps_done=steps // 2 if is_cut else steps,
        loss=loss,
        beaten={"peer": best.learning_rate} if best is not None and is_beaten else {},
    )


def _worth(study: Study, records: Sequence[TrialRecord]) -> tuple[float | None, float | None]:
    """The regret of the rule at the worst target, and its 90% quantile; None if one is unknown."""
    from lrtune.law.fit import fit_run

    try:
        rule = fit_run(records, tolerance=study.budget.tolerance, knobs=coordinates(study.knobs)).rule
    except NoRuleError:
        return None, None
    answers = []
    for target in targets(study):
        known = {*rule.scales, *rule.conditions, "hidden_size"}
        answers.append(recommend(rule=rule, **{name: value for name, value in target.items() if name in known}))
    worst = max(answers, key=lambda answer: math.inf if answer.regret is None else answer.regret)
    return worst.regret, worst.regret_90
