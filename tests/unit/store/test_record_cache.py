"""A record that is kept is never another than the store's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from orchestrator.errors import NotFound
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason
from orchestrator.store.record_cache import RecordCache
from orchestrator.store.records import SpecCache
from orchestrator.store.sql import SqlStore, open_store
from orchestrator.store.sqlite import SqliteDatabase
from orchestrator.testing.store_jobs import (
    SCOPE,
    START,
    SetClock,
    ended,
    started,
    submit,
    take_over,
)

BACKENDS = {"process"}


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def writer(tmp_path: Path, clock: SetClock) -> Iterator[SqlStore]:
    """The store of the service that drives."""
    with closing(open_store(tmp_path / "store.sqlite3", clock=clock)) as store:
        yield store


@pytest.fixture
def reader(tmp_path: Path, writer: SqlStore, clock: SetClock) -> Iterator[SqlStore]:
    """The store of another process, which only hears of what the first one does by reading."""
    with closing(open_store(tmp_path / "store.sqlite3", clock=clock)) as store:
        yield store


@contextmanager
def statements(store: SqlStore) -> Iterator[list[str]]:
    """Collect the queries that a store makes."""
    seen: list[str] = []

    def note(_connection, _cursor, statement: str, *_rest: object) -> None:
        if statement.startswith("SELECT"):
            seen.append(statement)

    assert isinstance(store._database, SqliteDatabase)
    engine = store._database._readers
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_what_did_not_change_costs_one_statement(writer: SqlStore, reader: SqlStore) -> None:
    submit(writer, "one")
    submit(writer, "two")
    lease = take_over(writer)
    writer.apply([started(writer.get_job("one"))], lease)
    first = (reader.get_job("one"), reader.active_jobs(SCOPE, BACKENDS))
    with statements(reader) as seen:
        assert reader.get_job("one") is first[0]
        assert reader.active_jobs(SCOPE, BACKENDS) == first[1]
    assert len(seen) == 2


def test_every_change_of_another_process_is_seen(
    tmp_path: Path, writer: SqlStore, reader: SqlStore, clock: SetClock
) -> None:
    job = submit(writer, "job")
    lease = take_over(writer)

    def same() -> None:
        with closing(open_store(tmp_path / "store.sqlite3", clock=clock)) as fresh:
            assert reader.get_job("job") == fresh.get_job("job")
            assert reader.active_jobs(SCOPE, BACKENDS) == fresh.active_jobs(SCOPE, BACKENDS)

    same()
    assert writer.apply([started(job)], lease) == [True]
    same()
    running = writer.get_job("job")
    note = replace(started(running), attempt=None, transitions=(), hosts=None, notes={"a": "b"})
    assert writer.apply([note], lease) == [True]
    same()
    assert reader.get_job("job").notes["a"] == "b"
    writer.request_stop("job", intent=EndReason.USER_STOP, grace_seconds=None, now=START)
    same()
    assert writer.apply([ended(writer.get_job("job"), EndReason.USER_STOP)], lease) == [True]
    same()
    writer.delete_job("job")
    with pytest.raises(NotFound):
        reader.get_job("job")
    clock.move(1)
    submit(writer, "job")
    same()
    assert reader.get_job("job").number == 2


def test_a_revision_that_a_crashed_server_gives_twice_is_another_version(
    tmp_path: Path, writer: SqlStore, reader: SqlStore
) -> None:
    submit(writer, "job")
    reader.get_job("job")
    with closing(sqlite3.connect(tmp_path / "store.sqlite3")) as database, database:
        database.execute("UPDATE jobs SET modified_us = modified_us + 1, message = 'another'")
    assert reader.get_job("job").message == "another"


def test_the_records_that_were_asked_for_last_are_kept(writer: SqlStore) -> None:
    cache = RecordCache(SpecCache(), most=2)
    for name in ("one", "two", "three"):
        submit(writer, name)

    def ask(name: str) -> TrainingJobRecord:
        return writer._database.ask(lambda connection: cache.named(connection, name))

    first = {name: ask(name) for name in ("one", "two", "one", "three")}
    assert ask("three") is first["three"]
    assert ask("one") is first["one"]
    assert ask("two") is not first["two"]
