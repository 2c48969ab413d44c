"""A small training job for boto3, how it is waited for, and what a refusal says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

IMAGE = "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.13-cpu-py312"
ROLE = "arn:aws:iam::000000000000:role/orchestrator"


def training_job(name: str, bucket: str, program: str = "print('ran')", **more: Any) -> Any:
    """A request for a job that runs a Python text of at most 256 characters."""
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "-c"],
            "ContainerArguments": [program],
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/out"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 1,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **more,
    }


def ended(sagemaker: Any, name: str) -> dict[str, Any]:
    """Wait with boto3's own waiter; return the description."""
    waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    found: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
    return found


def refused(call: Callable[..., Any], **values: Any) -> tuple[str, str]:
    """Return code and text of a refusal."""
    with pytest.raises(ClientError) as caught:
        call(**values)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]
