"""How old jobs are, by a clock that never jumps as far as that is possible.

The record of a job holds wall-clock times: what else would mean the same to the next driver? So
a driver believes the wall clock once, when it first sees a job or a step of it; from then on it
counts by the monotonic clock. A jump of the wall clock thus counts only while no driver looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from orchestrator.clock import Clock
    from orchestrator.spec.record import TrainingJobRecord

Since = tuple[int, datetime]
"""A job's number, and a time of its record."""


@dataclass(frozen=True)
class Age:
    """How old a job is.

    Attributes:
        job: Time since it was accepted.
        step: Time since its present secondary status began.
    """

    job: timedelta
    step: timedelta


class Ages:
    """Remembers when each job was first seen, and how old it was by then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first: dict[Since, tuple[float, timedelta]] = {}

    def of(self, job: TrainingJobRecord) -> Age | None:
        """Return a job's age; None when nothing depends on it."""
        limits = job.spec.stopping_condition
        if (limits.max_pending_time_in_seconds, limits.max_wait_time_in_seconds) == (None, None):
            return None
        return Age(
            job=self._since(job.number, job.created_at),
            step=self._since(job.number, job.transitions[-1].started_at),
        )

    def forget(self, active: Collection[int]) -> None:
        """Forget all jobs but those with these numbers."""
        for since in [since for since in self._first if since[0] not in active]:
            del self._first[since]

    def _since(self, number: int, at: datetime) -> timedelta:
        moment = self._clock.monotonic()
        age = max(self._clock.now() - at, timedelta(0))
        first, had = self._first.setdefault((number, at), (moment, age))
        return had + timedelta(seconds=moment - first)
