"""A tuning job, and its training jobs, as SageMaker's operations answer them. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator import ids
from orchestrator.api.aws.sagemaker.describe import requested
from orchestrator.api.aws.sagemaker.tuning_create import OBJECTIVE, SAME_NAMES
from orchestrator.spec.ranges import CategoricalParameter
from orchestrator.spec.redact import redacted_environment, redacted_hyper_parameters
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuning import ONLY_DEFINITION
from orchestrator.tuner.completion import course_of
from orchestrator.tuner.settle import objectives_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.api.aws.shapes import Shape
    from orchestrator.spec.ranges import Parameter
    from orchestrator.spec.tuned import TunedJob, TuningJobRecord, TuningOverview
    from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec, TuningObjective

ECHOED = (
    "HyperParameterTuningJobConfig",
    "TrainingJobDefinition",
    "TrainingJobDefinitions",
    "WarmStartConfig",
    "Autotune",
)
ALGORITHM = ("TrainingImage", "TrainingInputMode", "AlgorithmName", "MetricDefinitions")
"""What AWS has a word for: a program of one's own has none in a definition."""
_RANGES = {
    "Integer": "IntegerParameterRanges",
    "Continuous": "ContinuousParameterRanges",
    "Categorical": "CategoricalParameterRanges",
}


def tuning_description(
    seen: TuningOverview,
    jobs: Sequence[TunedJob],
    shape: Shape,
    parents: Sequence[TuningOverview] = (),
) -> dict[str, Any]:
    """Return all that is known of a tuning job: its request as it came, and what became of it.

    Args:
        seen: The tuning job.
        jobs: Its training jobs.
        shape: Of CreateTrainingJob's input.
        parents: Those that it learnt from.
    """
    record = seen.record
    request = _requested(record.spec, shape)
    answer = {name: request[name] for name in ECHOED if name in request}
    answer |= _state(seen)
    answer |= _given(
        {
            "FailureReason": record.failure_reason,
            "BestTrainingJob": seen.best and tuned_summary(record, seen.best),
            "OverallBestTrainingJob": _overall_best(seen, parents),
            "TuningJobCompletionDetails": _completion(record, jobs),
            "ConsumedResources": {"RuntimeInSeconds": round(seen.training_seconds)},
        }
    )
    return answer


def tuning_summary(seen: TuningOverview) -> dict[str, Any]:
    """Return a tuning job as it stands in a list."""
    spec = seen.record.spec
    return _state(seen) | {"Strategy": spec.strategy, "ResourceLimits": _limits(spec)}


def tuned_summary(record: TuningJobRecord, job: TunedJob) -> dict[str, Any]:
    """Return a training job as it stands in the list of its tuning job."""
    objective = objectives_of(record.spec, job)[0]
    name = job.definition_name  # the only definition may have none
    return _given(
        {
            "TrainingJobDefinitionName": None if name == ONLY_DEFINITION else name,
            "TrainingJobName": job.job_name,
            "TrainingJobArn": ids.training_job_arn(job.job_name),
            "CreationTime": job.created_at,
            "TrainingStartTime": job.started_at,
            "TrainingEndTime": job.ended_at if job.started_at is not None else None,
            "TrainingJobStatus": (job.status or TrainingJobStatus.IN_PROGRESS).value,
            "TunedHyperParameters": dict(job.values),
            "FailureReason": job.failure_reason,
            "FinalHyperParameterTuningJobObjectiveMetric": _final(objective, job),
            "ObjectiveStatus": job.objective_status.value,
        }
    )


def _state(seen: TuningOverview) -> dict[str, Any]:
    record, counts = seen.record, seen.status_counts
    return _given(
        {
            "HyperParameterTuningJobName": record.name,
            "HyperParameterTuningJobArn": record.arn,
            "HyperParameterTuningJobStatus": record.status.value,
            "CreationTime": record.created_at,
            "HyperParameterTuningEndTime": record.ended_at,
            "LastModifiedTime": record.modified_at,
            "TrainingJobStatusCounters": {
                "Completed": counts.completed,
                "InProgress": counts.in_progress,
                "RetryableError": counts.retryable_error,
                "NonRetryableError": counts.non_retryable_error,
                "Stopped": counts.stopped,
            },
            "ObjectiveStatusCounters": {
                status.value: count for status, count in seen.objective_counts.items()
            },
        }
    )


def _overall_best(
    seen: TuningOverview, parents: Sequence[TuningOverview]
) -> dict[str, Any] | None:
    """Return the best training job of a tuning job and those that it learnt from, where it did."""
    if seen.record.spec.warm_start is None:
        return None
    known = [(each, each.best) for each in (seen, *parents) if each.best is not None]
    objective = seen.record.spec.objectives[0]
    best = min(known, key=lambda pair: objective.as_loss(pair[1].objectives[0]), default=None)
    if best is None:
        return None
    overview, job = best
    return {"TuningJobName": overview.record.name, **tuned_summary(overview.record, job)}


def _final(objective: TuningObjective, job: TunedJob) -> dict[str, Any] | None:
    if not job.objectives:
        return None
    return {
        "Type": objective.type,
        "MetricName": objective.metric_name,
        "Value": job.objectives[0],
    }


def _completion(record: TuningJobRecord, jobs: Sequence[TunedJob]) -> dict[str, Any]:
    ended = sorted(
        (job for job in jobs if job.has_ended and not job.is_retryable),
        key=lambda job: (job.ended_at, job.index),
    )
    values = [job.objectives[0] if job.objectives and job.is_feasible else None for job in ended]
    course = course_of(values, record.spec.objectives[0])
    return _given(
        {
            "NumberOfTrainingJobsObjectiveNotImproving": course.not_improving,
            "ConvergenceDetectedTime": record.converged_at,
        }
    )


def _requested(spec: TuningJobSpec, shape: Shape) -> dict[str, Any]:
    """Return the request that a tuning job came with, else the one that asks for the same."""
    if spec.create_request is None:
        return _synthetic(spec, shape)
    request: dict[str, Any] = json.loads(spec.create_request)
    one = request.get("TrainingJobDefinition")
    for definition in [one] if one else request.get("TrainingJobDefinitions", ()):
        if "Environment" in definition:
            definition["Environment"] = redacted_environment(definition["Environment"])
        if "StaticHyperParameters" in definition:
            given = definition["StaticHyperParameters"]
            definition["StaticHyperParameters"] = redacted_hyper_parameters(given)
    return request


def _synthetic(spec: TuningJobSpec, shape: Shape) -> dict[str, Any]:
    first, *others = spec.definitions
    config: dict[str, Any] = {
        "Strategy": spec.strategy,
        "HyperParameterTuningJobObjective": _objective(spec.objectives[0]),
        "ResourceLimits": _limits(spec),
        "TrainingJobEarlyStoppingType": spec.early_stopping_type,
        "RandomSeed": spec.random_seed,
    }
    if not others:
        config["ParameterRanges"] = _ranges(first.parameters)
    config = _given(config)
    if not others:
        return {
            "HyperParameterTuningJobConfig": config,
            "TrainingJobDefinition": _definition(first, shape),
        }
    definitions = [
        _definition(each, shape)
        | {
            "HyperParameterRanges": _ranges(each.parameters),
            "TuningObjective": _objective(spec.objective_of(each)),
        }
        for each in spec.definitions
    ]
    return {"HyperParameterTuningJobConfig": config, "TrainingJobDefinitions": definitions}


def _definition(definition: TrainingJobDefinition, shape: Shape) -> dict[str, Any]:
    request = requested(definition.job, shape)
    answer = {name: request[name] for name in SAME_NAMES if name in request}
    algorithm = answer.get("AlgorithmSpecification", {})
    answer["AlgorithmSpecification"] = {n: algorithm[n] for n in ALGORITHM if n in algorithm}
    hyper_parameters = request.get("HyperParameters", {})
    static = {name: value for name, value in hyper_parameters.items() if name != OBJECTIVE}
    return {
        "DefinitionName": definition.definition_name,
        "StaticHyperParameters": static,
        **answer,
    }


def _ranges(parameters: Sequence[Parameter]) -> dict[str, Any]:
    found: dict[str, Any] = {member: [] for member in _RANGES.values()}
    for each in parameters:
        if isinstance(each, CategoricalParameter):
            said: dict[str, Any] = {"Name": each.name, "Values": list(each.values)}
        else:
            said = {
                "Name": each.name,
                "MinValue": str(each.min_value),
                "MaxValue": str(each.max_value),
                "ScalingType": each.scaling_type,
            }
        found[_RANGES[each.type]].append(said)
    return found


def _objective(objective: TuningObjective) -> dict[str, Any]:
    return {"Type": objective.type, "MetricName": objective.metric_name}


def _limits(spec: TuningJobSpec) -> dict[str, Any]:
    limits = spec.limits
    return _given(
        {
            "MaxNumberOfTrainingJobs": limits.max_number_of_training_jobs,
            "MaxParallelTrainingJobs": limits.max_parallel_training_jobs,
            "MaxRuntimeInSeconds": limits.max_runtime_in_seconds,
        }
    )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
