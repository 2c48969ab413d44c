"""SQLite: pragmas, who may write when, backups.

Three kinds of connection: readers (a snapshot each), a writer whose commits survive the death of
the process (``synchronous=NORMAL``) and one whose commits survive a power cut (``FULL``). In WAL
mode a FULL commit also makes every earlier commit durable.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from orchestrator.clock import SystemClock
from orchestrator.errors import StoreDamaged, StoreError
from orchestrator.store import failures, name_blocks
from orchestrator.store.engine import Database, T

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPICursor

    from orchestrator.clock import Clock

BUSY_TIMEOUT_SECONDS = 30.0
_READERS = 4
_MORE_READERS = 60
_CACHE_KIB = 8 * 1024
_PAUSE_SECONDS = 0.02
_OLDEST = (3, 35, 0)  # RETURNING; FTS5 is checked when the tables are made


class SqliteDatabase(Database):
    """One file, any number of processes.

    Args:
        path: The database file; made with mode 0600 when absent.
        busy_timeout_seconds: How long to wait for another writer.
        before_sync: Called before each durable commit; benchmarks put a slow disk there.
    """

    is_sqlite = True

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
        before_sync: Callable[[], None] | None = None,
    ) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreError(
                f"SQLite must be 3.35 or newer, this Python has {sqlite3.sqlite_version}; use a "
                "newer Python"
            )
        self.path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._before_sync = before_sync
        self._turn = Lock()
        self._readers = self._engine("BEGIN", "NORMAL", _READERS, _MORE_READERS)
        self._relaxed = self._engine("BEGIN IMMEDIATE", "NORMAL", 1, 0)
        self._durable = self._engine("BEGIN IMMEDIATE", "FULL", 1, 0)
        self._engines = (self._readers, self._relaxed, self._durable)
        try:
            self._use_wal()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a snapshot; writers do not wait for it, nor it for them."""
        with self._translated(), self._readers.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection, bool], T], *, durable: bool) -> T:
        """Run one transaction; the threads of this process queue for the write lock in order."""
        engine = self._durable if durable else self._relaxed
        if not self._turn.acquire(timeout=self._busy_timeout_seconds):
            raise failures.busy(self.path, self._busy_timeout_seconds)
        try:
            with self._translated(), engine.begin() as connection:
                result = work(connection, False)
                if durable and self._before_sync is not None:
                    self._before_sync()
            return result
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close the pooled connections."""
        for engine in self._engines:
            engine.dispose()

    def backup(self, keep: int) -> Path:
        """Copy the present state beside the database, without stopping writers.

        Args:
            keep: Older copies than these many are removed.
        """
        directory = failures.backup_directory(self.path)
        directory.mkdir(mode=0o700, exist_ok=True)
        stamp = f"{SystemClock().now():%Y%m%d-%H%M%S-%f}"
        target = directory / f"{self.path.stem}-{stamp}{self.path.suffix}"
        partial = target.with_suffix(".partial")
        with self._translated(), self._readers.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("VACUUM INTO ?", (str(partial),))
        partial.chmod(0o600)
        _sync(partial)
        partial.rename(target)
        _sync(directory)
        halves = directory.glob("*.partial")
        for old in [*failures.backups(self.path)[:-keep], *halves]:
            old.unlink(missing_ok=True)
        return target

    def check(self) -> None:
        """Read every page once.

        Raises:
            StoreDamaged: The file is corrupt.
        """
        with self.read() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise StoreDamaged(failures.damaged(self.path, str(found)))

    def _engine(self, begin: str, synchronous: str, size: int, more: int) -> Engine:
        engine = create_engine(
            "sqlite+pysqlite://",
            creator=lambda: self._connect(synchronous),
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=more,
            pool_timeout=self._busy_timeout_seconds,
        )

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        _make_private(self.path)
        raw = sqlite3.connect(
            self.path,
            timeout=self._busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            raw.execute(f"PRAGMA synchronous={synchronous}")
            raw.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        except sqlite3.Error:
            raw.close()  # it may hold a lock, and live as long as somebody looks at the error
            raise
        name_blocks.register_functions(raw)
        return raw

    def _use_wal(self) -> None:
        with self._translated(), closing(self._relaxed.raw_connection()) as raw:
            cursor = raw.cursor()
            when_free(lambda: set_wal(cursor), self._busy_timeout_seconds, SystemClock())
            cursor.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            raise failures.sqlite_error(error, self.path, self._busy_timeout_seconds) from error


def when_free(
    work: Callable[[], None],
    patience_seconds: float,
    clock: Clock,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Do what SQLite refuses at once, whatever its own timeout, while somebody else has the file.

    That is so where a lock is to become a stronger one: two who wait for each other would do so
    for ever.

    Raises:
        sqlite3.OperationalError: It was refused for so long.
    """
    deadline = clock.monotonic() + patience_seconds
    while True:
        try:
            work()
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or clock.monotonic() >= deadline:
                raise
            pause(_PAUSE_SECONDS)
        else:
            return


def set_wal(cursor: DBAPICursor) -> None:
    """Have a file write ahead, unless it does."""
    cursor.execute("PRAGMA journal_mode")
    if cursor.fetchone() != ("wal",):
        cursor.execute("PRAGMA journal_mode=WAL")


def _make_private(path: Path) -> None:
    if path.exists():
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(
            f"the state store must be creatable, {path}: {error.strerror}; make the directory and "
            "check its owner"
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
