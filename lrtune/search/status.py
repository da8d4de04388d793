"""How a run stands: its records checked against its storage, without starting anything."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lrtune.errors import InputError, redact
from lrtune.records.folder import RunFolder
from lrtune.records.jsonl import RecordsFile, from_json, read_records
from lrtune.records.record import TrialRecord
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.storage import normalise, open_engine, sqlite_url
from lrtune.study.study import Study
from lrtune.study.toml import load_study


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a run stands.

    Attributes:
        out, study: the folder and the study in it.
        records: by trial number.
        counts: records by status.
        waiting, running: trials that wait for a worker, that one has.
        searching: whether a search is at work in the folder now.
        missing: trials that the storage has a record of and records.jsonl had not.
        unknown: trials that records.jsonl has and the storage does not know.
        changed: trials whose record differs between the two.
        bad_lines: lines of records.jsonl that are no records, each with its reason.
        repaired: whether records.jsonl was written anew from the storage.
        storage: where the trials are, without a password; empty where it could not be looked at.
        why_no_storage: why not.
    """

    out: Path
    study: Study
    records: Mapping[int, TrialRecord]
    counts: Mapping[str, int]
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
    best: Mapping[int, TrialRecord] = field(default_factory=dict)

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
        for width, record in sorted(self.best.items()):
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
            lines.append("records.jsonl was written anew from the storage")
        return lines


def status(run: Path, *, storage: str | None = None, repair: bool = True) -> Status:
    """Check a run's records against its storage.

    Args:
        run: the run folder.
        storage: the URL that the search was given, where that was not the folder's own file.
        repair: write records.jsonl anew where it lacks records or has bad lines and no search is at work.

    Raises:
        InputError: this is no run folder, or the storage cannot be opened.
    """
    if not (run / "study.toml").is_file():
        raise InputError(f"run: expected the folder of a search, but {run} has no study.toml")
    study = load_study(run / "study.toml", within=run)
    path = run / "records.jsonl"
    file = read_records(path, within=run) if path.exists() else RecordsFile([], [])
    found = {record.trial: record for record in file.records}
    folder = RunFolder(run)
    searching = not folder.try_lock()
    try:
        url, why = _url(run, storage)
        if url is None:
            return _status(run, study, found, file, searching=searching, why_no_storage=why)
        stored, waiting, running = _stored(url, study.name)
        if stored is None:
            why = f"{redact(url)} has no study named {study.name!r}"
            return _status(run, study, found, file, searching=searching, why_no_storage=why)
        missing = tuple(sorted(stored.keys() - found.keys()))
        changed = tuple(sorted(n for n in stored.keys() & found.keys() if stored[n] != found[n]))
        unknown = tuple(sorted(found.keys() - stored.keys()))
        mend = repair and not searching and bool(missing or changed or file.bad_lines)
        whole = {**found, **stored}
        if mend:
            folder.repair(whole.values())
        return _status(
            run,
            study,
            whole,
            file,
            searching=searching,
            waiting=waiting,
            running=running,
            missing=missing,
            unknown=unknown,
            changed=changed,
            repaired=mend,
            storage=redact(url),
        )
    finally:
        folder.close()


def _stored(url: str, name: str) -> tuple[dict[int, TrialRecord] | None, int, int]:
    """The records that a storage has of a study, and how many trials wait and run; None where it has no such study."""
    leases = Leases(open_engine(url), name)
    try:
        if leases.spec() is None:
            return None, 0, 0
        stored = {number: from_json(result) for number, result in leases.ended()}
        return stored, len(leases.waiting()), len(leases.running())
    finally:
        leases.close()


def _status(run: Path, study: Study, records: Mapping[int, TrialRecord], file: RecordsFile, **more: object) -> Status:
    best: dict[int, TrialRecord] = {}
    for record in records.values():
        if record.status == "finished" and record.loss is not None and record.arm is None:
            known = best.get(record.hidden_size)
            if known is None or known.loss is None or record.loss < known.loss:
                best[record.hidden_size] = record
    fixed = {"out": run, "study": study, "records": dict(sorted(records.items())), "best": best}
    counts = Counter(record.status for record in records.values())
    return Status(**{**fixed, "counts": dict(counts), "bad_lines": tuple(file.bad_lines), **more})  # type: ignore[arg-type]


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
