"""Successive halving by promotion: who trains on, to which level, from whose checkpoints. Pure.

Every training job trains to one level and ends by itself. While its configuration waits there, it
takes no slot; when it is among the best of its level, a new training job goes on from its
checkpoints to the next one (Li et al., A System for Massively Parallel Hyperparameter Tuning,
MLSys 2020, algorithm 2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus, TunedRung
from orchestrator.tuner.chosen import Chosen
from orchestrator.tuner.configuration import configurations
from orchestrator.tuner.early_stop import Rung, levels, to_promote
from orchestrator.tuner.settle import objectives_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.spec.tuned import TunedJob
    from orchestrator.spec.tuning import Asha, TuningJobSpec


def first_resource(spec: TuningJobSpec, definition_name: str) -> int | None:
    """Return how many epochs a new configuration is given; None = as its definition says."""
    asha = promoting(spec)
    return None if asha is None else _resources(spec, asha, definition_name)[0]


def promoting(spec: TuningJobSpec) -> Asha | None:
    """Return the rule by which training jobs are promoted; None where none are."""
    return spec.asha if spec.asha is not None and spec.asha.promote else None


def promotions(spec: TuningJobSpec, jobs: Sequence[TunedJob], most: int) -> list[Chosen]:
    """Return which configurations train on now: of the highest level first, there the best first.

    Args:
        spec: Of the tuning job.
        jobs: All of its training jobs, in order of choice, with their rungs.
        most: How many training jobs may be begun.
    """
    asha = promoting(spec)
    if asha is None or most <= 0:
        return []
    waiting = {job.job_name: job for job in _waiting(jobs)}
    found: list[Chosen] = []
    while len(found) < most:
        job = _next(asha, jobs, list(waiting.values()))
        if job is None:
            break
        del waiting[job.job_name]
        resources = _resources(spec, asha, job.definition_name)
        resource = min(each for each in resources if each > job.rungs[-1].level)
        found.append(Chosen(job.definition_name, job.values, job.index, resource))
    return found


def with_rungs(spec: TuningJobSpec, jobs: Sequence[TunedJob]) -> list[TunedJob]:
    """Return training jobs with the rung of each one that has come to a level below the last.

    Only who has trained to the level by itself is there: one that was stopped on the way has a
    result, but none that can be compared.
    """
    asha = promoting(spec)
    if asha is None:
        return list(jobs)
    return [_at_its_rung(spec, asha, job) for job in jobs]


def passed(jobs: Sequence[TunedJob], promoted: Collection[int | None]) -> list[TunedJob]:
    """Return training jobs, those with these indices with a rung that they have passed."""
    return [
        job.model_copy(
            update={"rungs": tuple(r.model_copy(update={"goes_on": True}) for r in job.rungs)}
        )
        if job.index in promoted and job.rungs
        else job
        for job in jobs
    ]


def _at_its_rung(spec: TuningJobSpec, asha: Asha, job: TunedJob) -> TunedJob:
    is_there = (
        job.status is TrainingJobStatus.COMPLETED
        and job.objective_status is ObjectiveStatus.SUCCEEDED
    )
    if job.rungs or job.resource is None or not is_there:
        return job
    if job.resource >= _resources(spec, asha, job.definition_name)[-1]:
        return job
    loss = objectives_of(spec, job)[0].as_loss(job.objectives[0])
    rung = TunedRung(level=job.resource, value=loss, goes_on=False)
    return job.model_copy(update={"rungs": (rung,)})


def _resources(spec: TuningJobSpec, asha: Asha, definition_name: str) -> tuple[int, ...]:
    """Return the epochs of all levels, the last one a whole training."""
    definition = next(d for d in spec.definitions if d.definition_name == definition_name)
    most = asha.max_resource or (definition.epochs[1] if definition.epochs else 1)
    return (*levels(asha.min_resource, most, asha.reduction_factor), most)


def _waiting(jobs: Sequence[TunedJob]) -> list[TunedJob]:
    """Return the training jobs at whose rungs a configuration waits."""
    last = [configuration.last for configuration in configurations(jobs)]
    return [job for job in last if job.rungs]


def _next(asha: Asha, jobs: Sequence[TunedJob], waiting: Sequence[TunedJob]) -> TunedJob | None:
    """Return who trains on next. Each definition has rungs of its own, as it has its own epochs."""
    best: TunedJob | None = None
    for definition_name in dict.fromkeys(job.definition_name for job in waiting):
        paused = {
            job.job_name: _rung(job) for job in waiting if job.definition_name == definition_name
        }
        there: dict[int, list[float]] = {}
        for job in jobs:
            if job.definition_name == definition_name and job.rungs:
                there.setdefault(job.rungs[-1].level, []).append(job.rungs[-1].value)
        name = to_promote(paused, there, asha.reduction_factor)
        found = next((job for job in waiting if job.job_name == name), None)
        if found is not None and _level(found) > _level(best):
            best = found
    return best


def _rung(job: TunedJob) -> Rung:
    rung = job.rungs[-1]
    return Rung(rung.level, rung.value, rung.goes_on)


def _level(job: TunedJob | None) -> float:
    return -math.inf if job is None else job.rungs[-1].level
