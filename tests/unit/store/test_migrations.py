"""New databases are made at once, old ones upgraded, newer ones refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect

from orchestrator.errors import StoreError
from orchestrator.store import counts, migrate, name_blocks, tables
from orchestrator.store.migrations import runner
from orchestrator.store.sql import open_store
from orchestrator.store.sqlite import SqliteDatabase
from orchestrator.testing.store_jobs import submit


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """A database made by the migrations, from nothing."""
    path = tmp_path / "migrated.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        runner.upgrade(connection, "head")
    engine.dispose()
    return path


def everything(connection: Connection) -> dict[str, Any]:
    """What a database is made of, without its data."""
    found = inspect(connection)
    return {
        name: {
            "columns": [
                {k: str(v) for k, v in column.items()} for column in found.get_columns(name)
            ],
            "key": found.get_pk_constraint(name)["constrained_columns"],
            "indexes": sorted(map(str, found.get_indexes(name))),
            "options": found.get_table_options(name),
        }
        for name in sorted(found.get_table_names())
    }


def statements(path: Path) -> dict[str, str]:
    """The SQL of everything in an SQLite file, white space aside."""
    raw = sqlite3.connect(path)
    rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    raw.close()
    return {name: "".join(sql.split()).replace('"', "") for name, sql in rows}


def test_migrations_make_what_a_new_database_is_made_of(tmp_path: Path, migrated: Path) -> None:
    open_store(tmp_path / "new.sqlite3").close()
    new, old = statements(tmp_path / "new.sqlite3"), statements(migrated)
    assert new.keys() == old.keys()
    for name in new:
        assert new[name] == old[name], name


def test_migrations_write_what_a_new_database_starts_with(tmp_path: Path, migrated: Path) -> None:
    open_store(tmp_path / "new.sqlite3").close()
    rows = []
    for path in (tmp_path / "new.sqlite3", migrated):
        raw = sqlite3.connect(path)
        rows.append(
            {
                table.name: raw.execute(f"SELECT * FROM {table.name} ORDER BY 1").fetchall()
                for table in tables.METADATA.sorted_tables
                if table.name != "meta"
            }
            | {"meta": raw.execute("SELECT key, length(value) FROM meta").fetchall()}
        )
        raw.close()
    assert rows[0] == rows[1]
    assert dict(rows[0]["counters"]).keys() == set(counts.NAMES)


@pytest.mark.postgres
def test_migrations_make_the_same_on_postgresql(postgres_url: str) -> None:
    open_store(postgres_url).close()
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        new = everything(connection)
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        runner.upgrade(connection, "head")
        assert everything(connection) == new
    engine.dispose()


def test_the_program_knows_the_newest_migration() -> None:
    assert tables.REVISION in runner.known_revisions()
    script = ScriptDirectory.from_config(runner.configuration())
    assert script.get_current_head() == tables.REVISION


def test_a_migrated_database_works(migrated: Path) -> None:
    store = open_store(migrated)
    assert submit(store, "job").number == 1
    store.close()


def test_an_older_database_is_upgraded_inside_one_transaction(tmp_path: Path) -> None:
    """The version table alone, as it is before the first migration."""
    path = tmp_path / "store.sqlite3"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    raw.commit()
    raw.close()
    store = open_store(path)
    assert submit(store, "job").number == 1
    store.close()


def test_blocks_of_names_with_older_bits_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        runner.upgrade(connection, "0001")
        connection.exec_driver_sql("UPDATE name_blocks SET grams = ?", (b"\x01" * 1024,))
    engine.dispose()
    store = open_store(path)
    assert submit(store, "job").number == 1
    wanted = name_blocks.Filter(frozenset({"zzz", "123"}))
    with SqliteDatabase(path).read() as connection:
        found = name_blocks.stretches(connection, wanted, descending=False, start=None)
        assert [stretch.first for stretch in found] == [""]
    store.close()


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    raw.execute("CREATE TABLE transitions (in_the_way INTEGER)")
    raw.commit()
    with pytest.raises(StoreError, match="transitions already exists"):
        open_store(path)
    names = {name for (name,) in raw.execute("SELECT name FROM sqlite_master")}
    assert names == {"alembic_version", "transitions"}
    raw.close()


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[Path]:
    """A database of a later version."""
    path = tmp_path / "store.sqlite3"
    open_store(path).close()
    raw = sqlite3.connect(path)
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    yield path
    assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    raw.close()


def test_a_newer_database_is_refused(newer: Path) -> None:
    with pytest.raises(StoreError, match="version is 9999, known is .*newer orchestrator"):
        open_store(newer)


CHECK = """
import sys
from orchestrator.store.sql import open_store
from orchestrator.store.sqlite import SqliteDatabase
store = open_store(sys.argv[1])
print(*sorted(name for name in sys.modules if name.split(".")[0] in {"alembic", "mako", "psycopg"}))
"""


def test_alembic_is_not_imported_for_new_and_current_databases(tmp_path: Path) -> None:
    for _ in ("new", "current"):
        done = subprocess.run(
            [sys.executable, "-c", CHECK, str(tmp_path / "store.sqlite3")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == []


def test_a_database_that_is_made_twice_at_once_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    program = "import sys; from orchestrator.store.sql import open_store; open_store(sys.argv[1])"
    makers = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    said = [maker.communicate()[1].decode() for maker in makers]
    assert [maker.returncode for maker in makers] == [0] * len(makers), said
    assert submit(open_store(path), "job").number == 1


def test_new_tables_have_their_first_rows_only_once(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.sqlite3")
    key = store.meta(migrate.CURSOR_KEY)
    store.close()
    again = open_store(tmp_path / "store.sqlite3")
    assert again.meta(migrate.CURSOR_KEY) == key
    again.close()
