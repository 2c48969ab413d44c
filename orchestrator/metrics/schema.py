"""The SQLite file that holds metric points: opening it and its tables."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from orchestrator.errors import StoreDamaged, StoreError

VERSION = 2
_BUSY_SECONDS = 30.0
_SCHEMA = (
    """CREATE TABLE sources (
        id INTEGER PRIMARY KEY, run TEXT NOT NULL, attempt INTEGER NOT NULL, host TEXT NOT NULL,
        stream TEXT NOT NULL, offset INTEGER NOT NULL DEFAULT 0, lines INTEGER NOT NULL DEFAULT 0,
        rejected INTEGER NOT NULL DEFAULT 0, UNIQUE (run, attempt, host, stream))""",
    # The last point of each series is kept beside it: it is asked for on every page.
    """CREATE TABLE series (
        id INTEGER PRIMARY KEY, run TEXT NOT NULL, name TEXT NOT NULL, source INTEGER,
        position INTEGER, time_us INTEGER, step INTEGER, value REAL, rank INTEGER,
        UNIQUE (run, name))""",
    # A value of NULL is NaN, which SQLite cannot hold.
    """CREATE TABLE points (
        series INTEGER NOT NULL, source INTEGER NOT NULL, position INTEGER NOT NULL,
        time_us INTEGER NOT NULL, step INTEGER, value REAL, rank INTEGER, count REAL, unit TEXT,
        PRIMARY KEY (series, source, position)) WITHOUT ROWID""",
)
# A count of NULL is 1. Neither statement rewrites the table.
_FROM_1 = (
    "ALTER TABLE points ADD COLUMN count REAL",
    "ALTER TABLE points ADD COLUMN unit TEXT",
)


class Database:
    """One writing and some reading connections to the file; usable from any thread.

    Args:
        path: The file; it and its tables are created when something is written first.

    Raises:
        StoreDamaged: From any method, when the file is no database or is corrupt.
        StoreError: From any method, when it cannot be read or written now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._ready = False
        self._closed = False

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction that is committed at the end, or not at all."""
        with self._writing, self._connection() as connection, _transaction(connection):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one state of the file throughout.

        A file that is not there yet is not made for this: making one needs a lock that a process
        which was stopped at that moment would never give back.
        """
        with self._connection() if self._exists() else _empty() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def _exists(self) -> bool:
        return self._ready or self._closed or self._path.exists()

    def close(self) -> None:
        """Close the connections that nobody uses now; the others close when they are returned."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._named_errors():
            connection = self._take()
            healthy = False
            try:
                yield connection
                healthy = True
            finally:
                self._give_back(connection, healthy=healthy)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise StoreError(f"the metrics store must be open, but {self._path} was closed")
            if self._idle:
                return self._idle.pop()
            connection = self._connect()
            if not self._ready:
                _create(connection, self._path)
                self._ready = True
            return connection

    def _give_back(self, connection: sqlite3.Connection, *, healthy: bool) -> None:
        with self._lock:
            if healthy and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -4096")  # 4 MiB
        return connection

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"the metrics in {self._path} must be readable and writable, but SQLite says: "
                f"{error}; free space or check permissions, metrics are then read again from "
                "the logs"
            ) from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # a mistake of ours, not of the file
                raise
            raise StoreDamaged(
                f"the metrics in {self._path} must be a SQLite database, but SQLite says: "
                f"{error}; move the file away, metrics are then read again from the logs"
            ) from error


@contextmanager
def _empty() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        _create_tables(connection)
        yield connection


def _create(connection: sqlite3.Connection, path: Path) -> None:
    try:
        version = _version(connection)
        if version == 0:
            _to_wal(connection)
        if version < VERSION:
            _create_tables(connection)
        _check_version(connection, path)
    except BaseException:
        connection.close()
        raise


def _version(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version != VERSION:
        raise StoreError(
            f"the metrics in {path} must have format {VERSION}, got {version}; use the version of "
            "orchestrator that wrote them, or move the file away"
        )


def _to_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; only one process does, the others find it done.

    SQLite does not wait for a lock here, whatever its timeout, so this takes the write lock
    first where another process is at it.
    """
    for _ in range(100):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            connection.execute("BEGIN IMMEDIATE")  # waits for the other process
            connection.execute("ROLLBACK")
        else:
            return


def _create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables, or bring those of an earlier format up to date."""
    with _transaction(connection):
        version = _version(connection)
        for statement in {0: _SCHEMA, 1: _FROM_1}.get(version, ()):
            connection.execute(statement)
        if version < VERSION:
            connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
