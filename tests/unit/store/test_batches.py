"""Several requests in one transaction answer as they would one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import AlreadyExists, NotFound
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.store import accept
from orchestrator.store.base import IdempotencyKey
from orchestrator.store.sql import SqlStore, _Stop, open_store
from orchestrator.testing.store_jobs import START, make_spec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = open_store(tmp_path / "store.sqlite3")
    yield store
    store.close()


def member(name: str, key: str | None = None, request: str = "request") -> accept.Submission:
    idempotency = None if key is None else IdempotencyKey(key, request)
    return accept.submission(
        make_spec(name), arn=name, now=START, idempotency=idempotency, notes=None
    )


def stop(name: str) -> _Stop:
    return _Stop(name, EndReason.USER_STOP, None, START, "Stopping")


def test_a_name_twice_in_a_batch_is_taken_by_the_first(store: SqlStore) -> None:
    got = store._commit([member("one"), member("ONE"), member("two")])
    assert [type(each) for each in got] == [TrainingJobRecord, AlreadyExists, TrainingJobRecord]
    assert [store.get_job(name).number for name in ("one", "two")] == [1, 2]


def test_a_key_twice_in_a_batch_is_one_job(store: SqlStore) -> None:
    got = store._commit(
        [member("one", "key"), member("one", "key"), member("two", "key", "another")]
    )
    assert got[0] == got[1] == store.get_job("one")
    assert isinstance(got[2], AlreadyExists)
    assert sum(store.count_by_status().values()) == 1


def test_a_key_known_from_before_brings_its_job(store: SqlStore) -> None:
    first = store._commit([member("one", "key")])
    assert store._commit([member("new"), member("one", "key")])[1] == first[0]


def test_a_stop_in_a_batch_sees_the_jobs_of_the_batch(store: SqlStore) -> None:
    got = store._commit([stop("nobody"), stop("one"), member("one"), stop("one")])
    assert isinstance(got[0], NotFound)
    statuses = [each.status for each in got[1:] if isinstance(each, TrainingJobRecord)]
    stopping = TrainingJobStatus.STOPPING
    assert statuses == [stopping, TrainingJobStatus.IN_PROGRESS, stopping]
    assert store.count_by_status()[stopping] == 1


def test_an_empty_answer_costs_no_number(store: SqlStore) -> None:
    store._commit([member("one")])
    assert isinstance(store._commit([member("one")])[0], AlreadyExists)
    again = store._commit([member("two")])[0]
    assert isinstance(again, TrainingJobRecord)
    assert again.number == 2
