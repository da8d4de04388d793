"""The lease table: which worker has which trial. One conditional UPDATE decides every claim.

A trial's row goes ``queued → running → done → told``, or from ``queued`` to ``cancelled``. A worker claims a queued
row, renews it while it trains, and leaves the record in it; only the search (of which a study has one) adds rows,
takes back those whose worker is silent, and tells Optuna's study, which holds the truth. A record stays in its row for
the workers, who compare runs of one width. The pair (owner, attempt) is the fence: a worker that lost a row can no
longer write to it, so a trial is completed once however often it was begun.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from lrtune.search.workers.owner import is_gone
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import patiently

_FIRST_PATIENCE = 10.0
_tables = sa.MetaData()
_studies = sa.Table(
    "lrtune_studies",
    _tables,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("planner", sa.String(255)),
    sa.Column("planner_renewed", sa.Double),
)
_leases = sa.Table(
    "lrtune_leases",
    _tables,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", sa.String(255)),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("renewed", sa.Double),
    sa.Column("peers", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("progress", sa.Text),
    sa.Column("result", sa.Text),
    sa.Index("lrtune_leases_by_state", "study", "state"),
)
_members = sa.Table(
    "lrtune_members",
    _tables,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("peers", sa.String(64), primary_key=True),
    sa.Column("members", sa.Integer, nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One row: a trial, who trains it, and how far it is. `renewed` is when it last was, by the database's clock."""

    trial: int
    attempt: int
    owner: str
    peers: str
    task: Mapping[str, Any]
    renewed: float = 0.0
    progress: Mapping[str, Any] = field(default_factory=dict)


class Leases:
    """The leases of one study in one database. Every method is one transaction, repeated while the database is away."""

    def __init__(self, engine: sa.Engine, study: str) -> None:
        self.engine = engine
        self.study = study
        self.patience = 180.0
        self._watching: sa.PoolProxiedConnection | None = None
        self._version: int | None = None
        self._mine = _leases.c.study == study
        now = "(julianday('now') - 2440587.5) * 86400.0"
        self._now = sa.literal_column(
            now if engine.name == "sqlite" else "EXTRACT(EPOCH FROM clock_timestamp())", sa.Double
        )

    def close(self) -> None:
        """Let the connections go."""
        self._stop_watching()
        self.engine.dispose()

    def _run(self, statement: sa.Executable) -> list[Any]:
        """Execute in a transaction of its own; rows for a query, else one row with the count of changed rows."""

        def call() -> list[Any]:
            with self.engine.begin() as connection:
                result = connection.execute(statement)
                return list(result) if result.returns_rows else [(result.rowcount,)]

        return patiently(call, patience=self.patience)

    def _changed(self, statement: sa.Executable) -> bool:
        return bool(self._run(statement)[0][0])

    def has_news(self) -> bool:
        """Whether anything was written to the database since the last call; True where that cannot be known.

        SQLite tells it for a hundredth of what a query costs, to one and the same connection.
        """
        if self.engine.name != "sqlite":
            return True
        try:
            if self._watching is None:
                self._watching = self.engine.raw_connection()
            ((version,),) = self._watching.cursor().execute("PRAGMA data_version").fetchall()
        except Exception:  # a query will find out what it is, and wait where that helps
            self._stop_watching()
            return True
        known, self._version = self._version, int(version)
        return known != self._version

    def _stop_watching(self) -> None:
        if self._watching is not None:
            with contextlib.suppress(Exception):
                self._watching.close()
        self._watching = self._version = None

    # The study's own row

    def create(self, spec: StudySpec) -> None:
        """Make the tables and the study's row, where there are none; a row that is there stays as it is."""
        patiently(lambda: _tables.create_all(self.engine))
        row = {"name": self.study, "spec": spec.to_json(), "fingerprint": spec.fingerprint, "state": "open"}
        self._run(self._insert(_studies).values(row).on_conflict_do_nothing())

    def open(self, spec: StudySpec) -> None:
        """Have workers work on the study as `spec` says; for the search that holds it."""
        opened = sa.update(_studies).where(_studies.c.name == self.study)
        self._run(opened.values(spec=spec.to_json(), state="open"))
        self._run(sa.delete(_members).where(_members.c.study == self.study))  # reported to an earlier search

    def _insert(self, table: sa.Table) -> Any:
        """An INSERT that can say what happens where the row is there already."""
        return (sqlite.insert if self.engine.name == "sqlite" else postgresql.insert)(table)

    def spec(self) -> StudySpec | None:
        """What a worker needs to know of the study, or None where there is no such study."""
        rows = self._own_row(_studies.c.spec)
        return StudySpec.from_json(rows[0][0]) if rows else None

    def fingerprint(self) -> str | None:
        """The fingerprint that the study was begun with, or None where there is no such study."""
        rows = self._own_row(_studies.c.fingerprint)
        return str(rows[0][0]) if rows else None

    def _own_row(self, column: sa.Column[Any]) -> list[Any]:
        """The study's row, none where there are no tables yet. The first contact with a storage: it is not waited for
        as long as one that was there before."""
        there = patiently(lambda: sa.inspect(self.engine).has_table(_studies.name), patience=_FIRST_PATIENCE)
        return self._run(sa.select(column).where(_studies.c.name == self.study)) if there else []

    def is_anothers(self) -> bool:
        """Whether Optuna's tables hold a study of this name although no search of lrtune began one."""
        if self.fingerprint() is not None or not patiently(lambda: sa.inspect(self.engine).has_table("studies")):
            return False
        names = sa.table("studies", sa.column("study_name"))
        return bool(self._run(sa.select(names.c.study_name).where(names.c.study_name == self.study)))

    def state(self) -> tuple[str, float | None]:
        """``open``, ``stopping`` or ``done``, and when the search last showed itself, by the database's clock."""
        rows = self._run(sa.select(_studies.c.state, _studies.c.planner_renewed).where(_studies.c.name == self.study))
        return (str(rows[0][0]), rows[0][1]) if rows else ("done", None)

    def set_state(self, state: str) -> None:
        self._run(sa.update(_studies).where(_studies.c.name == self.study).values(state=state))

    def hold(self, planner: str, silence: float) -> str | None:
        """Become the study's search, or stay it; returns the name of another one that holds it."""
        free = sa.or_(
            _studies.c.planner.is_(None),
            _studies.c.planner == planner,
            sa.func.abs(self._now - _studies.c.planner_renewed) > silence,  # also of a clock that was set back
        )
        take = sa.update(_studies).where(_studies.c.name == self.study, free)
        if self._changed(take.values(planner=planner, planner_renewed=self._now)):
            return None
        rows = self._run(sa.select(_studies.c.planner).where(_studies.c.name == self.study))
        holder = str(rows[0][0])
        if is_gone(holder):
            drop = sa.update(_studies).where(_studies.c.name == self.study, _studies.c.planner == holder)
            self._run(drop.values(planner=None))
            return self.hold(planner, silence)
        return holder

    def let_go(self, planner: str, state: str) -> None:
        """Stop being the study's search."""
        mine = sa.update(_studies).where(_studies.c.name == self.study, _studies.c.planner == planner)
        self._run(mine.values(planner=None, state=state))

    # A worker's side

    def claim(self, owner: str) -> list[Lease]:
        """One queued trial, now this owner's, or none; trials begun least often come first."""
        return self._take(owner, _leases.c.trial == self._queued().limit(1).scalar_subquery())

    def claim_peers(self, lease: Lease, count: int) -> list[Lease]:
        """Up to `count` more queued trials of the group that `lease` is of, for its owner."""
        if count < 1:
            return []
        peers = self._queued().where(_leases.c.peers == lease.peers)
        return self._take(lease.owner, _leases.c.trial.in_(peers.limit(count)))

    def _queued(self) -> sa.Select[Any]:
        c = _leases.c
        queued = sa.select(c.trial).where(self._mine, c.state == "queued").order_by(c.attempt, c.trial)
        return queued.with_for_update(skip_locked=True)

    def _take(self, owner: str, chosen: sa.ColumnElement[bool]) -> list[Lease]:
        c = _leases.c
        taken = {"state": "running", "owner": owner, "attempt": c.attempt + 1, "renewed": self._now}
        back = (c.trial, c.attempt, c.owner, c.peers, c.task, c.renewed, c.progress)
        take = sa.update(_leases).where(self._mine, c.state == "queued", chosen).values(taken)
        return [_lease(row) for row in self._run(take.returning(*back))]

    def report_members(self, peers: str, members: int) -> None:
        """Tell the search how many trials of a group a worker trains at once."""
        row = {"study": self.study, "peers": _short(peers), "members": members}
        stated = self._insert(_members).values(row)
        self._run(stated.on_conflict_do_update(index_elements=["study", "peers"], set_={"members": members}))

    def renew(self, owner: str) -> set[int]:
        """Show that `owner` is alive; returns the trials that are still its own."""
        mine = sa.update(_leases).where(self._mine, _leases.c.state == "running", _leases.c.owner == owner)
        rows = self._run(mine.values(renewed=self._now).returning(_leases.c.trial))
        return {int(row[0]) for row in rows}

    def _held(self, lease: Lease) -> sa.Update:
        c = _leases.c
        held = (c.trial == lease.trial, c.state == "running", c.owner == lease.owner, c.attempt == lease.attempt)
        return sa.update(_leases).where(self._mine, *held)

    def save_progress(self, lease: Lease, progress: Mapping[str, Any]) -> bool:
        """Keep the curve so far; False when the trial is no longer this owner's."""
        return self._changed(self._held(lease).values(progress=json.dumps(progress), renewed=self._now))

    def finish(self, lease: Lease, result: str) -> bool:
        """Hand in the record, as JSON; False when the trial is no longer this owner's."""
        done = self._held(lease).values(state="done", result=result, progress=None)
        if self._changed(done):
            return True
        # The answer to a first try may have been lost on the way.
        c = _leases.c
        same = (c.trial == lease.trial, c.owner == lease.owner, c.attempt == lease.attempt, c.state != "running")
        rows = self._run(sa.select(c.result).where(self._mine, *same))
        return bool(rows) and rows[0][0] == result

    def release(self, lease: Lease, *, counted: bool = False) -> bool:
        """Put a trial back for the next worker; an attempt that is not `counted` is forgotten."""
        attempt = _leases.c.attempt - (0 if counted else 1)
        return self._changed(self._held(lease).values(state="queued", owner=None, attempt=attempt))

    def results(self, peers: str, unlike: Sequence[int] = ()) -> list[tuple[int, str]]:
        """The records handed in by trials of one group, those in `unlike` left out."""
        c = _leases.c
        ended = sa.select(c.trial, c.result).where(self._mine, c.state.in_(("done", "told")), c.peers == peers)
        return [(int(row[0]), str(row[1])) for row in self._run(ended.where(c.trial.not_in(list(unlike))))]

    # The search's side

    def members(self) -> list[int]:
        """How many trials workers train at once, one number a group, in ascending order."""
        c = _members.c
        rows = self._run(sa.select(c.members).where(c.study == self.study).order_by(c.members))
        return [int(row[0]) for row in rows]

    def add(self, trial: int, peers: str, task: Mapping[str, Any]) -> None:
        """Queue a trial, once: a trial that has a row keeps it."""
        row = {"state": "queued", "attempt": 0, "peers": peers, "task": json.dumps(task)}
        self._run(self._insert(_leases).values(study=self.study, trial=trial, **row).on_conflict_do_nothing())

    def running(self) -> list[Lease]:
        """The trials that a worker has now."""
        c = _leases.c
        columns = (c.trial, c.attempt, c.owner, c.peers, c.task, c.renewed, c.progress)
        rows = self._run(sa.select(*columns).where(self._mine, c.state == "running").order_by(c.trial))
        return [_lease(row) for row in rows]

    def waiting(self) -> list[Lease]:
        """The trials that wait for a worker, with what is known of those that were begun before."""
        c = _leases.c
        columns = (c.trial, c.attempt, c.owner, c.peers, c.task, c.renewed, c.progress)
        rows = self._run(sa.select(*columns).where(self._mine, c.state == "queued").order_by(c.trial))
        return [_lease(row) for row in rows]

    def cancel(self, trial: int) -> bool:
        """Take a waiting trial off the queue; False when a worker has it by now."""
        row = (_leases.c.trial == trial, _leases.c.state == "queued")
        return self._changed(sa.update(_leases).where(self._mine, *row).values(state="cancelled"))

    def put_in(self, trial: int, result: str) -> None:
        """Take a record for an unfinished trial that came on another way than through a worker."""
        row = (_leases.c.trial == trial, _leases.c.state.in_(("queued", "running", "cancelled")))
        self._run(sa.update(_leases).where(self._mine, *row).values(state="done", result=result, progress=None))

    def done(self) -> list[tuple[int, str]]:
        """The records that were handed in and that Optuna's study does not have yet."""
        c = _leases.c
        rows = self._run(sa.select(c.trial, c.result).where(self._mine, c.state == "done").order_by(c.trial))
        return [(int(row[0]), str(row[1])) for row in rows]

    def told(self, trial: int, result: str | None = None) -> None:
        """The record is in Optuna's study and in the records file; `result` stands for one that cannot be read."""
        row = sa.update(_leases).where(self._mine, _leases.c.trial == trial, _leases.c.state == "done")
        self._run(row.values({"state": "told"} if result is None else {"result": result}))

    def ended(self) -> list[tuple[int, str]]:
        """All records that were ever handed in."""
        c = _leases.c
        query = sa.select(c.trial, c.result).where(self._mine, c.state.in_(("done", "told"))).order_by(c.trial)
        return [(int(row[0]), str(row[1])) for row in self._run(query)]

    def states(self) -> dict[int, str]:
        """The state of every trial that has a row: ``queued``, ``running``, ``done``, ``told`` or ``cancelled``."""
        rows = self._run(sa.select(_leases.c.trial, _leases.c.state).where(self._mine))
        return {int(trial): str(state) for trial, state in rows}


def _short(peers: str) -> str:
    """A group's name at a length that every database takes for a key."""
    return hashlib.sha256(peers.encode()).hexdigest()


def _lease(row: Any) -> Lease:
    trial, attempt, owner, peers, task, renewed, progress = row
    return Lease(
        trial=int(trial),
        attempt=int(attempt),
        owner=str(owner),
        peers=str(peers),
        task=json.loads(task),
        renewed=float(renewed or 0.0),
        progress=json.loads(progress) if progress else {},
    )
