"""What is to be done for one tuning job now. Pure.

A tuning job goes InProgress -> (Stopping) -> Completed | Failed | Stopped. Each training job is
written down with its values before it is submitted, so that a crash neither loses nor repeats one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus, TunedJob, TunedRung
from orchestrator.spec.tuning import Asha, grid_size
from orchestrator.store.tuning import TuningUpdate
from orchestrator.tuner.chosen import Chosen
from orchestrator.tuner.completion import course_of, why_complete
from orchestrator.tuner.configuration import configurations
from orchestrator.tuner.early_stop import Rung, is_below_median, levels, next_rungs
from orchestrator.tuner.promotion import (
    first_resource,
    passed,
    promoting,
    promotions,
    with_rungs,
)
from orchestrator.tuner.settle import Seen, common_failure, objectives_of, settled, taught

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from orchestrator.spec.tuned import TuningJobRecord
    from orchestrator.spec.tuning import TuningJobSpec

FAILURES = 5
"""Training jobs that all failed, from the first on, after which no more are tried."""
RETRIES = 3
"""Times that the same values are tried again where the platform failed a training job."""
STOPPED_MESSAGE = "stopped as asked for"


@dataclass(frozen=True)
class Stop:
    """A training job that is to end early, and why.

    Attributes:
        is_early: Whether others do better; False = with its tuning job.
    """

    job_name: str
    why: str
    is_early: bool = True


@dataclass(frozen=True)
class Steps:
    """What is to be done.

    Attributes:
        update: What changes of the tuning job; None = nothing.
        submit: Training jobs that are written down and may not have been submitted.
        stop: Training jobs to end.
        free: How many more training jobs may be begun now.
    """

    update: TuningUpdate | None
    submit: tuple[TunedJob, ...] = ()
    stop: tuple[Stop, ...] = ()
    free: int = 0


def decide(
    record: TuningJobRecord,
    known: Sequence[TunedJob],
    seen: Mapping[str, Seen],
    now: datetime,
    chosen: Sequence[Chosen] = (),
    cannot: str = "",
) -> Steps:
    """Return what is to be done for a tuning job.

    Args:
        record: Its present state.
        known: All training jobs that it has begun, in order of choice.
        seen: By name, what is seen of those that have not ended; with the median rule, of all.
        now: The time.
        chosen: Values that the search has chosen for the next training jobs.
        cannot: Why the search can choose none; empty = it can.
    """
    if record.status.is_terminal:
        return Steps(None)
    spec = record.spec
    jobs = with_rungs(spec, taught(_settled(known, seen, spec, now), spec))
    jobs, stops = _ended_early(record, jobs, seen)
    open_jobs = [job for job in jobs if not job.has_ended]
    ends = _why_end(record, jobs, now)
    if ends is None and cannot:
        ends = _End(
            TrainingJobStatus.FAILED, f"no values can be chosen: {cannot}", stops_running=True
        )
    if ends is not None or record.status is TrainingJobStatus.STOPPING:
        return _ending(record, known, jobs, open_jobs, ends, now)
    free = _free(spec, jobs, open_jobs)
    again = _to_retry(jobs)
    promoted = promotions(spec, jobs, free - len(again))
    new = _begun(record, jobs, [*again, *promoted, *chosen][:free], now)
    jobs = passed(jobs, {each.continues for each in promoted})
    update = _update(record, known, [*jobs, *new])
    submit = tuple(job for job in (*open_jobs, *new) if job.status is None)
    return Steps(update, submit, stops, free - len(new))


def _settled(
    known: Sequence[TunedJob], seen: Mapping[str, Seen], spec: TuningJobSpec, now: datetime
) -> list[TunedJob]:
    found: dict[int, TunedJob] = {}
    for job in known:
        before = found[job.continues] if job.continues is not None else None
        found[job.index] = (
            settled(job, seen[job.job_name], spec, now, before) if job.job_name in seen else job
        )
    return list(found.values())


@dataclass(frozen=True)
class _End:
    status: TrainingJobStatus
    message: str
    stops_running: bool = False
    converged: bool = False


def _why_end(record: TuningJobRecord, jobs: Sequence[TunedJob], now: datetime) -> _End | None:
    """Return why no further training job is begun, None while there may be more."""
    spec, limits = record.spec, record.spec.limits
    seconds = (now - record.created_at).total_seconds()
    if limits.max_runtime_in_seconds is not None and seconds >= limits.max_runtime_in_seconds:
        why = f"the tuning job has taken max_runtime_in_seconds ({limits.max_runtime_in_seconds})"
        return _End(TrainingJobStatus.COMPLETED, why, stops_running=True)
    ended = sorted(
        (job for job in jobs if job.has_ended and not job.is_retryable),
        key=lambda job: (job.ended_at, job.index),
    )
    succeeded = [job for job in ended if job.objective_status is ObjectiveStatus.SUCCEEDED]
    if len(ended) >= FAILURES and not succeeded and not _any_reports(jobs):
        why = f"no training job has given a result; {common_failure(ended)}"
        return _End(TrainingJobStatus.FAILED, why, stops_running=True)
    values = [job.objectives[0] if job.objectives and job.is_feasible else None for job in ended]
    course = course_of(values, spec.objectives[0])
    why_enough = why_complete(course, spec.completion, spec.objectives[0])
    if why_enough is not None:
        converged = spec.completion.complete_on_convergence and course.has_converged
        return _End(
            TrainingJobStatus.COMPLETED, why_enough, stops_running=True, converged=converged
        )
    if limits.max_epochs is not None and sum(job.epochs for job in jobs) >= limits.max_epochs:
        why = f"the training jobs have reported max_epochs ({limits.max_epochs}) values"
        return _End(TrainingJobStatus.COMPLETED, why, stops_running=True)
    if len(_counted(jobs)) >= _most_jobs(spec) or _is_used_up(spec, jobs):
        if any(not job.has_ended for job in jobs):
            return None
        if not succeeded:
            return _End(
                TrainingJobStatus.FAILED, f"all training jobs failed; {common_failure(ended)}"
            )
        return _End(
            TrainingJobStatus.COMPLETED, f"all {len(_counted(jobs))} training jobs have ended"
        )
    return None


def _any_reports(jobs: Sequence[TunedJob]) -> bool:
    return any(job.epochs and not job.has_ended for job in jobs)


def _most_jobs(spec: TuningJobSpec) -> float:
    wanted = spec.limits.max_number_of_training_jobs
    if spec.strategy == "Grid" and promoting(spec) is None:
        size = _grid_size(spec)
        return size if wanted is None else min(wanted, size)
    return float("inf") if wanted is None else wanted


def _grid_size(spec: TuningJobSpec) -> float:
    return sum(grid_size(each.parameters) for each in spec.definitions)


def _is_used_up(spec: TuningJobSpec, jobs: Sequence[TunedJob]) -> bool:
    """Return whether a grid has no more values, and none of those that it had goes on."""
    if spec.strategy != "Grid" or len(configurations(jobs)) < _grid_size(spec):
        return False
    return not _to_retry(jobs) and not promotions(spec, jobs, 1)


def _counted(jobs: Sequence[TunedJob]) -> list[TunedJob]:
    """Return those that count against the limit: not those that the platform failed."""
    return [job for job in jobs if not job.is_retryable]


def jobs_left(spec: TuningJobSpec, jobs: Sequence[TunedJob]) -> float:
    """Return how many more training jobs a tuning job may begin, apart from those that run."""
    return _most_jobs(spec) - len(_counted(jobs))


def _free(spec: TuningJobSpec, jobs: Sequence[TunedJob], open_jobs: Sequence[TunedJob]) -> int:
    room = spec.limits.max_parallel_training_jobs - len(open_jobs)
    return int(max(min(room, jobs_left(spec, jobs)), 0))


def _begun(
    record: TuningJobRecord, jobs: Sequence[TunedJob], chosen: Sequence[Chosen], now: datetime
) -> list[TunedJob]:
    first = len(jobs) + 1
    return [
        TunedJob(
            index=first + place,
            definition_name=each.definition_name,
            values=dict(each.values),
            job_name=f"{record.name}-{first + place:03d}-{_digest(record, first + place)}",
            created_at=now,
            continues=each.continues,
            resource=each.resource or first_resource(record.spec, each.definition_name),
        )
        for place, each in enumerate(chosen)
    ]


def _digest(record: TuningJobRecord, index: int) -> str:
    """Return some letters that make a job's name its own, the same ones after a crash."""
    return hashlib.sha256(f"{record.number} {index}".encode()).hexdigest()[:8]


def _to_retry(jobs: Sequence[TunedJob]) -> list[Chosen]:
    """Return the values that are tried again, since the platform failed their training job."""
    again = {job.continues for job in jobs if job.continues is not None}
    return [
        Chosen(job.definition_name, job.values, continues=job.index, resource=job.resource)
        for job in jobs
        if job.is_retryable and job.index not in again and _tries(jobs, job) < RETRIES
    ]


def _tries(jobs: Sequence[TunedJob], job: TunedJob) -> int:
    """Return how often the platform failed the same training before."""
    by_index = {each.index: each for each in jobs}
    count = 0
    while job.continues is not None and by_index[job.continues].is_retryable:
        job, count = by_index[job.continues], count + 1
    return count


def _ended_early(
    record: TuningJobRecord, jobs: Sequence[TunedJob], seen: Mapping[str, Seen]
) -> tuple[list[TunedJob], tuple[Stop, ...]]:
    """Return training jobs with what was decided of them, and who is to end."""
    spec = record.spec
    running = [
        job
        for job in jobs
        if job.status is TrainingJobStatus.IN_PROGRESS and job.epochs and job.job_name in seen
    ]
    if spec.early_stopping_type == "Auto":
        stops = [
            Stop(job.job_name, "worse than the median of earlier training jobs at this epoch")
            for job in running
            if is_below_median(_curve(spec, job, seen), _curves_before(spec, job, jobs, seen))
        ]
        return list(jobs), tuple(stops)
    is_halved = spec.asha is not None or spec.strategy == "Hyperband"
    if is_halved and promoting(spec) is None:
        return _halved(spec, jobs, running, seen)
    return list(jobs), ()


def _curve(spec: TuningJobSpec, job: TunedJob, seen: Mapping[str, Seen]) -> list[float]:
    objective = objectives_of(spec, job)[0]
    found = seen.get(job.job_name)
    values = () if found is None else found.values.get(objective.metric_name, ())
    return [objective.as_loss(value) for value in values]


def _curves_before(
    spec: TuningJobSpec, job: TunedJob, jobs: Sequence[TunedJob], seen: Mapping[str, Seen]
) -> list[list[float]]:
    return [
        _curve(spec, other, seen)
        for other in jobs
        if other.index != job.index and other.definition_name == job.definition_name
        if other.has_ended and other.objective_status is ObjectiveStatus.SUCCEEDED
    ]


def _halved(
    spec: TuningJobSpec,
    jobs: Sequence[TunedJob],
    running: Sequence[TunedJob],
    seen: Mapping[str, Seen],
) -> tuple[list[TunedJob], tuple[Stop, ...]]:
    asha = spec.asha or Asha()
    found = {job.index: job for job in jobs}
    stops = []
    for job in running:
        definition = next(d for d in spec.definitions if d.definition_name == job.definition_name)
        most = asha.max_resource or (definition.epochs[1] if definition.epochs else 0)
        passed = tuple(Rung(rung.level, rung.value, rung.goes_on) for rung in job.rungs)
        others = _losses_at_levels(found.values(), job)
        at = levels(asha.min_resource, most, asha.reduction_factor)
        new = next_rungs(_curve(spec, job, seen), passed, others, at, asha.reduction_factor)
        if not new:
            continue
        rungs = tuple(TunedRung(level=r.level, value=r.loss, goes_on=r.goes_on) for r in new)
        found[job.index] = job.model_copy(update={"rungs": job.rungs + rungs})
        if not new[-1].goes_on:
            why = (
                f"one of {asha.reduction_factor} training jobs trains on after {new[-1].level} epochs, "
                "and others do better"
            )
            stops.append(Stop(job.job_name, why))
    return [found[job.index] for job in jobs], tuple(stops)


def _losses_at_levels(jobs: Iterable[TunedJob], job: TunedJob) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for other in jobs:
        if other.index == job.index or other.definition_name != job.definition_name:
            continue
        for rung in other.rungs:
            found.setdefault(rung.level, []).append(rung.value)
    return found


def _ending(
    record: TuningJobRecord,
    known: Sequence[TunedJob],
    jobs: Sequence[TunedJob],
    open_jobs: Sequence[TunedJob],
    ends: _End | None,
    now: datetime,
) -> Steps:
    """End those that run, and the tuning job with the last of them."""
    ends = ends or _End(TrainingJobStatus.STOPPED, STOPPED_MESSAGE, stops_running=True)
    if record.status is TrainingJobStatus.STOPPING and ends.status is not TrainingJobStatus.FAILED:
        ends = replace(ends, status=TrainingJobStatus.STOPPED, message=STOPPED_MESSAGE)
    submitted = [job for job in open_jobs if job.status is not None]
    stops = tuple(
        Stop(job.job_name, f"its tuning job ends: {ends.message}", is_early=False)
        for job in submitted
        if ends.stops_running and job.status is TrainingJobStatus.IN_PROGRESS
    )
    update = _update(record, known, [_given_up(job, now) for job in jobs])
    if submitted:
        return Steps(update, stop=stops)
    base = update or TuningUpdate(record.number, record.revision)
    final = replace(
        base,
        status=ends.status,
        message=ends.message,
        failure_reason=ends.message if ends.status is TrainingJobStatus.FAILED else None,
        converged_at=now if ends.converged else None,
        ended_at=now,
        durable=True,
    )
    return Steps(final)


def _given_up(job: TunedJob, now: datetime) -> TunedJob:
    """Return a training job that was chosen and never submitted as one that does not count."""
    if job.has_ended or job.status is not None:
        return job
    end = {
        "ended_at": now,
        "objective_status": ObjectiveStatus.FAILED,
        "failure_reason": "the tuning job ended before it was submitted",
        "is_retryable": True,
    }
    return job.model_copy(update=end)


def _update(
    record: TuningJobRecord, known: Sequence[TunedJob], jobs: Sequence[TunedJob]
) -> TuningUpdate | None:
    before = {job.index: job for job in known}
    changed = tuple(job for job in jobs if before.get(job.index) != job)
    if not changed:
        return None
    # What is submitted next is accepted by a commit that survives a power cut, and with it all
    # commits before: a training job without its values can never be there.
    is_submitted = any(job.index not in before for job in changed)
    durable = not is_submitted and any(job.has_ended for job in changed)
    return TuningUpdate(record.number, record.revision, put=changed, durable=durable)
