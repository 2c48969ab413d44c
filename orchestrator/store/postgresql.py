"""PostgreSQL: sessions, retries over restarts of the server.

``synchronous_commit`` plays the part of SQLite's ``synchronous``: on for durable transactions,
off for the rest (a crash of the server may take those back; it never mixes their order).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

from orchestrator.store import failures
from orchestrator.store.engine import Database, T

RETRY_SECONDS = 30.0
IDLE_SECONDS = 10
"""A client that stops in a transaction (SIGSTOP, a cut cable) loses it, and its locks with it."""
_CONNECTING = {
    "connect_timeout": 10,
    "application_name": "orchestrator",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server that has vanished without a word is noticed, so that the transaction is tried again."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class PostgresqlDatabase(Database):
    """A database on a server, by a ``postgresql://`` URL.

    Args:
        url: As psycopg takes it, without a driver suffix.
        retry_seconds: How long a transaction is tried again while the server is away.
        before_sync: Called before each durable commit.
    """

    is_sqlite = False

    def __init__(
        self,
        url: str,
        *,
        retry_seconds: float = RETRY_SECONDS,
        before_sync: Callable[[], None] | None = None,
    ) -> None:
        self._retry_seconds = retry_seconds
        self._before_sync = before_sync
        address = url.partition("://")[2]
        self._engine = create_engine(
            f"postgresql+psycopg://{address}",
            pool_size=4,
            max_overflow=28,
            pool_use_lifo=True,
            connect_args=_CONNECTING,
        )
        self._engine.dialect.use_insertmanyvalues_wo_returning = True  # many rows, one statement
        event.listen(self._engine, "do_executemany", _step_by_step)
        event.listen(self._engine, "connect", _limit_idle_transactions)
        self._reads = self._engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a snapshot; a cut in the middle is an error."""
        try:
            with self._reads.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise failures.postgresql_error(error) from error

    def ask(self, work: Callable[[Connection], T]) -> T:
        """Read from one snapshot, again while the server is away."""
        return self._retried(lambda _: self._asked(work))

    def _asked(self, work: Callable[[Connection], T]) -> T:
        with self._reads.connect() as connection:
            return work(connection)

    def write(self, work: Callable[[Connection, bool], T], *, durable: bool) -> T:
        """Run one transaction, again while the server is away."""
        return self._retried(lambda again: self._once(work, durable, again))

    def _once(self, work: Callable[[Connection, bool], T], durable: bool, again: bool) -> T:
        with self._engine.begin() as connection:
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            result = work(connection, again)
            if durable and self._before_sync is not None:
                self._before_sync()
        return result

    def _retried(self, attempt: Callable[[bool], T]) -> T:
        deadline = time.monotonic() + self._retry_seconds
        pause = _FIRST_PAUSE_SECONDS
        again = False
        while True:
            try:
                return attempt(again)
            except DBAPIError as error:
                out_of_time = time.monotonic() + pause > deadline
                if out_of_time or not failures.is_worth_a_retry(error):
                    raise failures.postgresql_error(error) from error
            again = True
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()


def _limit_idle_transactions(raw: Any, _: object) -> None:
    raw.execute(f"SET idle_in_transaction_session_timeout = {IDLE_SECONDS * 1000}")
    raw.commit()


def _step_by_step(cursor: Any, statement: str, rows: Iterable[Any], _: object) -> bool:
    """Send one statement after the other.

    psycopg would send them as a pipeline, in the middle of which the server's limit on idle
    transactions does not work: a client that stops there would keep its locks for ever.
    """
    for row in rows:
        cursor.execute(statement, row)
    return True
