"""PostgreSQL goes away in the middle: transactions are run again, none twice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.errors import NotFound, StoreError
from orchestrator.spec.job import Tag
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.store.base import DriverLease, IdempotencyKey, JobUpdate
from orchestrator.store.sql import open_store
from orchestrator.testing.store_jobs import (
    SCOPE,
    START,
    ended,
    make_spec,
    started,
    submit,
    take_over,
)
from tests.plugins.postgres import PostgresServer

pytestmark = pytest.mark.postgres


class ReplyLost:
    """Passes everything on; when told so, drops the connection once COMMIT was carried out."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.armed = False
        self.lost = 0
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._pairs += [client, server]
                state = {"cut": False}
                for source, target, is_client in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._pump, args=(source, target, is_client, state), daemon=True
                    ).start()

    def _pump(
        self, source: socket.socket, target: socket.socket, is_client: bool, state: dict[str, bool]
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_client and self.armed and b"COMMIT\0" in data:
                    self.armed = False
                    state["cut"] = True
                if not is_client and state["cut"]:  # the answer to COMMIT: it is done
                    self.lost += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in (self._listener, *self._pairs):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[ReplyLost]:
    proxy = ReplyLost(postgres_server.port)
    yield proxy
    proxy.close()


def test_a_commit_whose_answer_is_lost_is_made_once(
    postgres_url: str, postgres_server: PostgresServer, proxy: ReplyLost
) -> None:
    store = open_store(postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/"))
    lost = 0

    def next_reply_is_lost() -> None:
        nonlocal lost
        assert proxy.lost == lost
        lost += 1
        proxy.armed = True

    next_reply_is_lost()
    job = submit(store, "job")
    assert job.number == 1
    next_reply_is_lost()
    key = IdempotencyKey("key", "request")
    keyed = store.create_job(make_spec("keyed"), arn="a", now=START, idempotency=key)
    assert keyed.number == 2
    next_reply_is_lost()
    lease = take_over(store)
    next_reply_is_lost()
    assert store.apply([started(job), JobUpdate(99, 0)], lease) == [True, False]
    assert store.get_job("job").revision == 1
    next_reply_is_lost()
    stopped = store.request_stop("job", intent=EndReason.USER_STOP, grace_seconds=None, now=START)
    assert stopped.revision == 2
    next_reply_is_lost()
    assert store.apply([ended(stopped, EndReason.USER_STOP)], lease) == [True]
    next_reply_is_lost()
    assert store.set_tags("job", put=[Tag(key="a")], remove=[]) == (Tag(key="a"),)
    next_reply_is_lost()
    assert store.meta("fact", "first") == "first"
    next_reply_is_lost()
    store.renew_driver(lease, now=START, ttl_seconds=60)
    next_reply_is_lost()
    store.delete_job("job")
    assert proxy.lost == lost
    with pytest.raises(NotFound):
        store.get_job("job")
    assert store.get_job("keyed") == keyed
    assert store.count_by_status() == dict.fromkeys(TrainingJobStatus, 0) | {
        TrainingJobStatus.IN_PROGRESS: 1
    }
    store.close()


def test_a_server_that_crashes_loses_no_acknowledged_job_and_doubles_none(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    store = open_store(postgres_url)
    accepted: list[TrainingJobRecord] = []
    enough = threading.Event()
    errors: list[BaseException] = []

    def client(index: int) -> None:
        place = 0
        try:
            while not enough.is_set():
                accepted.append(submit(store, f"job-{index}-{place}"))
                place += 1
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=client, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for mode in ("immediate", "fast", "immediate"):
        wait_for_more(accepted, 20, errors)
        postgres_server.restart(mode)
    wait_for_more(accepted, 20, errors)
    enough.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({job.number for job in accepted}) == len(accepted)
    for job in accepted:
        assert store.get_job(job.name) == job
    assert store.count_by_status()[TrainingJobStatus.IN_PROGRESS] == len(accepted)
    store.close()


def wait_for_more(found: list[TrainingJobRecord], count: int, errors: list[BaseException]) -> None:
    """Wait until so many more are there."""
    target = len(found) + count
    for _ in range(3000):
        if len(found) >= target or errors:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{len(found)} of {target}")


def test_a_driver_goes_on_over_restarts_and_each_of_its_updates_counts_once(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    store = open_store(postgres_url)
    job = submit(store, "job")
    lease = take_over(store)
    enough = threading.Event()
    revisions: list[int] = []
    wrong: list[object] = []

    def drive() -> None:
        update = JobUpdate(job.number, 0, durable=True)
        while not enough.is_set():
            update = replace(update, revision=len(revisions), message=f"update {len(revisions)}")
            try:
                applied = store.apply([update], lease)
            except StoreError as error:
                wrong.append(error)
                return
            if applied != [True]:
                wrong.append(applied)
                return
            revisions.append(update.revision)

    thread = threading.Thread(target=drive)
    thread.start()
    for mode in ("immediate", "fast", "immediate"):
        target = len(revisions) + 10
        while len(revisions) < target and not wrong:
            threading.Event().wait(0.01)
        postgres_server.restart(mode)
    target = len(revisions) + 10
    while len(revisions) < target and not wrong:
        threading.Event().wait(0.01)
    enough.set()
    thread.join()
    assert wrong == []
    assert store.get_job("job").revision == len(revisions)
    store.close()


def test_a_server_that_stays_away_is_an_error_that_says_so(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    store = open_store(postgres_url, busy_timeout_seconds=0.3)
    job = submit(store, "job")
    postgres_server.stop("fast")
    try:
        with pytest.raises(StoreError, match="database server runs"):
            submit(store, "refused")
        with pytest.raises(StoreError, match="database server runs"):
            store.get_job("job")
    finally:
        postgres_server.start()
    assert store.get_job("job") == job
    assert store.resource_leases(SCOPE) == []
    store.close()


def test_names_are_found_by_trigrams_where_the_extension_is_there(postgres_url: str) -> None:
    store = open_store(postgres_url)
    with store._database.read() as connection:
        found = connection.exec_driver_sql(
            "SELECT 1 FROM pg_indexes WHERE indexname = 'ix_jobs_name_trigrams'"
        ).first()
        available = connection.exec_driver_sql(
            "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"
        ).first()
    assert (found is None) == (available is None)
    store.close()


def test_leases_count_by_the_servers_clock_whatever_a_machine_believes(postgres_url: str) -> None:
    """Fault 30: a machine whose clock is ahead must not take a living driver's lease."""
    store = open_store(postgres_url)

    class Wrong:
        def __init__(self, hours: int) -> None:
            self.by = timedelta(hours=hours)

        def now(self) -> datetime:
            return datetime.now(UTC) + self.by

        def monotonic(self) -> float:
            return 0.0

    def acquire(owner: str, clock: Wrong) -> DriverLease | None:
        now = store.lease_time(clock)
        return store.acquire_driver(SCOPE, owner=owner, now=now, ttl_seconds=30)

    late, ahead = Wrong(-1), Wrong(1)
    lease = acquire("late", late)
    assert lease is not None
    assert acquire("ahead", ahead) is None
    store.renew_driver(lease, now=store.lease_time(late), ttl_seconds=30)
    assert acquire("ahead", ahead) is None
    store.close()
