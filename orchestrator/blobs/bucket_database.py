"""The SQLite file of the buckets: its tables, its readers, and one writer that commits for many."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any, TypeVar, cast

from orchestrator.errors import (
    InputError,
    LimitExceeded,
    OrchestratorError,
    StoreDamaged,
    StoreError,
)
from orchestrator.group_commit import GroupCommit

T = TypeVar("T")

BUSY_SECONDS = 30.0
CACHE_KIB = 8 * 1024
IDLE_READERS = 8
SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY,
    created REAL NOT NULL
) WITHOUT ROWID;
-- Keys are UTF-8 bytes: their order is S3's.
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL REFERENCES buckets (name),
    key BLOB NOT NULL,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified REAL NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_content ON objects (content, kind);
-- A file of a few bytes costs as many syncs as a large one; these share the row's commit.
CREATE TABLE IF NOT EXISTS small (
    content TEXT PRIMARY KEY,
    data BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL REFERENCES buckets (name),
    key BLOB NOT NULL,
    begun REAL NOT NULL,
    facts TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_by_key ON uploads (bucket, key, id);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    checksums TEXT NOT NULL,
    modified REAL NOT NULL,
    file TEXT NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
"""

Work = Callable[[sqlite3.Connection], Any]


class BucketDatabase:
    """Opened when first used; safe for threads and processes.

    Args:
        path: The file; made with mode 0600 when absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._writer: sqlite3.Connection | None = None
        self._idle: LifoQueue[sqlite3.Connection] = LifoQueue(IDLE_READERS)
        self._commits: GroupCommit[Work, Any] = GroupCommit(self._commit)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; each statement sees a state of its own, ``snapshot`` one for all."""
        with _translated(self.path):
            try:
                connection = self._idle.get_nowait()
            except Empty:
                self._open_writer()
                connection = self._connect()
            try:
                yield connection
            finally:
                self._give_back(connection)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection whose statements all see the same state."""
        with self.read() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one transaction; it is durable when this returns.

        Raises:
            OrchestratorError: What the work raised; nothing of it was done then.
        """
        return cast("T", self._commits.submit(work))

    def close(self) -> None:
        """Close all connections that are not lent."""
        with self._lock:
            while not self._idle.empty():
                self._idle.get_nowait().close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._idle.full():
            connection.close()
        else:
            self._idle.put(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _open_writer(self) -> sqlite3.Connection:
        with self._lock:
            if self._writer is None:
                self.path.touch(mode=0o600)
                with ExitStack() as undo:
                    connection = self._connect()
                    undo.callback(connection.close)
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = FULL")
                    self._make_tables(connection)
                    undo.pop_all()
                self._writer = connection
            return self._writer

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} must be of this release or older, it is of a newer one; upgrade"
            )
        if version < SCHEMA_VERSION:
            connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )

    def _commit(self, works: Sequence[Work]) -> list[Any]:
        """Run the work of all who wait in one transaction, each in a savepoint of its own."""
        with _translated(self.path):
            connection = self._open_writer()
            connection.execute("BEGIN IMMEDIATE")
            try:
                replies = [_separately(connection, work) for work in works]
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk ends it by itself
                    connection.execute("ROLLBACK")
                raise
            return replies


def _separately(connection: sqlite3.Connection, work: Work) -> Any:
    connection.execute("SAVEPOINT one")
    try:
        reply = work(connection)
    except OrchestratorError as error:
        connection.execute("ROLLBACK TO one")
        reply = error
    connection.execute("RELEASE one")
    return reply


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if type(error) is sqlite3.DatabaseError:
            raise StoreDamaged(f"{path} must be a sound database: {error}") from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise LimitExceeded(
                f"no space is left to write {path}; free some space (`orchestrator gc`) and retry"
            ) from error
        if isinstance(error, sqlite3.OperationalError):
            raise StoreError(f"{path} cannot be used now: {error}; retry") from error
        raise
    except PermissionError as error:
        raise InputError(f"{path} must be accessible: {error.strerror}") from error
