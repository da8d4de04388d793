"""The status of a run: compares its records with its storage, and starts nothing."""

import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lrtune.errors import InputError, RunFailedError, counted, redact
from lrtune.records.folder import RunFolder
from lrtune.records.jsonl import from_json
from lrtune.records.record import TrialRecord
from lrtune.records.tally import best_by_place
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.storage import normalise, open_to_read, sqlite_url
from lrtune.study.knob import beside
from lrtune.study.study import Study
from lrtune.study.task import place_name
from lrtune.study.toml import load_study


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status of a run.

    Attributes:
        out, study: the folder and its study.
        records: by trial number.
        waiting, running: numbers of waiting and running trials.
        searching: whether a search is running in the folder.
        missing: trials with a record in the storage only.
        unknown: trials with a record in records.jsonl only.
        changed: trials with different records in the two.
        bad_lines: invalid lines of records.jsonl, each as its number and the reason.
        repaired: whether records.jsonl was rewritten from the storage.
        storage: the storage's URL without its password; empty if it was not read.
        why_no_storage: why it was not read.
    """

    out: Path
    study: Study
    records: Mapping[int, TrialRecord]
    waiting: int = 0
    running: int = 0
    searching: bool = False
    missing: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    bad_lines: tuple[tuple[int, str], ...] = ()
    repaired: bool = False
    storage: str = ""
    why_no_storage: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Number of records by status."""
        return dict(Counter(record.status for record in self.records.values()))

    @property
    def best(self) -> list[TrialRecord]:
        """The finished record with the lowest loss at each width and other scales, without arms."""
        return best_by_place(record for record in self.records.values() if record.arm is None)

    @property
    def is_whole(self) -> bool:
        """Whether records.jsonl agreed with the storage."""
        return not (self.missing or self.unknown or self.changed or self.bad_lines)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items())) or "none yet"
        lines = [f"study {self.study.name} in {self.out}", f"  trials: {counts}"]
        if self.waiting or self.running:
            lines.append(f"  {self.waiting} waiting, {self.running} running")
        lines.append(f"  {'a' if self.searching else 'no'} search is running here")
        for record in self.best:
            name, best = "measure" if record.maximize else "loss", beside(f"{record.learning_rate:.3g}", record.knobs)
            lines.append(f"  {place_name(record.place)}: best so far {best} ({name} {record.measure:.5g})")
        lines += [f"  {line}" for line in self.problems()]
        return "\n".join(lines)

    def problems(self) -> list[str]:
        """The differences between records and storage, one line each."""
        lines = [f"records.jsonl, line {number}: {why}" for number, why in self.bad_lines]
        for numbers, what in (
            (self.missing, "in the storage only"),
            (self.unknown, "in records.jsonl only"),
            (self.changed, "other than in the storage"),
        ):
            if numbers:
                trials = "trial" if len(numbers) == 1 else "trials"
                lines.append(f"{counted(len(numbers), 'record')} {what}: {trials} {_some(numbers)}")
        if self.why_no_storage:
            lines.append(f"cannot check the records: {self.why_no_storage}")
        elif not lines:
            lines.append("records.jsonl and the storage agree")
        if self.repaired:
            lines.append("records.jsonl was rewritten from the storage")
        return lines


def status(run: Path, *, storage: str | None = None, repair: bool = True) -> Status:
    """Compare a run's records with its storage, which this only reads.

    Args:
        run: the run folder; it may be read-only.
        storage: the search's ``--storage`` URL; None for the file in the folder.
        repair: whether to rewrite a records.jsonl with missing records or bad lines, unless a search is running.

    Raises:
        InputError: this is not a run folder, or the storage cannot be read.
    """
    if not (run / "study.toml").is_file():
        raise InputError(f"{run}: expected the folder of a search, with study.toml in it")
    study = load_study(run / "study.toml", within=run)
    folder = RunFolder(run)
    is_writable = os.access(run, os.W_OK)
    searching = is_writable and not folder.try_lock()
    try:
        file = folder.read()
        found = Status(
            out=run,
            study=study,
            records={record.trial: record for record in file.records},
            bad_lines=tuple(file.bad_lines),
            searching=searching,
        )
        if storage is not None:
            found = _compared(found, normalise(storage))
        elif (run / "study.db").is_file():
            found = _compared(found, sqlite_url(run))
        else:
            return replace(found, why_no_storage="the storage is not in this folder; give its URL with --storage")
        if not found.storage or found.is_whole or searching or not repair or not is_writable:
            return found
        folder.project(found.records.values(), file)
        return replace(found, repaired=True)
    finally:
        folder.close()


def _compared(found: Status, url: str) -> Status:
    """The status of records.jsonl compared with the storage, whose records replace those of the file."""
    name, file = found.study.name, found.records
    leases = Leases(open_to_read(url), name)
    try:
        if leases.spec() is None:
            return replace(found, why_no_storage=f"{redact(url)} has no study named {name!r}")
        stored = {}
        for number, result in leases.ended():
            with contextlib.suppress(InputError):  # the next search fails this trial
                stored[number] = from_json(result)
        return replace(
            found,
            records=dict(sorted({**file, **stored}.items())),
            waiting=len(leases.waiting()),
            running=len(leases.running()),
            missing=tuple(sorted(stored.keys() - file.keys())),
            changed=tuple(sorted(n for n in stored.keys() & file.keys() if stored[n] != file[n])),
            unknown=tuple(sorted(file.keys() - stored.keys())),
            storage=redact(url),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"storage: cannot read study {name!r} in {redact(url)}: {error!s:.200}") from None
    except RunFailedError as error:
        raise InputError(str(error)) from None
    finally:
        leases.close()


def _some(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown + (", …" if len(numbers) > 8 else "")
