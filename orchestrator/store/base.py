"""The store interface and the values that cross it.

Clients create jobs and ask for stops; only the driver changes anything else, and only through
``apply``: a compare-and-set on (driver token, job revision). A rejected update is dropped, the
driver reads again and decides again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.clock import Clock
from orchestrator.errors import OrchestratorError
from orchestrator.spec.job import Tag, TrainingJobSpec
from orchestrator.spec.record import (
    Artifact,
    Explanation,
    HostRecord,
    MetricValue,
    TrainingJobRecord,
    Transition,
)
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus

if TYPE_CHECKING:
    from orchestrator.store.tuning import TuningStore

QUEUED_LIMIT = 500
"""Queued jobs that a driver looks at in one round."""

STOPPING_MESSAGE = "Stopping the training job"
"""What a job's history says of a stop whose asker gives no reason."""


@dataclass(frozen=True)
class IdempotencyKey:
    """A client's key for one request.

    Attributes:
        key: Chosen by the client, at most 255 characters.
        fingerprint: Digest of the canonical request; the same key with another one is refused.
    """

    key: str
    fingerprint: str


@dataclass(frozen=True)
class NewJob:
    """One job to accept; see ``Store.create_job``."""

    spec: TrainingJobSpec
    arn: str
    now: datetime
    idempotency: IdempotencyKey | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DriverLease:
    """The right to drive the engines of one scope.

    Attributes:
        scope: What is driven: ``host:<machine id>``.
        owner: Who holds it, for people.
        token: Grows with every change of owner; part of every compare-and-set.
        expires_at: Until when it holds unless renewed.
    """

    scope: str
    owner: str
    token: int
    expires_at: datetime


@dataclass(frozen=True)
class ResourceLease:
    """A part of the machine that one host of a job holds until its process tree is gone.

    Attributes:
        kind: ``cpu`` (amount in slots), ``memory`` (amount in GiB) or ``gpu`` (amount 1).
        unit: GPU index; 0 for the others.
    """

    number: int
    rank: int
    kind: str
    unit: int
    amount: float
    shared: bool = False


@dataclass(frozen=True)
class JobUpdate:
    """One change of one job; None leaves a field as it is.

    Attributes:
        number: Which job.
        revision: The revision the decision was made on; another one in the store rejects it.
        attempt: New attempt number.
        scope: Scope of the driver that took the job; set with the first placement.
        transitions: Appended, in order; each closes the one before. The last one becomes the
            secondary status.
        hosts: Replaces all hosts of the present attempt.
        take: Resource leases to add.
        release: Give all resource leases of the job back.
        notes: Merged into the job's notes.
        durable: Must survive a power cut before ``apply`` returns (accept, terminal).
    """

    number: int
    revision: int
    attempt: int | None = None
    scope: str | None = None
    status: TrainingJobStatus | None = None
    transitions: tuple[Transition, ...] = ()
    end_reason: EndReason | None = None
    failure_reason: str | None = None
    message: str | None = None
    hosts: tuple[HostRecord, ...] | None = None
    artifacts: dict[str, Artifact] | None = None
    explanation: Explanation | None = None
    final_metrics: tuple[MetricValue, ...] | None = None
    training_started_at: datetime | None = None
    training_ended_at: datetime | None = None
    ended_at: datetime | None = None
    notes: dict[str, str] = field(default_factory=dict)
    take: tuple[ResourceLease, ...] = ()
    release: bool = False
    durable: bool = False


class SortBy(StrEnum):
    """Columns a list can be sorted by (SageMaker ``SortBy``)."""

    NAME = "Name"
    CREATION_TIME = "CreationTime"
    STATUS = "Status"


@dataclass(frozen=True)
class ListQuery:
    """Filters and order of a list of jobs.

    Attributes:
        cursor: Position after which the page starts, as given by the page before.
        limit: Rows of a page, 1 to 1,000.
    """

    name_contains: str | None = None
    status_equals: TrainingJobStatus | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    modified_after: datetime | None = None
    modified_before: datetime | None = None
    sort_by: SortBy = SortBy.CREATION_TIME
    descending: bool = True
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True)
class JobSummary:
    """One row of a list."""

    number: int
    name: str
    arn: str
    backend: str
    status: TrainingJobStatus
    secondary_status: SecondaryStatus
    created_at: datetime
    modified_at: datetime
    ended_at: datetime | None
    message: str


@dataclass(frozen=True)
class Page:
    """Some rows, and where the next ones start; None when there are no more."""

    jobs: tuple[JobSummary, ...]
    next_cursor: str | None


class Store(ABC):
    """Durable state. Every method is one transaction, thread-safe and blocking.

    Attributes:
        tunings: The tuning jobs.

    Raises (any method):
        StoreError: The database cannot be read or written now; nothing was changed.
        StoreDamaged: The database is corrupt.
        LimitExceeded: The disk is full; nothing was changed.
    """

    tunings: TuningStore

    # -- clients ---------------------------------------------------------------------------

    @abstractmethod
    def create_job(
        self,
        spec: TrainingJobSpec,
        *,
        arn: str,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> TrainingJobRecord:
        """Accept a job: InProgress/Pending with its first transition. Durable on return.

        The same key and fingerprint return the job of the first call.

        Raises:
            AlreadyExists: The name is taken, or the key was used for another request.
        """

    def create_jobs(
        self, requests: Sequence[NewJob]
    ) -> list[TrainingJobRecord | OrchestratorError]:
        """Accept several jobs, in one transaction where that is possible; durable on return.

        Each is accepted or refused for itself, as by ``create_job``.

        Returns:
            The job, or why there is none, in the order of the requests.
        """
        answers: list[TrainingJobRecord | OrchestratorError] = []
        for new in requests:
            try:
                job = self.create_job(
                    new.spec,
                    arn=new.arn,
                    now=new.now,
                    idempotency=new.idempotency,
                    notes=new.notes,
                )
            except OrchestratorError as error:
                answers.append(error)
            else:
                answers.append(job)
        return answers

    @abstractmethod
    def find_idempotent(self, idempotency: IdempotencyKey) -> TrainingJobRecord | None:
        """Return the job that an earlier ``create_job`` with this key accepted, or None.

        Raises:
            AlreadyExists: The key was used for another request.
        """

    @abstractmethod
    def get_job(self, name: str) -> TrainingJobRecord:
        """Return the present state of a job.

        Raises:
            NotFound: There is no such job.
        """

    @abstractmethod
    def get_jobs(
        self, names: Iterable[str], *, history: bool = True
    ) -> dict[str, TrainingJobRecord]:
        """Return the present states of many jobs, by name as asked; those that are none are left out.

        For those who look through many: one that they look at costs a fraction of ``get_job``.

        Args:
            names: Of the jobs.
            history: False = transitions and hosts may be missing, which takes half the time.
        """

    @abstractmethod
    def get_tags_of(self, names: Iterable[str]) -> dict[str, tuple[Tag, ...]]:
        """Return the tags of many jobs likewise, those without any too."""

    @abstractmethod
    def list_jobs(self, query: ListQuery) -> Page:
        """Return one page of summaries.

        Raises:
            InvalidSpec: The cursor was not made by this query.
        """

    @abstractmethod
    def count_by_status(self) -> dict[TrainingJobStatus, int]:
        """Return how many jobs there are per status; every status is a key."""

    @abstractmethod
    def request_stop(
        self,
        name: str,
        *,
        intent: EndReason,
        grace_seconds: float | None,
        now: datetime,
        message: str = STOPPING_MESSAGE,
    ) -> TrainingJobRecord:
        """Note that a job shall end; the first intent wins. Durable on return. Idempotent.

        The status becomes Stopping (secondary Stopping) with ``message``. Terminal jobs are
        returned unchanged.

        Raises:
            NotFound: There is no such job.
        """

    @abstractmethod
    def delete_job(self, name: str) -> None:
        """Forget a terminal job.

        Raises:
            NotFound: There is no such job.
            InvalidState: It has not ended.
        """

    @abstractmethod
    def set_tags(self, name: str, *, put: Sequence[Tag], remove: Sequence[str]) -> tuple[Tag, ...]:
        """Change a job's tags and return them all.

        Raises:
            NotFound: There is no such job.
            LimitExceeded: More than 50 tags.
        """

    @abstractmethod
    def get_tags(self, name: str) -> tuple[Tag, ...]:
        """Return a job's tags: those of its spec as changed since.

        Raises:
            NotFound: There is no such job.
        """

    # -- the driver ------------------------------------------------------------------------

    def lease_time(self, clock: Clock) -> datetime:
        """Return the time by which leases begin and end: one for all who share this store.

        Args:
            clock: Of this machine; used where only this machine can drive.
        """
        return clock.now()

    @abstractmethod
    def acquire_driver(
        self, scope: str, *, owner: str, now: datetime, ttl_seconds: float, force: bool = False
    ) -> DriverLease | None:
        """Take the lease of a scope, or None while another owner's lease holds.

        Args:
            scope: What to drive.
            owner: Who asks, for people; a holder that asks again gets a new token.
            now: ``lease_time``, for the expiry of leases only: safety rests on tokens.
            ttl_seconds: How long the lease holds unless renewed.
            force: Take it whatever the row says, because a file lock already decided.
        """

    @abstractmethod
    def renew_driver(
        self, lease: DriverLease, *, now: datetime, ttl_seconds: float
    ) -> DriverLease:
        """Extend a lease.

        Raises:
            StaleLock: Somebody else holds it now.
        """

    @abstractmethod
    def release_driver(self, lease: DriverLease) -> None:
        """Give a lease back; nothing happens when it is stale."""

    @abstractmethod
    def active_jobs(
        self, scope: str, backends: Iterable[str], *, queued_limit: int = QUEUED_LIMIT
    ) -> list[TrainingJobRecord]:
        """Return all jobs that have not ended and are this driver's.

        These are the jobs placed under ``scope`` and the unplaced ones of ``backends``, in
        order of priority (highest first), then of creation.

        Args:
            scope: The driver's.
            backends: Names of the back ends it has.
            queued_limit: At most so many unplaced ones, the first in that order: a driver
                cannot start more at once, and a queue may hold very many.
        """

    @abstractmethod
    def resource_leases(self, scope: str) -> list[ResourceLease]:
        """Return what is held of the machine under a scope."""

    @abstractmethod
    def apply(self, updates: Sequence[JobUpdate], lease: DriverLease) -> list[bool]:
        """Apply updates, each by compare-and-set; False for those that came too late.

        All updates of one call are one transaction. None is applied when the lease is stale.

        Raises:
            StaleLock: The lease is no longer this driver's.
        """

    # -- everybody -------------------------------------------------------------------------

    @abstractmethod
    def meta(self, key: str, default: str | None = None) -> str:
        """Return a fact of the whole store (``storage_id``), setting it to ``default`` first if absent.

        Raises:
            NotFound: It is absent and there is no default.
        """

    def backup(self) -> Path | None:
        """Write a copy of the whole store and keep the newest three; to be called every hour.

        Nobody waits for it. None where there is nothing to copy or a server does it.
        """
        return None

    def check(self) -> None:  # noqa: B027 - there may be nothing to check
        """Read everything once; to be called when a driver starts.

        Raises:
            StoreDamaged: The database is corrupt.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the connections. Idempotent."""
