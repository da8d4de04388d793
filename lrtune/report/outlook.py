"""What a search knows at its targets, and what more runs would cost and bring."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lrtune.errors import counted
from lrtune.records.record import TrialRecord
from lrtune.rule import Doubt, Recommendation, Rule
from lrtune.rule.doubt import WORST_FACTOR, percent
from lrtune.search.ending import Ending
from lrtune.search.options import SearchResult
from lrtune.search.target import answers as answers_at
from lrtune.study.study import Study
from lrtune.study.task import cells, place_name, targets
from lrtune.trainer.function import PREFIX

# In studies/quick and studies/reference the cost falls with the square of the number of runs, from 8 to 50 of them.
_POWER = 2.0
_MOST = 3.0  # times the runs so far: beyond, the estimate says nothing
_NAMED = 4  # places to a doubt
_GENEROUS = 1.5  # of a budget over the estimate
_BY_RUNS = (Doubt.COSTLY, Doubt.WIDE, Doubt.ONE_SIDED, Doubt.CUT)


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is known at the targets, and the estimate of what is left.

    Attributes:
        answers: at each target, in the study's order.
        cost: the highest expected loss over the best at a target, as a share; a tenth of the cases may cost three times
            that. None if unknown at one, as where all runs above the best rate were ended early.
        wanted: the tolerance.
        runs: about how many more runs bring `cost` below `wanted`; 0 if it is, None if runs at other places are needed.
        then: about the cost after them.
        seconds: their wall time; None without a timed run.
    """

    answers: tuple[Recommendation, ...]
    cost: float | None
    wanted: float
    runs: int | None
    then: float | None
    seconds: float | None

    @property
    def is_enough(self) -> bool:
        """Whether the data support the answer at every target."""
        return all(answer.supported for answer in self.answers)


def outlook(rule: Rule, study: Study, records: Sequence[TrialRecord], workers: int) -> Outlook | None:
    """The outlook after these runs; None while the rule lacks a scale of the targets."""
    answers = answers_at(replace(study, targets=targets(study)), rule, records)
    if not answers:
        return None
    ended = len(records)
    costs = [max(a.regret, a.regret_90 / WORST_FACTOR) for a in answers if a.regret is not None and a.regret_90]
    known, wanted = max(costs, default=None), rule.tolerance
    doubts = {answer.doubt for answer in answers if answer.doubt is not None}
    cost = None if Doubt.CUT in doubts else known
    runs, then = None, None
    if not doubts:
        runs, then = 0, cost
    elif rule.draws and all(a.doubt in _BY_RUNS and nearer(study, a) is None for a in answers if a.doubt):
        factor = min(max(((known or 0.0) / wanted) ** (1 / _POWER), 1.0) - 1, _MOST)
        runs = max(1, math.ceil(ended * factor), 2 * sum(a.basis != "measured" for a in answers))
        then = None if cost is None else max(cost / (1 + runs / max(1, ended)) ** _POWER, min(cost, wanted))
    timed = None if runs is None or not ended else runs * sum(record.seconds for record in records) / ended / workers
    return Outlook(answers=answers, cost=cost, wanted=wanted, runs=runs, then=then, seconds=timed)


def outlook_of(done: SearchResult, study: Study) -> Outlook | None:
    """The outlook at the end of a search; None without a rule."""
    return None if done.rule is None else outlook(done.rule, study, done.records, done.workers)


def more(found: Outlook, workers: int) -> str:
    """What more runs would bring, or what to do about each doubt, and where; empty without a doubt."""
    if found.runs is None or found.then is None or found.cost is None or found.cost <= found.wanted:
        places: dict[str, list[str]] = {}
        for answer in found.answers:
            if answer.doubt is not None:
                # Cut runs have measured sizes.
                is_elsewhere = answer.doubt is Doubt.CUT and answer.extrapolation > 1
                names = [] if is_elsewhere else [place_name(answer.scales)]
                places.setdefault(answer.doubt.value, []).extend(names)
        return "; ".join(
            advice + (f" ({'; '.join(names[:_NAMED])})" if names else "") for advice, names in places.items()
        )
    time = "" if found.seconds is None else f" ({duration(found.seconds)} on {counted(workers, 'worker')})"
    runs = counted(found.runs, "more run")
    return f"about {runs}{time} would bring the cost from {percent(found.cost)} to about {percent(found.then)} of loss"


def again(
    study: Study,
    out: Path,
    records: Sequence[TrialRecord],
    ending: Ending | None,
    found: Outlook | None,
    workers: int = 1,
) -> list[str] | None:
    """The words of the command that resumes a search; None if it would run nothing more,
    every answer is good enough already, or only a notebook can run it.

    Args:
        study, out, records: of the run folder.
        ending: why its last search ended; None if it was killed or still runs.
        found: its outlook; None without a rule.
        workers: how many it had.
    """
    if study.trainer.startswith(PREFIX) or (ending is not None and ending.is_hopeless):
        return None
    is_asked = ending is not None and ending is not Ending.INTERRUPTED
    if is_asked and found is not None and found.is_enough:
        return None
    words = ["search", str(out / "study.toml"), "--out", str(out)]
    beyond = next((nearer(study, a) for a in found.answers if not a.supported), None) if found else None
    if beyond is not None:
        name, values = beyond[0], ",".join(f"{value:g}" for value in beyond[1])
        words += ["--widths", values] if name == "hidden_size" else ["--scale", f"{name}={values}"]
    elif ending is Ending.COMPLETE:
        words += ["--design", "scale-aware"]
    elif ending is Ending.ENOUGH:
        words += ["--tolerance", f"{study.budget.tolerance / 2:g}"]
    if ending is Ending.TRIALS_SPENT:
        more = found.runs if found is not None and found.runs else len(records)
        words += ["--trials", f"{len(records) + more}"]
    elif study.budget.seconds is not None:
        least = _least(records, study, workers)
        seconds = max(found.seconds or 0.0 if found is not None else 0.0, least or 2 * study.budget.seconds)
        words += ["--budget", duration(_GENEROUS * seconds)]
    return words


def verify_words(rule: Rule, size: float, study: Path) -> list[str]:
    """The words of the command that verifies a rule at a size and its largest other scales, at the study's length."""
    others = {name: at.high for name, at in rule.scales.items() if name not in ("hidden_size", "steps", "tokens")}
    flags = [word for name, value in others.items() for word in ("--scale", f"{name}={value:.10g}")]
    return ["verify", f"{size:g}", "--study", str(study), *flags]


def nearer(study: Study, answer: Recommendation) -> tuple[str, tuple[float, ...]] | None:
    """The scale in which an answer lies furthest above the trained values, and these with one nearer to it; else None.

    None, too, where runs that were ended early come first.
    """
    if answer.doubt is Doubt.CUT:
        return None
    place, trained = answer.scales, {"hidden_size": study.widths, **study.scales}
    factors = {name: place[name] / max(values) for name, values in trained.items() if name in place}
    name = max(factors, key=lambda each: factors[each], default="")
    if not name or factors[name] <= 1 + 1e-6:
        return None
    return name, (*trained[name], float(math.floor(min(place[name], 2 * max(trained[name])))))


def _least(records: Sequence[TrialRecord], study: Study, workers: int) -> float | None:
    """Seconds of two runs at each place without a run, and of one run, at the slowest one's speed."""
    slowest = max((record.seconds for record in records), default=None)
    tried = {(record.hidden_size, tuple(sorted(record.scales.items()))) for record in records}
    missing = sum((width, tuple(sorted(scales.items()))) not in tried for width, scales in cells(study))
    return None if slowest is None else (1 + 2 * missing) * slowest / workers


def duration(seconds: float) -> str:
    """A time for `--budget`, rounded up: 45s, 12m, 1h30m."""
    if seconds < 90:
        return f"{max(5, math.ceil(seconds / 5) * 5)}s"
    minutes = math.ceil(seconds / 60)
    if minutes < 90:
        return f"{minutes}m"
    hours, rest = divmod(math.ceil(minutes / 15) * 15, 60)
    return f"{hours}h{rest}m" if rest else f"{hours}h"
