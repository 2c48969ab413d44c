"""The store of tuning jobs: its interface, and the values that cross it.

Clients create tuning jobs and ask for stops; the driver changes everything else through ``apply``,
by compare-and-set, as for training jobs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.spec.job import Tag
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import Inherited, TunedJob, TuningJobRecord
from orchestrator.spec.tuning import TuningJobSpec
from orchestrator.store.base import DriverLease, IdempotencyKey, ListQuery


@dataclass(frozen=True)
class TuningUpdate:
    """One change of one tuning job; None leaves a field as it is.

    Attributes:
        number: Which tuning job.
        revision: The revision the decision was made on; another one in the store rejects it.
        put: Its training jobs that are new or have changed, whole.
        durable: Must survive a power cut before ``apply`` returns (ends; values
            that were chosen become durable with the training job that gets them).
    """

    number: int
    revision: int
    status: TrainingJobStatus | None = None
    message: str | None = None
    failure_reason: str | None = None
    converged_at: datetime | None = None
    ended_at: datetime | None = None
    put: tuple[TunedJob, ...] = ()
    durable: bool = False

    @property
    def ends(self) -> bool:
        """Whether the tuning job has ended with it."""
        return self.status is not None and self.status.is_terminal

    def applied_to(self, known: Sequence[TunedJob]) -> list[TunedJob]:
        """Return the training jobs as they are after it, in order of choice.

        Args:
            known: As they were before.
        """
        present = {job.index: job for job in (*known, *self.put)}
        return [present[index] for index in sorted(present)]


@dataclass(frozen=True)
class TuningPage:
    """Some tuning jobs, and where the next ones start; None when there are no more."""

    jobs: tuple[TuningJobRecord, ...]
    next_cursor: str | None


class TunedSortBy(StrEnum):
    """Columns by which the training jobs of a tuning job can be sorted."""

    NAME = "Name"
    CREATION_TIME = "CreationTime"
    STATUS = "Status"
    OBJECTIVE = "FinalObjectiveMetricValue"


@dataclass(frozen=True)
class TunedQuery:
    """Filters and order of the training jobs of one tuning job."""

    status_equals: TrainingJobStatus | None = None
    sort_by: TunedSortBy = TunedSortBy.NAME
    descending: bool = False
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True)
class TunedPage:
    """Some of the training jobs of a tuning job, and where the next ones start."""

    jobs: tuple[TunedJob, ...]
    next_cursor: str | None


class TuningStore(ABC):
    """Durable state of tuning jobs. Every method is one transaction, thread-safe and blocking.

    Raises (any method):
        StoreError: The database cannot be read or written now; nothing was changed.
        StoreDamaged: The database is corrupt.
        LimitExceeded: The disk is full; nothing was changed.
    """

    # -- clients ---------------------------------------------------------------------------

    @abstractmethod
    def create(
        self,
        spec: TuningJobSpec,
        *,
        arn: str,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
        inherited: Sequence[Inherited] = (),
    ) -> TuningJobRecord:
        """Accept a tuning job. Durable on return.

        The same key and fingerprint return the tuning job of the first call.

        Raises:
            AlreadyExists: The name is taken, or the key was used for another request.
        """

    @abstractmethod
    def get(self, name: str) -> TuningJobRecord:
        """Return the present state of a tuning job.

        Raises:
            NotFound: There is no such tuning job.
        """

    @abstractmethod
    def page(self, query: ListQuery) -> TuningPage:
        """Return one page.

        Raises:
            InvalidSpec: The cursor was not made by this query.
        """

    @abstractmethod
    def jobs_of(self, number: int) -> list[TunedJob]:
        """Return all training jobs of a tuning job, in order of choice."""

    @abstractmethod
    def page_of_jobs(self, name: str, query: TunedQuery) -> TunedPage:
        """Return one page of the training jobs of a tuning job.

        Raises:
            NotFound: There is no such tuning job.
            InvalidSpec: The cursor was not made by this query.
        """

    @abstractmethod
    def tuning_jobs_of(self, job_names: Sequence[str]) -> Mapping[str, str]:
        """Return the ARNs of the tuning jobs that began these training jobs, by name of the job."""

    @abstractmethod
    def request_stop(self, name: str, *, now: datetime) -> TuningJobRecord:
        """Note that a tuning job shall end: its status becomes Stopping. Durable. Idempotent.

        Terminal ones are returned unchanged.

        Raises:
            NotFound: There is no such tuning job.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Forget a terminal tuning job; its training jobs stay.

        Raises:
            NotFound: There is no such tuning job.
            InvalidState: It has not ended.
        """

    @abstractmethod
    def set_tags(self, name: str, *, put: Sequence[Tag], remove: Sequence[str]) -> tuple[Tag, ...]:
        """Change a tuning job's tags and return them all.

        Raises:
            NotFound: There is no such tuning job.
            LimitExceeded: More than 50 tags.
        """

    # -- the driver ------------------------------------------------------------------------

    @abstractmethod
    def active(self, scope: str) -> list[TuningJobRecord]:
        """Return all tuning jobs that have not ended and are this driver's or nobody's yet."""

    @abstractmethod
    def apply(self, updates: Sequence[TuningUpdate], lease: DriverLease) -> list[bool]:
        """Apply updates, each by compare-and-set; False for those that came too late.

        All updates of one call are one transaction; their tuning jobs are this driver's from then
        on. None is applied when the lease is stale.

        Raises:
            StaleLock: The lease is no longer this driver's.
            InvalidState: An update changes a tuning job that has ended.
        """
