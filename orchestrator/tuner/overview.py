"""A tuning job summed up: how many training jobs are how far, and which are the best. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus, StatusCounts, TuningOverview
from orchestrator.tuner.configuration import configurations
from orchestrator.tuner.settle import objectives_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.spec.tuned import TunedJob, TuningJobRecord
    from orchestrator.spec.tuning import TuningJobSpec


def overview_of(record: TuningJobRecord, jobs: Sequence[TunedJob]) -> TuningOverview:
    """Return a tuning job and what its training jobs have come to.

    Args:
        record: The tuning job.
        jobs: All of its training jobs, in order of choice.
    """
    best = best_of(record.spec, jobs)
    return TuningOverview(
        record=record,
        status_counts=_status_counts(jobs),
        objective_counts={
            status: sum(job.objective_status is status for job in jobs if job.status is not None)
            for status in ObjectiveStatus
        },
        best=best,
        front=front_of(record.spec, jobs),
        training_seconds=sum(map(_seconds, jobs)),
    )


def best_of(spec: TuningJobSpec, jobs: Sequence[TunedJob]) -> TunedJob | None:
    """Return the training job with the best (first) objective that keeps all constraints.

    Of training jobs with the same values the one that trained longest stands for all. Of equals
    the first. None before any has a result.
    """
    return min(_results(jobs), key=lambda job: _losses(spec, job)[0], default=None)


def front_of(spec: TuningJobSpec, jobs: Sequence[TunedJob]) -> tuple[TunedJob, ...]:
    """Return the training jobs that no other one beats in all objectives (Pareto front).

    In order of choice; empty with one objective, where the best one says all.
    """
    if len(spec.objectives) == 1:
        return ()
    results = _results(jobs)
    losses = {job.index: _losses(spec, job) for job in results}
    return tuple(
        job
        for job in results
        if not any(_dominates(losses[o.index], losses[job.index]) for o in results)
    )


def _results(jobs: Sequence[TunedJob]) -> list[TunedJob]:
    """Return what each configuration has come to at its longest training, where that counts."""
    results = [configuration.result for configuration in configurations(jobs)]
    return [
        job
        for job in results
        if job is not None and job.is_feasible and all(map(math.isfinite, job.objectives))
    ]


def _losses(spec: TuningJobSpec, job: TunedJob) -> tuple[float, ...]:
    objectives = objectives_of(spec, job)
    return tuple(
        each.as_loss(value) for each, value in zip(objectives, job.objectives, strict=True)
    )


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _status_counts(jobs: Sequence[TunedJob]) -> StatusCounts:
    def count(status: TrainingJobStatus, *, is_retryable: bool = False) -> int:
        return sum(job.status is status and job.is_retryable is is_retryable for job in jobs)

    failed = TrainingJobStatus.FAILED
    return StatusCounts(
        completed=count(TrainingJobStatus.COMPLETED),
        in_progress=count(TrainingJobStatus.IN_PROGRESS) + count(TrainingJobStatus.STOPPING),
        retryable_error=count(failed, is_retryable=True),
        non_retryable_error=count(failed),
        stopped=count(TrainingJobStatus.STOPPED),
    )


def _seconds(job: TunedJob) -> float:
    if job.started_at is None or job.ended_at is None:
        return 0.0
    return max((job.ended_at - job.started_at).total_seconds(), 0.0)
