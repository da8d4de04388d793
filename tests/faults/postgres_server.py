"""Servers that the fault suite starts for itself, and takes down again."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Postgres:
    """A PostgreSQL server of this test's own."""

    binaries: Path
    data: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://lrtune:s3cret-word@127.0.0.1:{self.port}/lrtune"

    def control(self, *arguments: str) -> None:
        _as_nobody([str(self.binaries / "pg_ctl"), "-D", str(self.data), "-w", *arguments])

    def start(self) -> None:
        self.control("start", "-l", str(self.data / "log"), "-o", f"-p {self.port} -k {self.data} -h 127.0.0.1 -F")

    def sql(self, statement: str, database: str = "lrtune") -> list[tuple[object, ...]]:
        """Run one statement as the server's own administrator."""
        import psycopg

        where = {"host": str(self.data), "port": self.port, "user": "postgres", "dbname": database}
        with psycopg.connect(**where, autocommit=True) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []


def _as_nobody(command: list[str]) -> None:
    """PostgreSQL refuses to be run by root."""
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    # To a file, not through a pipe: a server that this starts keeps its end of a pipe open.
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=60)
        said.seek(0)
        assert done.returncode == 0, f"{command}: {said.read()}"


def _binaries() -> Path | None:
    candidates = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    candidates += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'lrtune[cluster]'")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    # Sockets have short paths, and root's temporary folders are closed to the user that runs the server.
    data = Path(tempfile.mkdtemp(prefix="lrtune-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(data, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _as_nobody([str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-N"])
    server = Postgres(binaries, data, port)
    server.start()
    try:
        server.sql("CREATE USER lrtune PASSWORD 's3cret-word'", "postgres")
        server.sql("CREATE DATABASE lrtune OWNER lrtune", "postgres")
        yield server
    finally:
        server.control("stop", "-m", "immediate")
        shutil.rmtree(data, ignore_errors=True)
