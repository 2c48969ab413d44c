"""Which calls wait for the disk: seen at every commit, on the connection that commits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import IntegrityError

from orchestrator.spec.job import Tag
from orchestrator.spec.state import EndReason
from orchestrator.store import codec, tables
from orchestrator.store.base import JobUpdate, Store
from orchestrator.store.sql import open_store
from orchestrator.store.sqlite import SqliteDatabase
from orchestrator.testing.store_jobs import SCOPE, START, ended, gpu, started, submit, take_over

PLAIN, DURABLE = "plain", "durable"


@pytest.fixture
def commits() -> Iterator[list[str]]:
    """How each commit of this process, from now on, is synced."""
    seen: list[str] = []

    def look(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            level = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
            seen.append({1: PLAIN, 2: DURABLE}[level])
        else:
            level = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
            seen.append({"off": PLAIN, "on": DURABLE}[level])

    event.listen(Engine, "commit", look)
    yield seen
    event.remove(Engine, "commit", look)


def calls_wait_for_the_disk_as_promised(store: Store, commits: list[str]) -> None:
    """Make every writing call and see how its commit was made."""

    def committed() -> list[str]:
        seen = list(commits)
        commits.clear()
        return seen

    committed()
    job = submit(store, "job")
    assert committed() == [DURABLE]
    submit(store, "other")
    committed()
    lease = take_over(store)
    assert committed() == [DURABLE]
    store.renew_driver(lease, now=START, ttl_seconds=30)
    assert committed() == [PLAIN]
    store.apply([started(job)], lease)
    assert committed() == [PLAIN]
    store.request_stop("job", intent=EndReason.USER_STOP, grace_seconds=None, now=START)
    assert committed() == [DURABLE]
    note = JobUpdate(number=2, revision=0, message="waits")
    store.apply([note, ended(store.get_job("job"), EndReason.USER_STOP)], lease)
    assert committed() == [DURABLE]
    store.set_tags("job", put=[Tag(key="a")], remove=[])
    assert committed() == [DURABLE]
    store.delete_job("job")
    assert committed() == [DURABLE]
    store.meta("fact", "value")
    assert committed() == [DURABLE]
    store.release_driver(lease)
    assert committed() == [PLAIN]
    store.get_job("other")
    store.active_jobs(SCOPE, ["process"])
    store.meta("fact", "value")
    assert committed() == []


def test_calls_wait_for_the_disk_as_promised_on_sqlite(tmp_path: Path, commits: list[str]) -> None:
    store = open_store(tmp_path / "store.sqlite3")
    calls_wait_for_the_disk_as_promised(store, commits)
    store.close()


@pytest.mark.postgres
def test_calls_wait_for_the_disk_as_promised_on_postgresql(
    postgres_url: str, commits: list[str]
) -> None:
    store = open_store(postgres_url)
    calls_wait_for_the_disk_as_promised(store, commits)
    store.close()


def test_the_hook_is_called_before_each_durable_commit_only(tmp_path: Path) -> None:
    calls: list[int] = []
    store = open_store(tmp_path / "store.sqlite3", before_sync=lambda: calls.append(1))
    made = len(calls)
    job = submit(store, "job")
    lease = take_over(store)
    store.apply([started(job)], lease)
    assert len(calls) == made + 2
    store.close()


def test_a_backup_is_synced_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "store.sqlite3")
    submit(store, "job")
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    backup = store.backup()
    assert backup is not None
    assert synced == [backup.with_suffix(".partial").name, "backups"]
    store.close()


def test_the_log_is_a_write_ahead_log_and_readers_see_a_snapshot(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.sqlite3")
    submit(store, "before")
    database = SqliteDatabase(tmp_path / "store.sqlite3")
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        count = "SELECT count(*) FROM jobs"
        assert connection.exec_driver_sql(count).scalar() == 1
        submit(store, "during")
        assert connection.exec_driver_sql(count).scalar() == 1
    database.close()
    store.close()


def test_the_database_itself_refuses_a_gpu_that_is_leased_twice(tmp_path: Path) -> None:
    """The index is the last line, should the check before it ever be wrong."""
    store = open_store(tmp_path / "store.sqlite3")
    job = submit(store, "job")
    database = SqliteDatabase(tmp_path / "store.sqlite3")

    def insert(connection: Connection, shared: bool) -> None:
        row = codec.lease_row(SCOPE, gpu(job, 0, shared=shared))
        connection.execute(tables.resource_leases.insert().values(row))

    database.write(lambda connection, _: insert(connection, False), durable=False)
    database.write(lambda connection, _: insert(connection, True), durable=False)
    with pytest.raises(Exception, match="UNIQUE") as caught:
        database.write(lambda connection, _: insert(connection, False), durable=False)
    assert isinstance(caught.value.__cause__, IntegrityError)
    database.close()
    store.close()
