"""The last lines of a search: the answer at the targets, whether it is good enough, why it ended, and how to go on."""

import math

from lrtune.records.trust import defiance
from lrtune.report.outlook import Outlook, more
from lrtune.rule import Recommendation
from lrtune.rule.display import knob_text
from lrtune.rule.doubt import percent
from lrtune.search.ending import Ending
from lrtune.search.options import SearchResult
from lrtune.study.study import Study
from lrtune.study.task import place_name

_MOST = 4  # targets with a line each
_TO_FIX = (Ending.NO_SIGNAL, Ending.NO_OPTIMUM)  # more runs change nothing


def conclusion(done: SearchResult, study: Study, found: Outlook | None) -> list[str]:
    """The lines, the answer first; `found` is the outlook at the end of the search."""
    lines = [*_answers(found, study, done.ending), *_knobs(found.answers[-1])] if found is not None else []
    # How to continue has a line of its own.
    reason = f"{done.ending.value}: {done.stop_reason}" if done.ending is Ending.ENOUGH else done.stop_reason
    # Without a rule, the reason for that advises.
    advice = f"; {done.ending.value}" if found is not None and done.ending in _TO_FIX else ""
    lines.append(f"ended: {reason}{advice}")
    if text := defiance(done.records):
        lines.append(f"early ends: {text}")
    if found is not None and not found.is_enough and done.ending not in _TO_FIX:
        lines.append(f"more: {more(found, done.workers)}")
    return lines


def _answers(found: Outlook, study: Study, ending: Ending) -> list[str]:
    answers = found.answers
    if ending is Ending.NO_SIGNAL:
        return [f"{_head(answer)}: no rate is better than another there" for answer in answers[:_MOST]]
    if len(answers) <= _MOST or study.targets:
        return [_answer(answer, found.wanted) for answer in answers]
    enough = sum(answer.supported for answer in answers)
    worst = max(
        (a for a in answers if not a.supported),
        key=lambda a: math.inf if a.regret is None else a.regret,
        default=answers[-1],
    )
    shown = answers[-1:] if worst is answers[-1] else (answers[-1], worst)
    what = "sizes" if all(set(answer.scales) == {"hidden_size"} for answer in answers) else "combinations of scales"
    return [*(_answer(answer, found.wanted) for answer in shown), f"good enough at {enough} of {len(answers)} {what}"]


def _answer(answer: Recommendation, wanted: float) -> str:
    """``0.0023 at hidden 512 (0.0018 … 0.0031): good enough, may cost 0.30% of loss (wanted: 0.5%)``."""
    head = _head(answer)
    cost = "" if answer.regret is None else f"may cost {percent(answer.regret)} of loss (wanted: {wanted * 100:.3g}%)"
    if answer.supported:
        return f"{head}: good enough" + (f", {cost}" if cost else "")
    doubt = answer.warnings[0].removeprefix("not supported by the data: ").partition("; ")[0]
    return f"{head}: not good enough, {doubt}"


def _head(answer: Recommendation) -> str:
    return f"{answer.learning_rate:.3g} at {place_name(answer.scales)} ({answer.low:.2g} … {answer.high:.2g})"


def _knobs(answer: Recommendation) -> list[str]:
    """``adam_lr at hidden 512: 0.011 (0.0085 … 0.014), safe 0.007 … 0.018``, a line for each further knob."""
    return [f"{name} at {place_name(answer.scales)}: {knob_text(one)}" for name, one in answer.knobs.items()]
