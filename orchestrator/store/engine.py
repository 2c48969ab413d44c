"""What the rows' code needs of a database: read and write transactions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


class Database(ABC):
    """Opens transactions, retries and translates errors. Thread-safe."""

    is_sqlite: bool

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """Return a transaction that sees one moment of the database and changes nothing."""

    def ask(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in such a transaction; like a write, it is tried again where that helps."""
        with self.read() as connection:
            return work(connection)

    @abstractmethod
    def write(self, work: Callable[[Connection, bool], T], *, durable: bool) -> T:
        """Run ``work`` in a transaction and commit it.

        Args:
            work: Gets the connection, and whether an earlier try may have been committed without
                our hearing of it.
            durable: Return only when the commit survives a power cut.
        """

    @abstractmethod
    def close(self) -> None:
        """Close all connections. Idempotent."""

    def backup(self, keep: int) -> Path | None:  # noqa: ARG002
        """Write a copy beside the database; None where the server does that."""
        return None

    def check(self) -> None:  # noqa: B027 - a server looks after itself
        """Read everything once.

        Raises:
            StoreDamaged: The database is corrupt.
        """
