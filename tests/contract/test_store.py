"""One contract over memory, SQLite and PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.store.base import Store
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import open_store
from orchestrator.testing.store_contract import StoreContract
from orchestrator.testing.store_jobs import SetClock
from tests.plugins.postgres import PostgresServer


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self, clock: SetClock) -> Store:
        return MemoryStore(clock=clock)


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, clock: SetClock, tmp_path: Path) -> Iterator[Store]:
        store = open_store(tmp_path / "store.sqlite3", clock=clock)
        yield store
        store.close()


@pytest.mark.postgres
class TestPostgresqlStore(StoreContract):
    """Each test has a schema of its own, which is made faster than a database."""

    @pytest.fixture
    def store(self, clock: SetClock, postgres_server: PostgresServer) -> Iterator[Store]:
        schema = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(
            postgres_server.url().replace("+psycopg", ""), autocommit=True
        ) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            connection.execute(f"CREATE SCHEMA {schema}")
            where = f"{postgres_server.url()}?options=-csearch_path%3D{schema},public"
            store = open_store(where, clock=clock)
            yield store
            store.close()
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
