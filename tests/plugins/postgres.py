"""A private PostgreSQL server for the session, and a database of its own for each test. Mark tests `postgres`.

The server runs as a user without rights when the tests run as root, which PostgreSQL refuses; it listens on a free loopback port and can
be stopped, restarted and killed by a test.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.setup import apt

START_SECONDS = 30


def program(name: str) -> str:
    """Path of one of PostgreSQL's programs."""
    path = apt.find_program(name)
    assert path is not None, f"PostgreSQL has {name}"
    return path


def unprivileged() -> tuple[int, int] | None:
    """User and group to run the server as, or None where this user may."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    return 65534, 65534


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class PostgresServer:
    """One cluster on a loopback port."""

    folder: Path
    port: int

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        """Address of a database for SQLAlchemy."""
        return f"postgresql+psycopg://tests@127.0.0.1:{self.port}/{database}"

    def run(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as the server's user."""
        user, group = unprivileged() or (None, None)
        with (self.folder / "tool.log").open("ab") as log:
            result = subprocess.run(
                [program(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                check=False,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )
        if result.returncode != 0:
            text = (self.folder / "tool.log").read_text(errors="replace")
            raise RuntimeError(f"{name} ended with {result.returncode}:\n{text[-3000:]}")

    def initialise(self) -> None:
        """Make the cluster; trust is enough on a loopback port of a test."""
        self.run("initdb", "-D", str(self.data), "-U", "tests", "-A", "trust", "-E", "UTF8", "-N")
        settings = (
            f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
            "max_connections = 200\n"
        )
        with (self.data / "postgresql.conf").open("a", encoding="ascii") as file:
            file.write(settings)

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        log = str(self.folder / "server.log")
        self.run(
            "pg_ctl", "-D", str(self.data), "-l", log, "-w", "-t", str(START_SECONDS), "start"
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop: `fast` cuts connections and flushes, `immediate` is a crash."""
        self.run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        """Stop and start; every open connection is cut."""
        self.stop(mode)
        self.start()

    def running(self) -> bool:
        """Whether the server's process is there."""
        return (self.data / "postmaster.pid").exists()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server. A test that stops it must start it again."""
    # Not under pytest's own folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-postgres-", dir="/tmp"))
    try:
        if (owner := unprivileged()) is not None:
            os.chown(folder, *owner)
        server = PostgresServer(folder, free_port())
        server.initialise()
        server.start()
        yield server
        if server.running():
            server.stop("immediate")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Address (`postgresql+psycopg://...`) of an empty database that is dropped after the test."""
    name = f"test_{uuid.uuid4().hex}"
    connection = ("-h", "127.0.0.1", "-p", str(postgres_server.port), "-U", "tests")
    postgres_server.run("createdb", *connection, name)
    yield postgres_server.url(name)
    postgres_server.run("dropdb", "--force", *connection, name)
