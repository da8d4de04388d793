"""The best over a swept setting that is neither a scale nor a knob: at each size and rate, one of its values counts."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from lrtune.errors import InputError, plain
from lrtune.fields import unknown_key
from lrtune.records.left_out import LeftOut
from lrtune.records.notation import number
from lrtune.records.outcome import Run
from lrtune.records.record import TrialRecord

_T = TypeVar("_T")
_FEW = 4  # values of a setting that any sweep may have


@dataclass(frozen=True)
class _Read(Generic[_T]):
    """How to read runs of one kind.

    Attributes:
        place: the scales.
        others: what runs that compete have in common.
        value: of a setting, as written.
        loss: infinite if the run did not finish.
        remedy: what to do about a setting that is continuous.
    """

    place: Callable[[_T], Mapping[str, float]]
    others: Callable[[_T], Hashable]
    value: Callable[[_T, str], str]
    loss: Callable[[_T], float]
    remedy: Callable[[str], str]


def best_runs(
    runs: Sequence[Run], over: Sequence[str], maximize: bool, left_out: LeftOut, lines: list[str]
) -> list[Run]:
    """The runs of a table at each size and rate whose settings have the best mean loss; adds to `lines` what was best.

    Raises:
        InputError: a setting is continuous, or no size and rate has two settings to choose from.
    """

    def loss(run: Run) -> float:
        finished = run.status == "finished" and run.loss is not None
        return math.inf if not finished or run.loss is None else -run.loss if maximize else run.loss

    read = _Read[Run](
        place=lambda run: run.reading.scales,
        others=lambda run: run.reading.setting,
        value=lambda run, column: str(run.reading.cells.get(column)),
        loss=loss,
        remedy=lambda column: f"what was searched continuously is a knob: --knob NAME={plain(column)}",
    )
    kept = _best(runs, over, read, lines)
    if len(kept) < len(runs):
        left_out.set_aside(f"not the best over {', '.join(over)}", len(runs) - len(kept))
    return kept


def best_records(records: Sequence[TrialRecord], over: Sequence[str], lines: list[str]) -> list[TrialRecord]:
    """The same for records of lrtune; a setting is a scale, a knob, an option of the run, or a condition.

    Raises:
        InputError: no record has such a setting; or as for `best_runs`.
    """
    known = {name for record in records for name in _settings(record)}
    for name in over:
        if not known:
            raise InputError(f"--minimize-over {name:.60}: expected a setting of the records, but they have none")
        if name not in known:
            raise InputError(unknown_key("--minimize-over", name, known))

    def place(record: TrialRecord) -> dict[str, float]:
        return {"hidden_size": record.hidden_size, **without(record, over).scales}

    read = _Read[TrialRecord](
        place=place,
        others=lambda record: (
            *sorted(place(record).items()),
            record.learning_rate,
            *sorted(without(record, over).knobs.items()),
        ),
        value=lambda record, name: str(_settings(record).get(name)),
        loss=lambda r: r.loss if r.status == "finished" and r.loss is not None else math.inf,
        remedy=lambda name: f"the law has it as a {'knob' if name in records[0].knobs else 'scale'} without this flag",
    )
    kept = _best([record for record in records if record.status != "failed"], over, read, lines)
    lines.append(f"set aside, not the best over {', '.join(over)}: {len(records) - len(kept)} records")
    return kept


def without(record: TrialRecord, names: Iterable[str]) -> TrialRecord:
    """The record without these scales and knobs."""
    gone = set(names)
    scales = {name: value for name, value in record.scales.items() if name not in gone}
    return replace(record, scales=scales, knobs={n: value for n, value in record.knobs.items() if n not in gone})


def _settings(record: TrialRecord) -> dict[str, object]:
    return {**record.facts.conditions, **record.options, **record.scales, **record.knobs}


def _best(runs: Sequence[_T], over: Sequence[str], read: _Read[_T], lines: list[str]) -> list[_T]:
    for name in over:
        _refuse_continuous(name, [read.value(run, name) for run in runs], read.remedy(name))
    groups: dict[Hashable, dict[tuple[str, ...], list[_T]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        groups[read.others(run)][tuple(read.value(run, name) for name in over)].append(run)
    if runs and all(len(settings) < 2 for settings in groups.values()):
        raise InputError(
            f"--minimize-over {plain(', '.join(over))}: expected several values at one size and rate, but each has "
            "one; a setting that changes with the rate cannot be separated from the rate, unless as --knob"
        )

    def mean(group: Sequence[_T]) -> float:
        losses = [loss for run in group if math.isfinite(loss := read.loss(run))]
        return sum(losses) / len(losses) if losses else math.inf

    best = [min(settings.values(), key=mean) for settings in groups.values()]
    lines += [_moved(name, sorted(best, key=mean), read) for name in over]
    return [run for group in best for run in group]


def _refuse_continuous(name: str, values: Sequence[str], remedy: str) -> None:
    """Refuse a setting most of whose values occur once: nothing repeats it at another rate."""
    distinct = set(values)
    if len(distinct) > max(_FEW, len(values) / 2) and all(number(value) is not None for value in distinct):
        raise InputError(
            f"--minimize-over {plain(name)}: expected a few values, each at several rates, but got {len(distinct)} in "
            f"{len(values)} runs; {remedy}"
        )


def _moved(name: str, best: Sequence[Sequence[_T]], read: _Read[_T]) -> str:
    """The value of the best run at each place: ``best wd: 0.1 at hidden_size 64, 128; 0.03 at 256``.

    Args:
        best: runs of one place and setting each, those of the lowest loss first.
    """
    at: dict[tuple[tuple[str, float], ...], str] = {}
    for group in best:
        at.setdefault(tuple(read.place(group[0]).items()), read.value(group[0], name))
    places: dict[str, list[str]] = defaultdict(list)
    for place in sorted(at):
        names = ", ".join(f"{scale} {value:g}" for scale, value in place)
        places[at[place]].append(names)
    if len(places) == 1:
        return f"best {name}: {next(iter(places))} at every size"
    return f"best {name}: " + "; ".join(f"{value} at {', '.join(where)}" for value, where in places.items())
