"""A study's row in the database: its specification for workers, its state, and which search holds it."""

import contextlib
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from lrtune.search.workers.owner import is_gone
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import FIRST_PATIENCE, patiently
from lrtune.search.workers.tables import MEMBERS, STUDIES, TABLES


class StudyRow:
    """One study's row in a database. Every method is one transaction, retried while the database is away."""

    def __init__(self, engine: sa.Engine, study: str) -> None:
        self.engine = engine
        self.study = study
        self.patience = 180.0
        self._watching: sa.PoolProxiedConnection | None = None
        self._version: int | None = None
        now = "(julianday('now') - 2440587.5) * 86400.0"
        self._now = sa.literal_column(
            now if engine.name == "sqlite" else "EXTRACT(EPOCH FROM clock_timestamp())", sa.Double
        )

    def close(self) -> None:
        """Close the connections."""
        self._stop_watching()
        self.engine.dispose()

    def _run(self, statement: sa.Executable, *then: sa.Executable) -> list[Any]:
        """Execute in one transaction; returns the rows of a query, or one row with the count of changed rows.

        Args:
            then: statements to execute only if the first one changed a row.
        """

        def call() -> list[Any]:
            with self.engine.begin() as connection:
                result = connection.execute(statement)
                rows = list(result) if result.returns_rows else [(result.rowcount,)]
                for more in then:
                    if rows[0][0]:
                        connection.execute(more)
                return rows

        return patiently(call, patience=self.patience)

    def _changed(self, statement: sa.Executable, *then: sa.Executable) -> bool:
        return bool(self._run(statement, *then)[0][0])

    def has_news(self) -> bool:
        """Whether the database has changed since the last call; True if unknown.

        SQLite's data_version costs a hundredth of a query, but needs the same connection each time.
        """
        if self.engine.name != "sqlite":
            return True
        try:
            if self._watching is None:
                self._watching = self.engine.raw_connection()
            ((version,),) = self._watching.cursor().execute("PRAGMA data_version").fetchall()
        except Exception:  # the next query reports the error, or retries
            self._stop_watching()
            return True
        last, self._version = self._version, int(version)
        return last != self._version

    def _stop_watching(self) -> None:
        if self._watching is not None:
            with contextlib.suppress(Exception):
                self._watching.close()
        self._watching = self._version = None

    def create(self, spec: StudySpec) -> None:
        """Create the tables and the study's row unless they exist; keeps an existing row."""
        patiently(lambda: TABLES.create_all(self.engine))
        row = {"name": self.study, "spec": spec.to_json(), "fingerprint": spec.fingerprint, "state": "open"}
        self._run(self._insert(STUDIES).values(row).on_conflict_do_nothing())

    def open(self, spec: StudySpec) -> None:
        """Open the study to workers under `spec`; for the search that holds it."""
        opened = sa.update(STUDIES).where(STUDIES.c.name == self.study)
        self._run(opened.values(spec=spec.to_json(), state="open"))
        self._run(sa.delete(MEMBERS).where(MEMBERS.c.study == self.study))  # reported to an earlier search

    def _insert(self, table: sa.Table) -> Any:
        """The database's INSERT with an ON CONFLICT clause."""
        return (sqlite.insert if self.engine.name == "sqlite" else postgresql.insert)(table)

    def spec(self) -> StudySpec | None:
        """The study's specification for workers, or None without such a study."""
        rows = self._own_row(STUDIES.c.spec)
        return StudySpec.from_json(rows[0][0]) if rows else None

    def fingerprint(self) -> str | None:
        """The study's fingerprint, or None without such a study."""
        rows = self._own_row(STUDIES.c.fingerprint)
        return str(rows[0][0]) if rows else None

    def _own_row(self, column: sa.Column[Any]) -> list[Any]:
        """A column of the study's row; empty without tables. The first contact with a storage, so it waits less."""
        has_tables = patiently(lambda: sa.inspect(self.engine).has_table(STUDIES.name), patience=FIRST_PATIENCE)
        return self._run(sa.select(column).where(STUDIES.c.name == self.study)) if has_tables else []

    def is_anothers(self) -> bool:
        """Whether Optuna's tables hold a study of this name from another program."""
        if self.fingerprint() is not None or not patiently(lambda: sa.inspect(self.engine).has_table("studies")):
            return False
        names = sa.table("studies", sa.column("study_name"))
        return bool(self._run(sa.select(names.c.study_name).where(names.c.study_name == self.study)))

    def state(self) -> tuple[str, float | None]:
        """``open``, ``stopping`` or ``done``, and the search's last heartbeat, by the database's clock."""
        rows = self._run(sa.select(STUDIES.c.state, STUDIES.c.planner_renewed).where(STUDIES.c.name == self.study))
        return (str(rows[0][0]), rows[0][1]) if rows else ("done", None)

    def set_state(self, state: str) -> None:
        self._run(sa.update(STUDIES).where(STUDIES.c.name == self.study).values(state=state))

    def hold(self, planner: str, silence: float) -> str | None:
        """Take or keep the study for this search; returns the name of another search that holds it."""
        free = sa.or_(
            STUDIES.c.planner.is_(None),
            STUDIES.c.planner == planner,
            sa.func.abs(self._now - STUDIES.c.planner_renewed) > silence,  # abs: the clock may be set back
        )
        take = sa.update(STUDIES).where(STUDIES.c.name == self.study, free)
        if self._changed(take.values(planner=planner, planner_renewed=self._now)):
            return None
        rows = self._run(sa.select(STUDIES.c.planner).where(STUDIES.c.name == self.study))
        holder = str(rows[0][0])
        if is_gone(holder):
            drop = sa.update(STUDIES).where(STUDIES.c.name == self.study, STUDIES.c.planner == holder)
            self._run(drop.values(planner=None))
            return self.hold(planner, silence)
        return holder

    def let_go(self, planner: str, state: str) -> None:
        """Release the study."""
        mine = sa.update(STUDIES).where(STUDIES.c.name == self.study, STUDIES.c.planner == planner)
        self._run(mine.values(planner=None, state=state))
