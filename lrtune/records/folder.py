"""A run folder: one study, one search at a time. records.jsonl mirrors the records in the storage."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from lrtune.errors import InputError, RunFailedError, counted
from lrtune.files import open_handle, read_text, remove_leftovers, write_whole
from lrtune.records.jsonl import RecordsFile, read_records, to_json, write_records
from lrtune.records.record import TrialRecord
from lrtune.study.study import Study, fingerprint
from lrtune.study.toml import load_study, to_toml


def default_folder(study: Study) -> Path:
    """The run folder of a study: its name without characters that a file name cannot contain."""
    return Path("runs") / (re.sub(r"[^\w.+-]+", "-", study.name).strip(".-") or "study")


class RunFolder:
    """The folder of one search. `records` maps trial numbers to the records in records.jsonl."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.records_path = out / "records.jsonl"
        self.study_path = out / "study.toml"
        self.logs = out / "logs"
        self.checkpoints = out / "checkpoints"
        self.records: dict[int, TrialRecord] = {}
        self.has_locks = True
        self._lock: int | None = None
        self._is_new = False

    def open(self, study: Study, mark: str) -> None:
        """Create the folder if needed and lock it.

        Args:
            mark: the fingerprint of `study` with its data.

        Raises:
            InputError: the folder is not writable, another search is using it, or it holds another study.
        """
        for path in (self.logs, self.checkpoints):
            if path.is_symlink():
                raise InputError(f"out: expected no links in {self.out}, but {path.name} is one")
        try:
            self._is_new = not self.out.exists()
            self.out.mkdir(parents=True, exist_ok=True)
            self._lock = open_handle(self.out / ".lock", os.O_RDWR | os.O_CREAT, within=self.out)
        except OSError as error:
            raise InputError(f"out: cannot write to {self.out}: {error.strerror}; choose another --out") from None
        if not self._lock_file():
            holder = read_text(self.out / ".lock", within=self.out, most=64, errors="replace").strip() or "?"
            raise InputError(
                f"out: another search (process {holder}) is using {self.out}; wait for it, choose another --out, "
                "or join it with `lrtune worker`"
            )
        self._refuse_another_study(study, mark)
        remove_leftovers(self.out)

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints of trials that cannot be resumed."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def try_lock(self) -> bool:
        """Lock the folder if it is writable; False if another search holds the lock."""
        try:
            self._lock = open_handle(self.out / ".lock", os.O_RDWR | os.O_CREAT, within=self.out)
        except OSError:
            return True
        return self._lock_file()

    def _lock_file(self) -> bool:
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            return False
        except OSError:  # the file system has no locks; the storage also admits only one search
            self.has_locks = False
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        return True

    def _refuse_another_study(self, study: Study, mark: str) -> None:
        try:
            kept = read_text(self.out / ".fingerprint", within=self.out, most=1000, errors="replace").strip()
        except FileNotFoundError:
            kept = None
        except OSError as error:
            self.close()
            raise InputError(f"out: cannot read {error.filename}: {error.strerror}") from None
        if kept is None:
            kept = next((record.fingerprint for record in self.read().records if record.fingerprint), None)
        if kept is not None and kept != mark:
            self.close()
            raise InputError(
                f"out: {self.out} holds another study ({self._difference(study)}); choose another --out, or remove it"
            )

    def _difference(self, study: Study) -> str:
        """The settings in which the folder's study differs from `study`."""
        try:
            other = load_study(self.study_path, within=self.out)
        except InputError:
            return "cannot read its study.toml"
        names = ("trainer", "command", "options", "steps", "report_every", "seed", "pruner", "pruning", "maximize")
        changed = [name for name in names if getattr(other, name) != getattr(study, name)]
        if not changed or fingerprint(other) == fingerprint(study):
            return "the trainer's data differ"
        return ", ".join(f"{name} was {getattr(other, name)!r:.60}" for name in changed[:3])

    def settle(self, study: Study, mark: str) -> None:
        """Write the files that identify the study, and forget why an earlier search ended."""
        (self.out / "ending.json").unlink(missing_ok=True)
        self.write("study.toml", to_toml(study))
        self.write(".fingerprint", mark + "\n")

    def write(self, name: str, content: str) -> None:
        """Write a file of the folder atomically.

        Raises:
            RunFailedError: the disk is full or the folder is read-only.
        """
        try:
            write_whole(self.out / name, content)
        except OSError as error:
            raise RunFailedError(f"{self.out / name}: cannot write it: {error.strerror}{_advice(error)}") from None

    def read(self) -> RecordsFile:
        """Read records.jsonl; empty if it does not exist."""
        return read_records(self.records_path, within=self.out) if self.records_path.exists() else RecordsFile([], [])

    def project(self, stored: Iterable[TrialRecord], file: RecordsFile) -> list[str]:
        """Replace the content `file` of records.jsonl by `stored` if they differ; returns a line per problem found."""
        notes = [f"records.jsonl, line {number}: {why}; repaired" for number, why in file.bad_lines]
        self.records = {record.trial: record for record in sorted(stored, key=lambda record: record.trial)}
        missing = self.records.keys() - {record.trial for record in file.records}
        if missing and file.records:
            notes.append(f"records.jsonl: restored {counted(len(missing), 'missing record')} from the storage")
        if file.bad_lines or file.records != list(self.records.values()):
            self.write_records()
        return notes

    def write_records(self) -> None:
        """Write all of records.jsonl, in order of trial number."""
        try:
            write_records(self.records_path, self.records.values())
        except OSError as error:
            raise RunFailedError(f"{self.records_path}: {error.strerror}{_advice(error)}") from None

    def append(self, records: Iterable[TrialRecord]) -> None:
        """Append lines to records.jsonl and sync it to disk.

        Raises:
            RunFailedError: the disk is full; the file is restored to its old length.
        """
        fresh = [record for record in records if record.trial not in self.records]
        if not fresh:
            return
        before = self.records_path.stat().st_size if self.records_path.exists() else 0
        try:
            handle = open_handle(self.records_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, within=self.out)
            with os.fdopen(handle, "ab") as file:
                file.write("".join(to_json(record) + "\n" for record in fresh).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self.records_path.exists():
                os.truncate(self.records_path, before)
            raise RunFailedError(f"{self.records_path}: {error.strerror}{_advice(error)}") from None
        self.records.update((record.trial, record) for record in fresh)

    def close(self) -> None:
        """Unlock the folder. Remove it if this search created it and wrote nothing: the search was refused."""
        if self._lock is not None:
            if self._is_new and [path.name for path in self.out.iterdir()] == [".lock"]:
                shutil.rmtree(self.out, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


def _advice(error: OSError) -> str:
    return "; free some space and run the same command again: no record is lost" if error.errno in (28, 27) else ""
