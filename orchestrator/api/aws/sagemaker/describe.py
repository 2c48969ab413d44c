"""A job as DescribeTrainingJob and ListTrainingJobs answer it. Pure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api.aws.sagemaker.debugger import requested_debugger
from orchestrator.api.aws.sagemaker.names import to_wire
from orchestrator.api.aws.sagemaker.rule_status import rule_statuses
from orchestrator.spec.redact import (
    redacted_arguments,
    redacted_environment,
    redacted_hyper_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from orchestrator.api.aws.shapes import Shape
    from orchestrator.spec.findings import FindingsReport
    from orchestrator.spec.job import TrainingJobSpec
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.store.base import JobSummary

NOT_ECHOED = frozenset({"Tags", "SessionChainingConfig"})
"""Members of the request that DescribeTrainingJob's answer has no place for."""


def description(
    job: TrainingJobRecord, shape: Shape, jobs: Path, report: FindingsReport | None = None
) -> dict[str, Any]:
    """Return all that is known of a job: its request as it came, and what became of it.

    Args:
        job: The job.
        shape: Of CreateTrainingJob's input.
        jobs: Directory of the jobs that name no place for their outputs.
        report: What its debugger has to say; None = how its rules stand is left out.
    """
    request = requested(job.spec, shape)
    request.setdefault("OutputDataConfig", {}).setdefault("S3OutputPath", jobs.as_uri())
    answer = {name: value for name, value in request.items() if name not in NOT_ECHOED}
    output = answer.get("OutputDataConfig", {})
    answer |= {
        # SageMaker says the key always, and SDK v2 relies on it to attach to a job.
        "OutputDataConfig": {"KmsKeyId": "", **output},
        "TrainingJobArn": job.arn,
        "ModelArtifacts": {"S3ModelArtifacts": model_address(job, jobs)},
        "TrainingJobStatus": job.status.value,
        "SecondaryStatus": job.secondary_status.value,
        "CreationTime": job.created_at,
        "LastModifiedTime": job.modified_at,
        "SecondaryStatusTransitions": _transitions(job),
        "FinalMetricDataList": [
            {"MetricName": metric.name, "Value": metric.value, "Timestamp": metric.at}
            for metric in job.final_metrics
        ],
    }
    answer |= _given(
        {
            "FailureReason": job.failure_reason,
            "TrainingStartTime": job.training_started_at,
            "TrainingEndTime": job.training_ended_at,
        }
    )
    if report is not None:
        answer |= rule_statuses(job, request, report)
    if job.status.is_terminal and job.training_started_at is not None:
        seconds = _seconds(job.training_started_at, job.training_ended_at or job.ended_at)
        answer |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
    return answer


def summary(job: JobSummary) -> dict[str, Any]:
    """Return a job as it stands in a list."""
    return _given(
        {
            "TrainingJobName": job.name,
            "TrainingJobArn": job.arn,
            "CreationTime": job.created_at,
            "TrainingEndTime": job.ended_at,
            "LastModifiedTime": job.modified_at,
            "TrainingJobStatus": job.status.value,
            "SecondaryStatus": job.secondary_status.value,
        }
    )


def model_address(job: TrainingJobRecord, jobs: Path) -> str:
    """Return where the model is, or will be: known from the start, as on SageMaker."""
    model = job.artifacts.get("model")
    if model is not None:
        return Path(model.uri).as_uri() if model.uri.startswith("/") else model.uri
    output = job.spec.output_data_config
    prefix = (output.s3_output_path or jobs.as_uri()).rstrip("/")
    packed = "model.tar.gz" if output.compression_type == "GZIP" else "model/"
    return f"{prefix}/{job.name}/output/{packed}"


def requested(spec: TrainingJobSpec, shape: Shape) -> dict[str, Any]:
    """Return the request that a job came with, else the one that would ask for the same."""
    request: dict[str, Any] = (
        _synthetic(spec, shape) if spec.create_request is None else json.loads(spec.create_request)
    )
    if (
        spec.create_request is not None
        and request.get("TrainingJobName") != spec.training_job_name
    ):
        # One of a tuning job: it was asked for with the others, and differs in these.
        request["TrainingJobName"] = spec.training_job_name
        request["HyperParameters"] = dict(spec.hyper_parameters)
        if "CheckpointConfig" in request and spec.checkpoint_config is not None:
            request["CheckpointConfig"]["S3Uri"] = spec.checkpoint_config.s3_uri
    if "Environment" in request:
        request["Environment"] = redacted_environment(request["Environment"])
    if "HyperParameters" in request:
        request["HyperParameters"] = redacted_hyper_parameters(request["HyperParameters"])
    algorithm = request.get("AlgorithmSpecification", {})
    for member in ("ContainerEntrypoint", "ContainerArguments"):
        if member in algorithm:
            algorithm[member] = list(redacted_arguments(algorithm[member]))
    return request


def _transitions(job: TrainingJobRecord) -> list[dict[str, Any]]:
    return [
        _given(
            {
                "Status": step.status.value,
                "StartTime": step.started_at,
                "EndTime": step.ended_at,
                "StatusMessage": step.message,
            }
        )
        for step in job.transitions
    ]


def _seconds(start: datetime, end: datetime | None) -> int:
    """Return whole seconds, at least 1: a job that has trained has taken time."""
    return 1 if end is None else max(1, round((end - start).total_seconds()))


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


# -- jobs that did not come over this interface ------------------------------------------------


def _synthetic(spec: TrainingJobSpec, shape: Shape) -> dict[str, Any]:
    """Return the request that would ask for the same."""
    fields = spec.model_dump()
    fields["input_data_config"] = [_channel(channel) for channel in fields["input_data_config"]]
    if spec.resource_config.instance_groups:  # they say kinds and counts
        for name in ("instance_type", "instance_count"):
            del fields["resource_config"][name]
    if not spec.retry_strategy.maximum_retry_attempts:
        del fields["retry_strategy"]
    if spec.checkpoint_config is not None and spec.checkpoint_config.s3_uri is None:
        del fields["checkpoint_config"]  # kept between attempts only: AWS has no word for that
    request: dict[str, Any] = to_wire(fields, shape)
    return request | requested_debugger(spec)


def _channel(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"data_source": {"s3_data_source": fields | {"s3_uri": fields["uri"]}}}
