"""One database, one home directory: services that do not share it are refused at start.

Logs, artifacts and sources lie in the home directory, the state in the database. Two services on
one database must therefore see the same home, and a home's job folders belong to one database.
A home whose own store is gone is refused as well.
The random id in the home's ``storage-id`` and in the store's fact ``storage_id`` ties them.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from orchestrator.errors import InvalidSpec, NotFound, StoreDamaged
from orchestrator.store.failures import newest_backup

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.store.base import Store

STORAGE_FILE = "storage-id"
"""The id, and in a second line that a database has taken it."""
STORAGE_FACT = "storage_id"
SQLITE_FILE = "store.sqlite3"
TAKEN = "taken"


def check_shared(store: Store, home: Path) -> None:
    """Tie a database and a home together, or check that they are. Idempotent, also at once.

    The home's id is written first and never changes; then the database takes it.

    Raises:
        InvalidSpec: The database belongs to another home, or the home to another database.
    """
    known = _known(store)
    own, is_taken = _read(home)
    if is_taken and known is None:
        known = _known(store)  # another service may have been at it
        if known is None:
            raise _other_database(home)
    if own is None and known is None:
        own, is_taken = _make(home)
    if own is not None:
        known = store.meta(STORAGE_FACT, own)
    if own is None or own != known:
        raise _other_home(home, own, known)
    if not is_taken:
        _replace(home, f"{own}\n{TAKEN}\n")


def check_unshared(home: Path) -> None:
    """Check that a home that is opened without a database is not one of a database.

    Raises:
        InvalidSpec: Its jobs are in a database.
    """
    if (home / STORAGE_FILE).exists():
        raise InvalidSpec(
            f"a home with a {STORAGE_FILE} must be opened with its database, got no URL for "
            f"{home}; set ORCHESTRATOR_DATABASE_URL as for its services"
        )


def check_not_lost(home: Path) -> None:
    """Check that a home whose store is missing or empty is new: it must not forget its jobs.

    Several processes may make a new home at once: jobs run only after the store was filled, so
    what they leave is looked for before the store is looked at for good.

    Raises:
        StoreDamaged: Jobs have run here, or there are backups.
    """
    path = home / SQLITE_FILE
    if not _is_missing(path):
        return
    newest = newest_backup(path)
    if (newest is None and not _has_jobs(home)) or not _is_missing(path):
        return
    remedy = "there is no backup"
    if newest is not None:
        remedy = f"stop all that use it and copy the newest backup, {newest}, to {path}"
    raise StoreDamaged(
        f"the state store must be there where jobs have run, {path} is missing or empty; {remedy}. "
        f"To start with an empty one on purpose, move {home / 'jobs'} and {home / 'backups'} away "
        "once nothing runs any more, or use another home (--home or ORCHESTRATOR_HOME)"
    )


def _is_missing(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _has_jobs(home: Path) -> bool:
    return next((home / "jobs").glob("*/attempts"), None) is not None


def _known(store: Store) -> str | None:
    try:
        return store.meta(STORAGE_FACT)
    except NotFound:
        return None


def _read(home: Path) -> tuple[str | None, bool]:
    path = home / STORAGE_FILE
    try:
        lines = path.read_text("ascii").splitlines()
    except FileNotFoundError:
        return None, False
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{path} must be readable text, got: {error}; restore it") from error
    return (lines[0] if lines else ""), TAKEN in lines


def _make(home: Path) -> tuple[str | None, bool]:
    """Give the home an id, unless another service is doing so."""
    if (home / SQLITE_FILE).exists():
        raise InvalidSpec(
            f"a home with jobs of its own ({SQLITE_FILE}) cannot be given to a database, got "
            f"{home}; use a new directory (--home or ORCHESTRATOR_HOME)"
        )
    partial = _partial(home, secrets.token_hex(16) + "\n")
    try:
        (home / STORAGE_FILE).hardlink_to(partial)
    except FileExistsError:
        pass  # its id counts
    finally:
        partial.unlink()
    return _read(home)


def _replace(home: Path, text: str) -> None:
    _partial(home, text).replace(home / STORAGE_FILE)


def _partial(home: Path, text: str) -> Path:
    path = home / f".{STORAGE_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    with path.open("x", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path


def _other_database(home: Path) -> InvalidSpec:
    return InvalidSpec(
        f"the home of a new database must be new too, {home} belongs to another database; set "
        "ORCHESTRATOR_DATABASE_URL to that one, or ORCHESTRATOR_HOME to a new directory"
    )


def _other_home(home: Path, own: str | None, known: str | None) -> InvalidSpec:
    return InvalidSpec(
        "all services of one database must share one home directory (logs and artifacts are "
        f"there): the database has {STORAGE_FACT} {known}, {home} has {own or 'none'}; mount the "
        "other services' home here and name it with --home or ORCHESTRATOR_HOME, or use another "
        "database"
    )
