"""The targets of a study: the rule's answers there, and full-length runs at the recommended, half and double rate."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrtune.errors import InputError, counted
from lrtune.records.record import TrialRecord, task_of
from lrtune.rule import Recommendation, Rule, recommend
from lrtune.rule.knobs import values_at
from lrtune.search.cost import span, step_cost
from lrtune.study.study import Study
from lrtune.study.task import LR_CEILING, LR_FLOOR, Task, place_name, steps_of, targets, task_at, tidy
from lrtune.trainer.direction import words

FACTORS = {"the advice": 1.0, "half": 0.5, "double": 2.0}
_SAME_RATE = 0.25  # octaves from a run to a rate that it stands for


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """What is left of a budget; None means no limit."""

    seconds: float | None = None
    trials: int | None = None
    tokens: float | None = None

    @classmethod
    def of(cls, study: Study, records: Sequence[TrialRecord], elapsed: float) -> "Remaining":
        """The study's budget less what the records and `elapsed` seconds have used."""
        budget = study.budget
        used = sum(record.steps_done * (record.facts.tokens_per_step or 0) for record in records)
        return cls(
            seconds=None if budget.seconds is None else budget.seconds - elapsed,
            trials=None if budget.trials is None else budget.trials - len(records),
            tokens=None if budget.tokens is None else budget.tokens - used,
        )


def answers(study: Study, rule: Rule, records: Sequence[TrialRecord]) -> tuple[Recommendation, ...]:
    """The rule's answer at each target that the study names."""
    if not study.targets:
        return ()
    try:
        return tuple(recommend(rule=rule, **in_scales_of(rule, records, target)) for target in targets(study))
    except InputError:  # the folder's records have scales that this study does not have
        return ()


def in_scales_of(rule: Rule, records: Sequence[TrialRecord], target: Mapping[str, float]) -> dict[str, float]:
    """A target in the names and units of the rule, which has batch_tokens for the trainer's own unit of a batch."""
    place = dict(target)
    if "batch" in place and "batch_tokens" in rule.scales:
        units = [r.facts.tokens_per_step / r.scales["batch"] for r in records if r.facts.tokens_per_step]
        place["batch_tokens"] = place.pop("batch") * statistics.median(units)
    known = {*rule.scales, *rule.conditions, "hidden_size", "tokens", "steps"}
    return {name: value for name, value in place.items() if name in known}


def verification(study: Study, rule: Rule, records: Sequence[TrialRecord]) -> list[Task]:
    """The runs that the targets still need: at the recommended rate, half and double, where no run is near.

    Other knobs are at their best for each rate.
    """
    tasks = []
    for target, answer in zip(targets(study), answers(study, rule, records), strict=False):
        for factor in FACTORS.values():
            rate = tidy(min(max(answer.learning_rate * factor, LR_FLOOR), LR_CEILING))
            knobs = {name: tidy(value) for name, value in values_at(rule, answer.scales, rate).items()}
            task = task_at(target, rate, seed=study.seed, knobs=knobs, lenient=True)
            if not any(_stands_for(record, task) for record in records):
                tasks.append(task)
    return tasks


def _stands_for(record: TrialRecord, task: Task) -> bool:
    is_ended = record.status != "failed" and task_of(record).group == task.group
    pairs = [(record.learning_rate, task.learning_rate)]
    pairs += [(record.knobs.get(name, 0.0), value) for name, value in task.knobs.items()]
    return is_ended and all(a == b or (a * b > 0 and abs(math.log2(a / b)) < _SAME_RATE) for a, b in pairs)


def affordable(
    study: Study, tasks: Sequence[Task], records: Sequence[TrialRecord], left: Remaining, workers: int
) -> tuple[list[Task], str]:
    """As many of the tasks as the remaining budget holds, and what they cost, in words."""
    cost, per_step = step_cost(records), max((r.facts.tokens_per_step or 0 for r in records), default=0)
    count, seconds, tokens, limit = 0, 0.0, 0.0, ""
    for number, task in enumerate(tasks):
        each = cost.at(task.place) if cost else None
        steps = steps_of(task, study)
        tokens += steps * per_step
        seconds += math.nan if each is None else each * steps
        waves = math.ceil((number + 1) / workers) * seconds / (number + 1)
        if left.trials is not None and number + 1 > left.trials:
            limit = limit or f"the budget has {counted(max(left.trials, 0), 'run')} left"
        if left.tokens is not None and tokens > left.tokens:
            limit = limit or f"the budget has {max(left.tokens, 0):,.0f} tokens left"
        if left.seconds is not None and not waves <= left.seconds:
            limit = limit or f"the budget has {span(max(left.seconds, 0.0))} left"
        count += not limit
    device = "an unknown time" if math.isnan(seconds) else f"about {span(seconds)} on one worker"
    text = f"{counted(len(tasks), 'full-length run')} {'takes' if len(tasks) == 1 else 'take'} {device}"
    return list(tasks[:count]), f"{text}, and {limit}" if limit else text


def verification_cost(study: Study, target: Recommendation, records: Sequence[TrialRecord]) -> str:
    """What `lrtune verify` costs at a target, in words: three rates over two seeds or more."""
    tasks = [task_at(target.scales)] * (len(FACTORS) * max(2, study.seeds))
    return affordable(study, tasks, records, Remaining(), 1)[1]


def verified(
    study: Study, wanted: Sequence[Task], planned: Sequence[Task], cost: str, records: Sequence[TrialRecord], why: str
) -> str:
    """Whether the wanted runs at the targets were made, and how those that were ended.

    Args:
        planned, cost: the part of them that the budget was to hold, and what they cost, in words.
        records: all runs, after those at the targets.
        why: what ended the search that made them.
    """
    trained = sum(any(_stands_for(record, task) for record in records) for task in wanted)
    if trained == len(wanted):
        return f"verified {_outcome(study, records)}"
    reason = cost if len(planned) < len(wanted) else why
    if not trained:
        return f"not verified at the target: {reason}"
    return f"{trained} of {len(wanted)} runs at the target trained: {reason}; {_outcome(study, records)}"


def _outcome(study: Study, records: Sequence[TrialRecord]) -> str:
    """How the runs at each target ended: ``at hidden 512: final loss 2.35 at 0.001, 2.31 at 0.002``."""
    what, texts = words(maximize=study.maximize).what, []
    for target in targets(study):
        group = task_at(target).group
        here = sorted((r for r in records if task_of(r).group == group), key=lambda r: r.learning_rate)
        ends = ", ".join(f"{_measured(r)} at {r.learning_rate:.3g}{_unusual(r)}" for r in here)
        texts.append(f"at {place_name(target)}: " + (f"final {what} {ends}" if ends else "no run"))
    return "; ".join(texts)


def _measured(record: TrialRecord) -> str:
    return "none" if record.measure is None else f"{record.measure:.4g}"


def _unusual(record: TrialRecord) -> str:
    return "" if record.status == "finished" else f" ({record.status})"
