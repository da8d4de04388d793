"""How a run stands: its records checked against its storage, without starting anything."""

import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lrtune.errors import InputError, RunFailedError, redact
from lrtune.records.folder import RunFolder
from lrtune.records.jsonl import from_json
from lrtune.records.record import TrialRecord
from lrtune.records.tally import best_by_size
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.storage import normalise, open_to_read, sqlite_url
from lrtune.study.study import Study
from lrtune.study.toml import load_study


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a run stands.

    Attributes:
        out, study: the folder and the study in it.
        records: by trial number.
        waiting, running: trials that wait for a worker, that one has.
        searching: whether a search is at work in the folder now.
        missing: trials that the storage has a record of and records.jsonl had not.
        unknown: trials that records.jsonl has and the storage does not know.
        changed: trials whose record differs between the two.
        bad_lines: lines of records.jsonl that are no records, each with its reason.
        repaired: whether records.jsonl was rewritten from the storage.
        storage: where the trials are, without a password; empty where it could not be looked at.
        why_no_storage: why not.
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
        """Records by how they ended."""
        return dict(Counter(record.status for record in self.records.values()))

    @property
    def best(self) -> dict[int, TrialRecord]:
        """The finished record with the lowest loss of each width, arms left out."""
        return best_by_size(record for record in self.records.values() if record.arm is None)

    @property
    def is_whole(self) -> bool:
        """Whether records.jsonl said what the storage says."""
        return not (self.missing or self.unknown or self.changed or self.bad_lines)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items())) or "none yet"
        lines = [f"study {self.study.name} in {self.out}", f"  trials: {counts}"]
        if self.waiting or self.running:
            lines.append(f"  {self.waiting} waiting, {self.running} running")
        lines.append(f"  a search is {'' if self.searching else 'not '}at work here")
        for width, record in self.best.items():
            lines.append(f"  hidden {width}: best so far {record.learning_rate:g} (loss {record.loss:.4f})")
        lines += [f"  {line}" for line in self.problems()]
        return "\n".join(lines)

    def problems(self) -> list[str]:
        """What is wrong between records and storage, one line each."""
        lines = [f"records.jsonl, line {number}: {why}" for number, why in self.bad_lines]
        for name, what in (("missing", "in the storage only"), ("unknown", "in records.jsonl only")):
            numbers = getattr(self, name)
            if numbers:
                lines.append(f"{len(numbers)} records {what}: trials {_some(numbers)}")
        if self.changed:
            lines.append(f"{len(self.changed)} records differ from the storage: trials {_some(self.changed)}")
        if self.why_no_storage:
            lines.append(f"records were not checked: {self.why_no_storage}")
        elif not lines:
            lines.append("records.jsonl and the storage agree")
        if self.repaired:
            lines.append("records.jsonl was rewritten from the storage")
        return lines


def status(run: Path, *, storage: str | None = None, repair: bool = True) -> Status:
    """Check a run's records against its storage. The storage is only read.

    Args:
        run: the run folder; it may be read-only.
        storage: the URL that the search was given, where that was not the folder's own file.
        repair: rewrite records.jsonl where it lacks records or has bad lines and no search is at work.

    Raises:
        InputError: this is no run folder, or the storage cannot be read.
    """
    if not (run / "study.toml").is_file():
        raise InputError(f"run: expected the folder of a search, but {run} has no study.toml")
    study = load_study(run / "study.toml", within=run)
    folder = RunFolder(run)
    is_writable = os.access(run, os.W_OK)
    searching = is_writable and not folder.try_lock()
    try:
        file = folder.read()
        url, why = _url(run, storage)
        stored = None if url is None else _stored(url, study.name)
        if url is not None and stored is None:
            why = f"{redact(url)} has no study named {study.name!r}"
        found = Status(
            out=run,
            study=study,
            records={record.trial: record for record in file.records},
            bad_lines=tuple(file.bad_lines),
            searching=searching,
            why_no_storage=why,
        )
        if url is None or stored is None:
            return found
        checked = _check(found, stored, redact(url))
        if checked.is_whole or searching or not repair or not is_writable:
            return checked
        folder.project(checked.records.values(), file)
        return replace(checked, repaired=True)
    finally:
        folder.close()


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What a storage holds of a study."""

    records: Mapping[int, TrialRecord]
    waiting: int
    running: int


def _check(found: Status, stored: _Stored, where: str) -> Status:
    """The status with what the storage says; its records stand in place of those of records.jsonl."""
    known, held = found.records, stored.records
    return replace(
        found,
        records=dict(sorted({**known, **held}.items())),
        waiting=stored.waiting,
        running=stored.running,
        missing=tuple(sorted(held.keys() - known.keys())),
        changed=tuple(sorted(n for n in held.keys() & known.keys() if held[n] != known[n])),
        unknown=tuple(sorted(known.keys() - held.keys())),
        storage=where,
    )


def _stored(url: str, name: str) -> _Stored | None:
    """What a storage holds of a study; None where it has no such study."""
    leases = Leases(open_to_read(url), name)
    try:
        if leases.spec() is None:
            return None
        records = {}
        for number, result in leases.ended():
            with contextlib.suppress(InputError):  # the next search fails this trial
                records[number] = from_json(result)
        return _Stored(records=records, waiting=len(leases.waiting()), running=len(leases.running()))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"storage: cannot read study {name!r} in {redact(url)}: {error!s:.200}") from None
    except RunFailedError as error:
        raise InputError(str(error)) from None
    finally:
        leases.close()


def _url(run: Path, storage: str | None) -> tuple[str | None, str]:
    """The URL to look at, or None and why there is none."""
    if storage is not None:
        return normalise(storage), ""
    if (run / "study.db").is_file():
        return sqlite_url(run), ""
    return None, "the storage is not in this folder; give its URL with --storage"


def _some(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown + (", …" if len(numbers) > 8 else "")
