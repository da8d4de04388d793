"""The lease table: which worker holds which trial. Claims are atomic: one conditional UPDATE.

A trial's row goes ``queued → running → done → told``, or from ``queued`` to ``cancelled``. A worker claims a queued
row, renews it during training, and writes the record into it. Only the study's one search adds rows, releases those of
silent workers, and passes records to the Optuna study, the source of truth. Records stay in their rows, because workers
compare runs of one width. The pair (owner, attempt) is a fencing token: a worker that lost a row cannot write to it, so
a trial completes once, however often it starts. During training, the worker appends its reports to a second table.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from lrtune.search.workers.study_row import StudyRow
from lrtune.search.workers.tables import LEASES, MEMBERS, REPORTS
from lrtune.study.task import Task
from lrtune.trainer.trial import Report

_COLUMNS = tuple(LEASES.c[name] for name in ("trial", "attempt", "owner", "peers", "task", "renewed", "progress"))


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One row: a trial and its worker.

    Attributes:
        renewed: time of the last renewal, by the database's clock.
        last: the last report that the worker saved.
    """

    trial: int
    attempt: int
    owner: str
    peers: str
    task: Task
    renewed: float = 0.0
    last: Report | None = None


class Leases(StudyRow):
    """The leases of one study in a database, and the study's row. Every method is one transaction."""

    def __init__(self, engine: sa.Engine, study: str) -> None:
        super().__init__(engine, study)
        self._mine = LEASES.c.study == study

    # For workers

    def claim(self, owner: str) -> list[Lease]:
        """Claim a queued trial for this owner, if there is one; trials with the fewest attempts come first."""
        return self._take(owner, LEASES.c.trial == self._queued().limit(1).scalar_subquery())

    def claim_peers(self, lease: Lease, count: int) -> list[Lease]:
        """Claim up to `count` more queued trials of the group of `lease` for its owner."""
        if count < 1:
            return []
        peers = self._queued().where(LEASES.c.peers == lease.peers)
        return self._take(lease.owner, LEASES.c.trial.in_(peers.limit(count)))

    def _queued(self) -> sa.Select[Any]:
        c = LEASES.c
        queued = sa.select(c.trial).where(self._mine, c.state == "queued").order_by(c.attempt, c.trial)
        return queued.with_for_update(skip_locked=True)

    def _take(self, owner: str, chosen: sa.ColumnElement[bool]) -> list[Lease]:
        c = LEASES.c
        taken = {"state": "running", "owner": owner, "attempt": c.attempt + 1, "renewed": self._now}
        take = sa.update(LEASES).where(self._mine, c.state == "queued", chosen).values(taken)
        return [_lease(row) for row in self._run(take.returning(*_COLUMNS))]

    def report_members(self, peers: str, members: int) -> None:
        """Report to the search how many trials of a group a worker trains at once."""
        row = {"study": self.study, "peers": _short(peers), "members": members}
        stated = self._insert(MEMBERS).values(row)
        self._run(stated.on_conflict_do_update(index_elements=["study", "peers"], set_={"members": members}))

    def renew(self, owner: str) -> set[int]:
        """Renew the leases of `owner`; returns the trials that it still holds."""
        mine = sa.update(LEASES).where(self._mine, LEASES.c.state == "running", LEASES.c.owner == owner)
        rows = self._run(mine.values(renewed=self._now).returning(LEASES.c.trial))
        return {int(row[0]) for row in rows}

    def _held(self, lease: Lease) -> sa.Update:
        c = LEASES.c
        held = (c.trial == lease.trial, c.state == "running", c.owner == lease.owner, c.attempt == lease.attempt)
        return sa.update(LEASES).where(self._mine, *held)

    def append(self, lease: Lease, reports: Sequence[Report], texts: Mapping[str, str]) -> bool:
        """Append reports and texts to those of a trial; False if the owner has lost the trial.

        A repeat after a lost answer appends them twice, which means the same (see `Attempt`).
        """
        rows = [(report.step, report.loss, report.diversity, dict(report.numbers)) for report in reports]
        last = {"progress": json.dumps((*rows[-1][:3], {}))} if rows else {}
        held = self._held(lease).values(renewed=self._now, **last)
        part = {"study": self.study, "trial": lease.trial, "reports": json.dumps(rows), "texts": json.dumps(texts)}
        return self._changed(held, sa.insert(REPORTS).values(part))

    def appended(self, trial: int) -> Iterator[tuple[list[Report], dict[str, str]]]:
        """The reports and texts of a trial as its workers appended them."""
        c = REPORTS.c
        of_trial = (c.study == self.study, c.trial == trial)
        for reports, texts in self._run(sa.select(c.reports, c.texts).where(*of_trial).order_by(c.id)):
            yield [Report(*row) for row in json.loads(reports)], json.loads(texts)

    def forget(self, lease: Lease) -> None:
        """Delete the reports of a trial that its owner starts again."""
        self._changed(self._held(lease).values(progress=None), self._delete_reports(lease.trial))

    def _delete_reports(self, trial: int) -> sa.Delete:
        return sa.delete(REPORTS).where(REPORTS.c.study == self.study, REPORTS.c.trial == trial)

    def finish(self, lease: Lease, result: str) -> bool:
        """Store the record, as JSON, and delete the trial's reports; False if the owner has lost the trial."""
        done = self._held(lease).values(state="done", result=result, progress=None)
        if self._changed(done, self._delete_reports(lease.trial)):
            return True
        # A first try may have succeeded without its answer arriving.
        c = LEASES.c
        same = (c.trial == lease.trial, c.owner == lease.owner, c.attempt == lease.attempt, c.state != "running")
        rows = self._run(sa.select(c.result).where(self._mine, *same))
        return bool(rows) and rows[0][0] == result

    def release(self, lease: Lease, *, counted: bool = False) -> bool:
        """Return a trial to the queue; unless `counted`, the attempt does not count."""
        attempt = LEASES.c.attempt - (0 if counted else 1)
        return self._changed(self._held(lease).values(state="queued", owner=None, attempt=attempt))

    def results(self, peers: str, unlike: Sequence[int] = ()) -> list[tuple[int, str]]:
        """The records of one group's trials, except those in `unlike`."""
        c = LEASES.c
        return self._results(c.state.in_(("done", "told")), c.peers == peers, c.trial.not_in(list(unlike)))

    def _results(self, *conditions: sa.ColumnElement[bool]) -> list[tuple[int, str]]:
        c = LEASES.c
        rows = self._run(sa.select(c.trial, c.result).where(self._mine, *conditions).order_by(c.trial))
        return [(int(trial), str(result)) for trial, result in rows]

    # For the search

    def members(self) -> list[int]:
        """How many trials workers train at once: one number per group, ascending."""
        c = MEMBERS.c
        rows = self._run(sa.select(c.members).where(c.study == self.study).order_by(c.members))
        return [int(row[0]) for row in rows]

    def add(self, trial: int, task: Task) -> None:
        """Queue a trial; one that has a row keeps it."""
        row = {"state": "queued", "attempt": 0, "peers": task.group, "task": json.dumps(asdict(task))}
        self._run(self._insert(LEASES).values(study=self.study, trial=trial, **row).on_conflict_do_nothing())

    def running(self) -> list[Lease]:
        """The running trials."""
        return self._leases("running")

    def waiting(self) -> list[Lease]:
        """The trials that wait for a worker, with the last report of earlier attempts."""
        return self._leases("queued")

    def _leases(self, state: str) -> list[Lease]:
        rows = self._run(sa.select(*_COLUMNS).where(self._mine, LEASES.c.state == state).order_by(LEASES.c.trial))
        return [_lease(row) for row in rows]

    def cancel(self, trial: int) -> bool:
        """Cancel a waiting trial; False if a worker already has it."""
        row = (LEASES.c.trial == trial, LEASES.c.state == "queued")
        return self._changed(sa.update(LEASES).where(self._mine, *row).values(state="cancelled"))

    def put_in(self, trial: int, result: str) -> None:
        """Store the record of an unfinished trial that did not come from a worker."""
        row = (LEASES.c.trial == trial, LEASES.c.state.in_(("queued", "running", "cancelled")))
        done = sa.update(LEASES).where(self._mine, *row).values(state="done", result=result, progress=None)
        self._run(done, self._delete_reports(trial))

    def done(self) -> list[tuple[int, str]]:
        """The workers' records that the Optuna study lacks."""
        return self._results(LEASES.c.state == "done")

    def told(self, trial: int, result: str | None = None) -> None:
        """Mark a record as stored in Optuna and the records file, or replace an unreadable one by `result`."""
        row = sa.update(LEASES).where(self._mine, LEASES.c.trial == trial, LEASES.c.state == "done")
        self._run(row.values({"state": "told"} if result is None else {"result": result}))

    def ended(self) -> list[tuple[int, str]]:
        """All records from workers."""
        return self._results(LEASES.c.state.in_(("done", "told")))

    def states(self) -> dict[int, str]:
        """The state of every trial with a row: ``queued``, ``running``, ``done``, ``told`` or ``cancelled``."""
        rows = self._run(sa.select(LEASES.c.trial, LEASES.c.state).where(self._mine))
        return {int(trial): str(state) for trial, state in rows}


def _short(peers: str) -> str:
    """A hash of a group's name, short enough for a key in every database."""
    return hashlib.sha256(peers.encode()).hexdigest()


def _lease(row: Any) -> Lease:
    trial, attempt, owner, peers, task, renewed, progress = row
    return Lease(
        trial=int(trial),
        attempt=int(attempt),
        owner=str(owner),
        peers=str(peers),
        task=Task(**json.loads(task)),
        renewed=float(renewed or 0.0),
        last=_last(progress),
    )


def _last(progress: str | None) -> Report | None:
    """The last report of a row; None in a row of an earlier version, which held all of them."""
    row = json.loads(progress) if progress else None
    return Report(*row) if isinstance(row, list) else None
