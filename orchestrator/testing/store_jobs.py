"""What the tests of stores share: jobs, updates, a clock, threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.errors import (
    OrchestratorError,
)
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import (
    HostRecord,
    TrainingJobRecord,
    Transition,
)
from orchestrator.spec.state import EndReason, SecondaryStatus
from orchestrator.store.base import (
    DriverLease,
    JobUpdate,
    ResourceLease,
    Store,
)

SCOPE = "host:one"
START = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)
THREADS = 16


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        """Return the time that was set."""
        return self.time

    def monotonic(self) -> float:
        """Return seconds since the start."""
        return (self.time - START).total_seconds()

    def move(self, seconds: float) -> datetime:
        """Move and return the new time."""
        self.time += timedelta(seconds=seconds)
        return self.time


def make_spec(name: str, **changes: Any) -> TrainingJobSpec:
    """Return a specification that differs where a test says so."""
    program = {"training_image": "example/image:1"}
    return TrainingJobSpec.parse(
        {"training_job_name": name, "algorithm_specification": program, **changes}
    )


def submit(store: Store, name: str, now: datetime = START, **changes: Any) -> TrainingJobRecord:
    """Accept a job."""
    return store.create_job(make_spec(name, **changes), arn=f"arn:{name.lower()}", now=now)


def take_over(store: Store, now: datetime = START, owner: str = "driver") -> DriverLease:
    """Get the driver lease, whoever has it."""
    lease = store.acquire_driver(SCOPE, owner=owner, now=now, ttl_seconds=30, force=True)
    assert lease is not None
    return lease


def step(status: SecondaryStatus, at: datetime = START, attempt: int = 1) -> Transition:
    """Return one transition."""
    return Transition(status=status, started_at=at, message=f"now {status}", attempt=attempt)


def host(rank: int = 0, **changes: Any) -> HostRecord:
    """Return one host."""
    return HostRecord(
        host=f"algo-{rank + 1}",
        rank=rank,
        instance_group="homogeneousCluster",
        instance_type="local",
        **changes,
    )


def started(job: TrainingJobRecord, **changes: Any) -> JobUpdate:
    """Return the update that places a job."""
    update = JobUpdate(
        number=job.number,
        revision=job.revision,
        attempt=job.attempt + 1,
        scope=SCOPE,
        transitions=(step(SecondaryStatus.STARTING, attempt=job.attempt + 1),),
        hosts=(host(),),
    )
    return replace(update, **changes)


def ended(
    job: TrainingJobRecord, reason: EndReason = EndReason.COMPLETED, **changes: Any
) -> JobUpdate:
    """Return the update that ends a job."""
    update = JobUpdate(
        number=job.number,
        revision=job.revision,
        status=reason.status,
        transitions=(step(reason.secondary_status),),
        end_reason=reason,
        ended_at=START,
        release=True,
        durable=True,
    )
    return replace(update, **changes)


def gpu(job: TrainingJobRecord, unit: int, *, shared: bool = False) -> ResourceLease:
    """Return a lease of one GPU."""
    return ResourceLease(job.number, 0, "gpu", unit, 1, shared)


def in_threads(work: Callable[[int], Any]) -> list[Any]:
    """Run ``work`` in many threads at once; return what each returned or raised."""

    def guarded(index: int) -> Any:
        try:
            return work(index)
        except OrchestratorError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(guarded, range(THREADS)))


class StoreFixtures:
    """What the contract's classes share."""

    @pytest.fixture
    def clock(self) -> SetClock:
        """Return the clock that the store must be made with."""
        return SetClock()

    @pytest.fixture
    def store(self, clock: SetClock) -> Store:
        """Return an empty store."""
        raise NotImplementedError
