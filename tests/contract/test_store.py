"""One contract over memory, SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.base import Store
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import open_store
from orchestrator.testing.store_contract import StoreContract
from orchestrator.testing.store_jobs import SetClock


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
    @pytest.fixture
    def store(self, clock: SetClock, postgres_url: str) -> Iterator[Store]:
        store = open_store(postgres_url, clock=clock)
        yield store
        store.close()
