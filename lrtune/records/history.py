"""One row for each run: the last step of a history, the later export of a run exported twice."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lrtune.errors import InputError
from lrtune.records.left_out import LeftOut
from lrtune.records.notation import is_blank, number
from lrtune.study.log import STEP_NAMES

_STEPS = (*STEP_NAMES, "epoch")
_IDS = ("run_id", "runid", "trial_id", "uuid", "id")  # columns that identify a run
_NAMES = ("run", "run_name", "trial", "trial_number", "trial_name", "number", "name")
_DIGITS = 5  # losses of this many digits do not agree by chance
_SHARED = 0.9
_LEAST = 4  # rows of a run that make a history if no column identifies the run


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A row with readable scales and rate.

    Attributes:
        source, place, cells: the position of the row and its cells.
        loss: the number in the loss column, finite or not; None if it holds no number.
        written: the content of the loss cell.
        first: the loss in the run's first row, if it has several.
        stopped_at: the step of the last row, if the run ended before half of the steps of the other runs.
    """

    source: str
    place: str
    cells: Mapping[str, Any]
    scales: Mapping[str, float]
    knobs: Mapping[str, float]
    learning_rate: float
    loss: float | None
    written: Any
    first: float | None = None
    stopped_at: float | None = None

    @property
    def setting(self) -> tuple[float, ...]:
        """Its scales, its rate and its knobs."""
        return (*self.scales.values(), self.learning_rate, *self.knobs.values())


def last_of_each_run(
    readings: Sequence[Reading], names: Sequence[str], used: Iterable[str], seed: str | None, left_out: LeftOut
) -> list[Reading]:
    """One reading for each run.

    Args:
        used: columns with another meaning.
        seed: column that distinguishes repeats of a setting.

    Raises:
        InputError: rows belong to several steps, and no column identifies their runs.
    """
    free = {_plain(name): name for name in reversed(names) if name not in set(used) - {seed}}
    ids = [free[name] for name in (*_IDS, *_NAMES) if name in free]
    kept = _without_copies(readings, ids, left_out)
    step = next((free[name] for name in _STEPS if name in free and _varies(kept, free[name])), None)
    if step is not None:
        kept = _last_steps(kept, step, ids, seed, left_out)
    return _later_exports(kept, [free[name] for name in _IDS if name in free], seed, left_out)


def without_copies_across(parts: Sequence[Sequence[Reading]], counts: Sequence[LeftOut]) -> list[list[Reading]]:
    """Each part without the runs that a later part repeats (same id, or same cells)."""
    later: set[Hashable] = set()
    kept: list[list[Reading]] = []
    for part, left_out in reversed(list(zip(parts, counts, strict=True))):
        keys = [_identities(reading) for reading in part]
        own = [reading for reading, key in zip(part, keys, strict=True) if not key & later]
        if len(own) < len(part):
            left_out.set_aside("runs that another source has too", len(part) - len(own))
        kept.append(own)
        later.update(*keys)
    return kept[::-1]


def _identities(reading: Reading) -> set[Hashable]:
    ids = {_plain(name): value for name, value in reading.cells.items() if _plain(name) in _IDS and not is_blank(value)}
    found: set[Hashable] = {(name, str(value), reading.setting) for name, value in ids.items() if len(str(value)) > 5}
    if _is_precise(reading):
        found.add(_content(reading))
    return found


def _without_copies(readings: Sequence[Reading], ids: Sequence[str], left_out: LeftOut) -> list[Reading]:
    """Drop rows whose cells all equal those of another row."""
    kept: dict[Hashable, Reading] = {}
    for n, reading in enumerate(readings):
        key = _content(reading) if ids or _is_precise(reading) else n
        kept.setdefault(key, reading)
    if len(kept) < len(readings):
        left_out.set_aside("the same row once more", len(readings) - len(kept))
    return list(kept.values())


def _content(reading: Reading) -> Hashable:
    return tuple(sorted((name, str(value)) for name, value in reading.cells.items()))


def _is_precise(reading: Reading) -> bool:
    return len(re.sub(r"[^0-9]|^[-0.]+", "", str(reading.written))) >= _DIGITS


def _last_steps(
    readings: list[Reading], step: str, ids: Sequence[str], seed: str | None, left_out: LeftOut
) -> list[Reading]:
    """The last row with a loss of each run, if the table holds several steps per run."""
    for name in ids:
        groups = _grouped(readings, partial(_cell, name))
        if _are_histories(groups, step):
            break
    else:
        parted = (lambda reading: (*reading.setting, str(reading.cells.get(seed)))) if seed else (lambda r: r.setting)
        groups = _grouped(readings, parted)
        if not _share_steps(groups, step):
            return readings
        if not _are_histories(groups, step):
            raise InputError(
                f"{left_out.source}: several steps (column {step!r}) have the same size and rate, and no column "
                "identifies their run; add a column run_id, or keep the last step of each run with --drop-when"
            )
    last = [_ending(group, step) for group in groups]
    left_out.set_aside(f"earlier rows of a run by column {step!r}", len(readings) - len(last))
    longest: dict[Hashable, float] = {}
    for reading in last:
        place = tuple(reading.scales.values())
        longest[place] = max(longest.get(place, 0.0), _step(reading, step))
    return [
        replace(reading, stopped_at=at)
        if 2 * (at := _step(reading, step)) < longest[tuple(reading.scales.values())]
        else reading
        for reading in last
    ]


def _ending(group: Sequence[Reading], step: str) -> Reading:
    """The last row of a run with a loss, with the run's peak rate and knobs."""
    ordered = sorted(group, key=lambda reading: _step(reading, step))
    last = next((r for r in reversed(ordered) if r.loss is not None or not is_blank(r.written)), ordered[-1])
    peaks = {name: max(reading.knobs[name] for reading in group) for name in last.knobs}
    first = ordered[0].loss if len(ordered) > 1 else None
    return replace(last, learning_rate=max(reading.learning_rate for reading in group), knobs=peaks, first=first)


def _are_histories(groups: Sequence[Sequence[Reading]], step: str) -> bool:
    """Whether each group can be one run (one size, distinct steps), and some have several rows."""
    return any(len(group) > 1 for group in groups) and all(
        len({tuple(r.scales.values()) for r in group}) == 1
        and len({_step(r, step) for r in group}) == len(group)
        and (len({r.learning_rate for r in group}) == 1 or len(group) >= _LEAST)
        for group in groups
    )


def _share_steps(groups: Sequence[Sequence[Reading]], step: str) -> bool:
    """Whether most groups start at the same step and continue to others: histories do, repeats do not."""
    several = [group for group in groups if len({_step(reading, step) for reading in group}) >= _LEAST]
    first = Counter(min(_step(reading, step) for reading in group) for group in several)
    return len(several) >= _SHARED * len(groups) and first.most_common(1)[0][1] >= _SHARED * len(several)


def _later_exports(readings: list[Reading], ids: Sequence[str], seed: str | None, left_out: LeftOut) -> list[Reading]:
    """Keep the last of the rows with the same id, setting and seed."""
    for name in ids:
        last = {
            (str(r.cells.get(name)), *r.setting, str(r.cells.get(seed) if seed else ""))
            if not is_blank(r.cells.get(name))
            else n: r
            for n, r in enumerate(readings)
        }
        settings = {(str(r.cells.get(name)), r.setting) for r in readings}
        if len(last) < len(readings) and len(settings) == len({run for run, _ in settings}):
            left_out.set_aside(f"earlier exports of a run by column {name!r}", len(readings) - len(last))
            return list(last.values())
    return readings


def _grouped(readings: Iterable[Reading], key: Callable[[Reading], Hashable]) -> list[list[Reading]]:
    groups: dict[Hashable, list[Reading]] = defaultdict(list)
    for reading in readings:
        groups[key(reading)].append(reading)
    return list(groups.values())


def _cell(name: str, reading: Reading) -> str:
    return str(reading.cells.get(name))


def _step(reading: Reading, step: str) -> float:
    value = number(reading.cells.get(step))
    return -1.0 if value is None else value


def _varies(readings: Sequence[Reading], name: str) -> bool:
    return len({_step(reading, name) for reading in readings}) > 1


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("/", "_").rpartition(".")[2]
