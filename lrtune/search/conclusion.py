"""How a search ends: the law through its records, written where `get_learning_rate` looks for it."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from lrtune.errors import LrtuneError
from lrtune.records.record import TrialRecord
from lrtune.study.study import Study
from lrtune.study.task import LR_FLOOR

if TYPE_CHECKING:
    from lrtune.rule.ask import Rule

_LOST_AT_THE_LOWEST = 5


def fit_rule(records: Sequence[TrialRecord], study: Study) -> tuple["Rule | None", str]:
    """The law through the records, or None and why there is none."""
    from lrtune.law.fit import fit_law

    scales = ("hidden_size", *(name for name, values in study.scales.items() if len(values) > 1))
    try:
        runs = [record for record in records if record.arm is None]
        fit = fit_law(runs, scales=scales)
    except LrtuneError as error:
        return None, str(error)
    return fit.rule, fit.reason


def write_rule(rule: "Rule", out: Path, *, everywhere: bool) -> None:
    """Write rule.json into the run folder and as ./lrtune-rule.json, whose former self is kept as .bak."""
    from lrtune.rule.ask import save_rule

    save_rule(rule, out / "rule.json")
    if everywhere:
        save_rule(rule, "lrtune-rule.json", backup=True)


def hopeless(records: Sequence[TrialRecord]) -> str | None:
    """Why no rate can help: runs diverge or collapse even at the lowest there is, and none has ever finished."""
    lowest = [record for record in records if record.learning_rate < 2 * LR_FLOOR]
    if len(lowest) < _LOST_AT_THE_LOWEST or any(record.status == "finished" for record in records):
        return None
    return (
        f"trainer: no run finished, and {len(lowest)} did not even at {lowest[-1].learning_rate:.3g}, the lowest rate "
        f"that is tried (the last: {lowest[-1].status}, {lowest[-1].reason}); lrtune check-trainer looks at its losses"
    )


def places(study: Study) -> list[tuple[int, dict[str, float]]]:
    """Every width with every combination of the other scales: what a search must train at least once each."""
    values = [[(name, value) for value in column] for name, column in study.scales.items()]
    return [(width, dict(combination)) for width in study.widths for combination in product(*values)]


def shortfall(study: Study, records: Sequence[TrialRecord], workers: int) -> str:
    """What a spent budget was too small for, and the least that makes sense; nothing where every size was trained."""
    every = places(study)
    tried = [(record.hidden_size, dict(record.scales)) for record in records]
    missing = sum(place not in tried for place in every)
    if not missing:
        return ""
    text = f" before {missing} of {len(every)} sizes had a run that ended; the least that makes sense is one for each"
    if not records:
        return text
    per_step = max(record.facts.tokens_per_step or 0 for record in records)
    if study.budget.tokens is not None and per_step:
        least = len(every) * study.steps * per_step
        return f"{text}, {least:,.0f} tokens, better {3 * least:,.0f}"
    seconds = len(every) * max(record.seconds for record in records) / workers
    return f"{text}, {seconds:.0f} s by the slowest so far, better {3 * seconds:.0f} s"
