"""The best over a swept setting that is neither a scale nor a knob: at each size and rate, one of its values counts."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from lrtune.errors import InputError, plain
from lrtune.fields import unknown_key
from lrtune.records.left_out import LeftOut
from lrtune.records.notation import number
from lrtune.records.outcome import Run
from lrtune.records.record import TrialRecord
from lrtune.records.rounded import rounded

_T = TypeVar("_T")
_FEW = 4  # values of a setting that any sweep may have


@dataclass(frozen=True)
class _Candidate(Generic[_T]):
    """One run of those that compete.

    Attributes:
        place: its scales.
        others: what the runs that compete have in common.
        values: of the settings, as written.
        loss: infinite if it did not finish.
    """

    run: _T
    place: Mapping[str, float]
    others: Hashable
    values: tuple[str, ...]
    loss: float


def best_runs(
    runs: Sequence[Run], over: Sequence[str], maximize: bool, left_out: LeftOut, lines: list[str]
) -> list[Run]:
    """The runs of a table at each size and rate whose settings have the best mean loss; adds to `lines` what was best.

    Raises:
        InputError: a setting is continuous, or no size and rate has two settings to choose from.
    """
    found = []
    for run in runs:
        finite = math.inf if run.status != "finished" or run.loss is None else -run.loss if maximize else run.loss
        values = tuple(str(run.reading.cells.get(column)) for column in over)
        found.append(_Candidate(run, run.reading.scales, run.reading.setting, values, finite))
    remedies = [f"what was searched continuously is a knob: --knob NAME={plain(column)}" for column in over]
    kept = _best(found, over, remedies, lines)
    if len(kept) < len(runs):
        left_out.set_aside(f"not the best over {', '.join(over)}", len(runs) - len(kept))
    return kept


def best_records(records: Sequence[TrialRecord], over: Sequence[str], lines: list[str]) -> list[TrialRecord]:
    """The same for records of lrtune; a setting is a scale, a knob, an option of the run, or a condition.

    Raises:
        InputError: no record has such a setting; or as for `best_runs`.
    """
    records = rounded(records, {name for record in records for name in record.scales})
    known = {name for record in records for name in _settings(record)}
    for name in over:
        if not known:
            raise InputError(f"--minimize-over {name:.60}: expected a setting of the records, but they have none")
        if name not in known:
            raise InputError(unknown_key("--minimize-over", name, known))
    found = []
    for record in records:
        if record.status != "failed":
            rest = without(record, over)
            others = (*sorted(rest.place.items()), record.learning_rate, *sorted(rest.knobs.items()))
            values = tuple(str(_settings(record).get(name)) for name in over)
            finite = record.loss if record.status == "finished" and record.loss is not None else math.inf
            found.append(_Candidate(record, rest.place, others, values, finite))
    kinds = ["knob" if name in records[0].knobs else "scale" for name in over]
    kept = _best(found, over, [f"the law has it as a {kind} without this flag" for kind in kinds], lines)
    lines.append(f"set aside, not the best over {', '.join(over)}: {len(records) - len(kept)} records")
    return kept


def without(record: TrialRecord, names: Iterable[str]) -> TrialRecord:
    """The record without these scales and knobs."""
    gone = set(names)
    scales = {name: value for name, value in record.scales.items() if name not in gone}
    return replace(record, scales=scales, knobs={n: value for n, value in record.knobs.items() if n not in gone})


def _settings(record: TrialRecord) -> dict[str, object]:
    return {**record.facts.conditions, **record.options, **record.scales, **record.knobs}


def _best(found: Sequence[_Candidate[_T]], over: Sequence[str], remedies: Sequence[str], lines: list[str]) -> list[_T]:
    """The runs of the best settings; `remedies` say what to do about a setting that is continuous."""
    for i, name in enumerate(over):
        _refuse_continuous(name, [each.values[i] for each in found], remedies[i])
    groups: dict[Hashable, dict[tuple[str, ...], list[_Candidate[_T]]]] = defaultdict(lambda: defaultdict(list))
    for each in found:
        groups[each.others][each.values].append(each)
    if found and all(len(settings) < 2 for settings in groups.values()):
        raise InputError(
            f"--minimize-over {plain(', '.join(over))}: expected several values at one size and rate, but each has "
            "one; a setting that changes with the rate cannot be separated from the rate, unless as --knob"
        )

    def mean(group: Sequence[_Candidate[_T]]) -> float:
        losses = [each.loss for each in group if math.isfinite(each.loss)]
        return sum(losses) / len(losses) if losses else math.inf

    best = [min(settings.values(), key=mean) for settings in groups.values()]
    lowest = [group[0] for group in sorted(best, key=mean)]
    lines += [_moved(name, [(each.place, each.values[i]) for each in lowest]) for i, name in enumerate(over)]
    return [each.run for group in best for each in group]


def _refuse_continuous(name: str, values: Sequence[str], remedy: str) -> None:
    """Refuse a setting most of whose values occur once: nothing repeats it at another rate."""
    distinct = set(values)
    if len(distinct) > max(_FEW, len(values) / 2) and all(number(value) is not None for value in distinct):
        raise InputError(
            f"--minimize-over {plain(name)}: expected a few values, each at several rates, but got {len(distinct)} in "
            f"{len(values)} runs; {remedy}"
        )


def _moved(name: str, best: Sequence[tuple[Mapping[str, float], str]]) -> str:
    """The value of the best run at each place: ``best wd: 0.1 at hidden_size 64, 128; 0.03 at 256``.

    `best` holds places and values, those of the lowest loss first.
    """
    at: dict[tuple[tuple[str, float], ...], str] = {}
    for where, value in best:
        at.setdefault(tuple(where.items()), value)
    places: dict[str, list[str]] = defaultdict(list)
    for place in sorted(at):
        places[at[place]].append(", ".join(f"{scale} {value:g}" for scale, value in place))
    if len(places) == 1:
        return f"best {name}: {next(iter(places))} at every size"
    return f"best {name}: " + "; ".join(f"{value} at {', '.join(names)}" for value, names in places.items())
