"""What an update is in a job's life. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.store.base import JobUpdate

PATIENT_STEPS = frozenset({"observe", "place", "start"})
"""Updates after which there is nothing to give out that was not free before."""


def step_of(update: JobUpdate) -> str:
    """Return which step of a job's life an update is, for the failpoints."""
    if ends(update):
        return "end"
    if update.attempt is not None:
        return "place"
    if update.hosts == ():
        return "retry"
    return "start" if update.hosts is not None else "observe"


def as_placed(job: TrainingJobRecord, update: JobUpdate | None) -> TrainingJobRecord:
    """Return a job with the hosts and the attempt that an update gives it, if it does."""
    if update is None or update.attempt is None:
        return job
    return job.model_copy(update={"attempt": update.attempt, "hosts": update.hosts})


def ends(update: JobUpdate | None) -> bool:
    """Return whether a job has ended with an update."""
    return update is not None and update.end_reason is not None


def waits(job: TrainingJobRecord, update: JobUpdate | None) -> bool:
    """Return whether a job waits to be placed after an update, or leaves its place to one unseen.

    The store shows the first of a long queue only.
    """
    hosts = job.hosts if update is None or update.hosts is None else update.hosts
    return not hosts
