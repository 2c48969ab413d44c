"""Brings a database to the tables this program knows.

Alembic is imported only for a database that is neither new nor up to date.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from orchestrator.errors import StoreError
from orchestrator.store import counts, name_blocks, tables
from orchestrator.store.engine import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

CURSOR_KEY = "cursor_key"


def prepare(database: Database) -> None:
    """Make the tables, or upgrade them, unless they are as they should be.

    Raises:
        StoreError: A newer program made them.
    """
    with database.read() as connection:
        if _is_current(connection, database):
            return
    database.write(_prepare, durable=True)


def _is_current(connection: Connection, database: Database) -> bool:
    return _revision(connection, database.is_sqlite) == tables.REVISION


def _prepare(connection: Connection, _: bool) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:  # two replicas may start at once
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7262353)")
    revision = _revision(connection, is_sqlite)
    if revision == tables.REVISION:
        return
    if revision is not None:
        _upgrade(connection, revision)
        return
    if not is_sqlite:
        tables.complete_for_postgresql()
    tables.METADATA.create_all(connection, checkfirst=False)
    tables.create_name_search(connection)
    fill_new(connection)
    connection.exec_driver_sql(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.exec_driver_sql(
        f"INSERT INTO alembic_version (version_num) VALUES ('{tables.REVISION}')"  # noqa: S608
    )


def fill_new(connection: Connection) -> None:
    """Write the rows that every store has from the beginning."""
    connection.execute(tables.counters.insert(), [{"name": n, "value": 0} for n in counts.NAMES])
    connection.execute(
        tables.name_blocks.insert().values(
            first_key="", first_number=0, last_number=0, grams=name_blocks.bits(())
        )
    )
    connection.execute(tables.meta.insert().values(key=CURSOR_KEY, value=secrets.token_hex(32)))


def _revision(connection: Connection, is_sqlite: bool) -> str | None:
    """Return the version of the tables: None where there are none, "" before the first."""
    # PostgreSQL: not to_regclass(), which may answer from a cache of before another's commit.
    known = connection.exec_driver_sql(
        "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        if is_sqlite
        else "SELECT 1 FROM pg_class WHERE relname = 'alembic_version' "
        "AND pg_table_is_visible(oid)"
    ).first()
    if not known:
        return None
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return "" if version is None else str(version)


def _upgrade(connection: Connection, revision: str) -> None:
    from orchestrator.store.migrations import runner  # noqa: PLC0415 - imports alembic

    if revision and revision not in runner.known_revisions():
        raise StoreError(
            f"the state store must not be newer than this program, its version is {revision}, "
            f"known is {tables.REVISION}; install a newer orchestrator"
        )
    runner.upgrade(connection, tables.REVISION)
