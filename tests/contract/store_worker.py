"""A process of its own that uses a store; the tests start, stop and kill it.

python store_worker.py VERB STORE [ARGUMENT ...]; it says what it did, one line each, at once.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from orchestrator.errors import OrchestratorError
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import Transition
from orchestrator.spec.state import EndReason
from orchestrator.store.base import DriverLease, IdempotencyKey, JobUpdate
from orchestrator.store.sql import SqlStore, open_store

SCOPE = "host:one"


def say(*words: object) -> None:
    """Write one line in one piece."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def spec(name: str) -> TrainingJobSpec:
    """Return the least specification."""
    return TrainingJobSpec.parse(
        {"training_job_name": name, "algorithm_specification": {"training_image": "image:1"}}
    )


def accept(store: SqlStore, prefix: str, threads: str) -> None:
    """Submit without end from several threads; say each name once it is accepted."""

    def client(index: int) -> None:
        for place in range(1_000_000):
            name = f"{prefix}-{index}-{place}"
            job = store.create_job(spec(name), arn=name, now=now())
            say(job.number, name)

    for index in range(int(threads)):
        threading.Thread(target=client, args=(index,), daemon=True).start()
    sys.stdin.read()


def race(store: SqlStore, count: str) -> None:
    """Submit the same names as others do, at the same moment; say what each try brought."""
    say("ready")
    sys.stdin.readline()
    names = [(kind, f"{kind}-{place}") for place in range(int(count)) for kind in ("key", "plain")]
    for kind, name in names:
        key = IdempotencyKey(name, "request") if kind == "key" else None
        try:
            say(name, store.create_job(spec(name), arn=name, now=now(), idempotency=key).number)
        except OrchestratorError as error:
            say(name, error.code)


def acquire(store: SqlStore, owner: str, count: str) -> None:
    """Try to become the driver of many scopes at the same moment as others."""
    say("ready")
    sys.stdin.readline()
    for place in range(int(count)):
        lease = store.acquire_driver(f"host:{place}", owner=owner, now=now(), ttl_seconds=60)
        say(place, "lease" if lease else "none")


def ended(number: int, revision: int) -> JobUpdate:
    """Return the update that ends a job."""
    reason = EndReason.COMPLETED
    return JobUpdate(
        number=number,
        revision=revision,
        status=reason.status,
        transitions=(Transition(status=reason.secondary_status, started_at=now()),),
        end_reason=reason,
        durable=True,
    )


def drive(store: SqlStore, owner: str) -> None:
    """End every job there is, without end; say each name once that is durable."""
    lease = store.acquire_driver(SCOPE, owner=owner, now=now(), ttl_seconds=60, force=True)
    assert lease is not None
    while True:
        jobs = store.active_jobs(SCOPE, ["process"])
        applied = store.apply([ended(job.number, job.revision) for job in jobs], lease)
        for job, fresh in zip(jobs, applied, strict=True):
            if fresh:
                say(job.number, job.name)
        time.sleep(0.001)


def paused(store: SqlStore, token: str) -> None:
    """Decide, pause, then write with the lease of before the pause."""
    lease = DriverLease(SCOPE, "paused", int(token), now())
    jobs = store.active_jobs(SCOPE, ["process"])
    say("decided", len(jobs))
    sys.stdin.readline()
    try:
        say("applied", store.apply([ended(job.number, job.revision) for job in jobs], lease))
    except OrchestratorError as error:
        say(error.code)


def hold(path: str) -> None:
    """Hold SQLite's write lock until told otherwise."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN EXCLUSIVE")
    say("held")
    sys.stdin.readline()
    raw.execute("COMMIT")
    say("released")


VERBS: dict[str, Callable[..., None]] = {
    "accept": accept,
    "race": race,
    "acquire": acquire,
    "drive": drive,
    "paused": paused,
}


def main() -> None:
    """Do what the command line says."""
    verb, where, *arguments = sys.argv[1:]
    if verb == "hold":
        hold(where)
        return
    store = open_store(where)
    VERBS[verb](store, *arguments)
    store.close()


if __name__ == "__main__":
    main()
