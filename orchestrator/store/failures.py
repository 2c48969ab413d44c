"""Driver errors -> this package's errors: rule, value, remedy."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from orchestrator.errors import LimitExceeded, OrchestratorError, StoreDamaged, StoreError

_ALMOST_FULL_BYTES = 128 * 1024
_RETRYABLE_STATES = frozenset({"40001", "40P01", "55P03"})  # serialisation, deadlock, lock timeout
_CONNECTION_CLASSES = frozenset({"08", "57"})


class RowRefused(StoreError):
    """The database refused a value or broke a constraint: the request's fault, not its state."""


def sqlite_error(
    error: DBAPIError | sqlite3.Error, path: Path, busy_timeout_seconds: float
) -> OrchestratorError:
    """Return what an SQLite error means.

    Args:
        error: As the driver raised it, or as SQLAlchemy wrapped that.
        path: The database file, for the messages.
        busy_timeout_seconds: How long the write lock was waited for.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    name = getattr(cause, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return busy(path, busy_timeout_seconds)
    if name == "SQLITE_FULL" or (_is_io(name) and _is_full(path)):
        return LimitExceeded(
            f"the state store needs free disk space, {path.parent} has none left; free some and "
            "try again (nothing was changed)"
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreDamaged(damaged(path, str(cause)))
    if _is_refusal(error):
        return RowRefused(f"the state store refused a row: {cause}")
    return StoreError(
        f"the state store must be readable and writable, {path}: {cause}; check its owner, "
        "the disk and the limit of open files"
    )


def busy(path: Path, seconds: float) -> StoreError:
    """Return the error for a write lock that somebody keeps."""
    return StoreError(
        f"the state store is written by one process at a time, another one has held {path} for "
        f"{seconds:g} s; try again, or end that process (nothing was changed)"
    )


def damaged(path: Path, finding: str) -> str:
    """Return the message for a corrupt file; it names the newest backup."""
    newest = newest_backup(path)
    remedy = (
        "there is no backup; move the file away, and jobs/ beside it, to start with an empty store"
        if newest is None
        else f"stop all that use it and copy the newest backup, {newest}, over it"
    )
    return (
        f"the state store must be a sound SQLite database, {path} is damaged ({finding}); {remedy}"
    )


def postgresql_error(error: DBAPIError) -> OrchestratorError:
    """Return what a PostgreSQL error means."""
    state = getattr(error.orig, "sqlstate", None) or ""
    if state == "53100":
        return LimitExceeded(
            "the state store needs free disk space, the database server has none left; free some "
            "and try again (nothing was changed)"
        )
    if state in {"XX001", "XX002"}:
        return StoreDamaged(
            f"the state store must be a sound database: {error.orig}; restore a backup"
        )
    if _is_refusal(error):
        return RowRefused(f"the state store refused a row: {error.orig}")
    return StoreError(
        f"the state store must be reachable: {str(error.orig).strip()}; check that the database "
        "server runs and try again"
    )


def is_worth_a_retry(error: DBAPIError) -> bool:
    """Return whether a PostgreSQL transaction may simply be run again."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # no answer from the server at all
        return not _is_refusal(error)
    return state in _RETRYABLE_STATES or state[:2] in _CONNECTION_CLASSES


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, IntegrityError | DataError)


def _is_io(name: str) -> bool:
    return name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN"))


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _ALMOST_FULL_BYTES
    except OSError:
        return False


def backup_directory(path: Path) -> Path:
    """Return where backups of a database file are kept."""
    return path.parent / "backups"


def backups(path: Path) -> list[Path]:
    """Return all backups of a database file, oldest first."""
    return sorted(backup_directory(path).glob(f"{path.stem}-*{path.suffix}"))


def newest_backup(path: Path) -> Path | None:
    """Return the newest backup of a database file."""
    return next(reversed(backups(path)), None)
