"""CreateTrainingJob's members: what becomes of each, and that a request comes back as it came."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.aws.sagemaker.create import specification
from orchestrator.api.aws.sagemaker.describe import NOT_ECHOED, description, requested
from orchestrator.api.aws.sagemaker.members import MEMBERS, Treatment, treated
from orchestrator.api.aws.sagemaker.names import in_wire_words
from orchestrator.api.aws.sagemaker.shapes import job_shapes
from orchestrator.api.aws.shapes import Shape
from orchestrator.errors import InvalidSpec
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import SecondaryStatus, TrainingJobStatus

SHAPE = job_shapes().request
JOBS = Path("/home/me/.orchestrator/jobs")
ROLE = "arn:aws:iam::000000000000:role/trainer"
LEAST: dict[str, Any] = {
    "TrainingJobName": "job",
    "RoleArn": ROLE,
    "AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": "image"},
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
}


def paths(shape: Shape, path: str = "") -> list[str]:
    """Every leaf below a shape."""
    if shape.element is not None:
        return paths(shape.element, path)
    if shape.kind != "structure":
        return [path]
    return [
        leaf
        for name, inner in shape.members.items()
        for leaf in paths(inner, f"{path}.{name}" if path else name)
    ]


def test_the_table_has_every_member_that_the_model_has() -> None:
    assert [path for path in paths(SHAPE) if treated(path) is None] == []


def test_the_table_has_no_member_that_the_model_lacks() -> None:
    known = paths(SHAPE)
    of_the_table = [member.path for member in MEMBERS]
    assert [
        path
        for path in of_the_table
        if not any(leaf == path or leaf.startswith(f"{path}.") for leaf in known)
    ] == []
    assert len(set(of_the_table)) == len(of_the_table)


def whole() -> dict[str, Any]:
    """A request with every member that is not refused."""
    return {
        **LEAST,
        "HyperParameters": {"learning-rate": "0.1", "CamelCase": "x"},
        "AlgorithmSpecification": {
            "TrainingInputMode": "FastFile",
            "TrainingImage": "image",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
            "EnableSageMakerMetricsTimeSeries": True,
            "ContainerEntrypoint": ["/bin/bash"],
            "ContainerArguments": ["-c", "true"],
            "TrainingImageConfig": {"TrainingRepositoryAccessMode": "Platform"},
        },
        "InputDataConfig": [
            {
                "ChannelName": "code",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": "s3://bucket/code",
                        "S3DataDistributionType": "ShardedByS3Key",
                        "InstanceGroupNames": ["workers"],
                        "ModelAccessConfig": {"AcceptEula": True},
                    }
                },
                "ContentType": "text/csv",
                "CompressionType": "None",
                "RecordWrapperType": "None",
                "InputMode": "File",
                "ShuffleConfig": {"Seed": 7},
            }
        ],
        "OutputDataConfig": {
            "S3OutputPath": "s3://bucket/out",
            "KmsKeyId": "key",
            "CompressionType": "NONE",
        },
        "ResourceConfig": {
            "InstanceGroups": [
                {
                    "InstanceType": "ml.m5.xlarge",
                    "InstanceCount": 2,
                    "InstanceGroupName": "workers",
                }
            ],
            "VolumeSizeInGB": 5,
            "KeepAlivePeriodInSeconds": 60,
        },
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        "StoppingCondition": {
            "MaxRuntimeInSeconds": 60,
            "MaxWaitTimeInSeconds": 120,
            "MaxPendingTimeInSeconds": 1800,
        },
        "Tags": [{"Key": "team", "Value": "a"}],
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
        "EnableManagedSpotTraining": True,
        "CheckpointConfig": {"S3Uri": "s3://bucket/ckpt", "LocalPath": "/opt/ml/checkpoints"},
        "DebugHookConfig": {"S3OutputPath": "s3://bucket/debug"},
        "TensorBoardOutputConfig": {"S3OutputPath": "s3://bucket/tb"},
        "ExperimentConfig": {"ExperimentName": "e"},
        "Environment": {"NAME": "value", "CamelCase": "x"},
        "RetryStrategy": {"MaximumRetryAttempts": 3},
        "RemoteDebugConfig": {"EnableRemoteDebug": True},
    }


def record(spec: TrainingJobSpec) -> TrainingJobRecord:
    """A job that waits."""
    now = datetime(2026, 11, 26, tzinfo=UTC)
    return TrainingJobRecord(
        number=1,
        spec=spec,
        arn="arn",
        status=TrainingJobStatus.IN_PROGRESS,
        secondary_status=SecondaryStatus.PENDING,
        created_at=now,
        modified_at=now,
    )


@pytest.mark.parametrize("request_", [LEAST, whole()], ids=["least", "whole"])
def test_a_request_is_echoed_as_it_came(request_: dict[str, Any]) -> None:
    answer = description(record(specification(request_, SHAPE)), SHAPE, JOBS)
    echoed = {name: value for name, value in request_.items() if name not in NOT_ECHOED}
    output = {"KmsKeyId": "", **request_["OutputDataConfig"]}  # said always, as on AWS
    assert {name: answer[name] for name in echoed} == {**echoed, "OutputDataConfig": output}
    assert not NOT_ECHOED & set(answer)


def test_what_acts_is_in_the_specification() -> None:
    spec = specification(whole(), SHAPE)
    assert spec.hyper_parameters == {"learning-rate": "0.1", "CamelCase": "x"}
    assert spec.environment == {"NAME": "value", "CamelCase": "x"}
    (channel,) = spec.input_data_config
    assert (channel.uri, channel.writable) == ("s3://bucket/code", True)
    assert channel.s3_data_distribution_type == "ShardedByS3Key"
    assert channel.shuffle_config is not None
    assert [group for _, group, _ in spec.hosts] == ["workers", "workers"]
    assert spec.resource_config.volume_size_in_gb == 5
    assert spec.stopping_condition.max_pending_time_in_seconds == 1800
    assert spec.enable_network_isolation
    assert spec.tags[0].key == "team"


def test_of_instance_preferences_the_first_is_taken() -> None:
    wish = {"InstancePreferences": [{"InstanceType": "ml.g5.xlarge", "InstanceCount": 2}]}
    spec = specification({**LEAST, "ResourceConfig": wish}, SHAPE)
    assert [kind for _, _, kind in spec.hosts] == ["ml.g5.xlarge"] * 2


@pytest.mark.parametrize(
    "path", [member.path for member in MEMBERS if member.treatment is Treatment.REFUSED]
)
def test_what_cannot_be_used_is_refused_with_the_reason(path: str) -> None:
    given: dict[str, Any] = json.loads(json.dumps(whole()))
    place: Any = given
    *above, last = path.split(".")
    for name in above:
        place = place.setdefault(name, {})
        place = place[0] if isinstance(place, list) else place
    place[last] = {}
    with pytest.raises(InvalidSpec, match=f"^{path} cannot be used here: "):
        specification(given, SHAPE)


def test_values_of_secret_names_are_not_echoed() -> None:
    request = {
        **LEAST,
        "Environment": {"API_TOKEN": "0123456789", "PLAIN": "x"},
        "HyperParameters": {"db_password": "0123456789"},
    }
    answer = description(record(specification(request, SHAPE)), SHAPE, JOBS)
    assert answer["Environment"] == {"API_TOKEN": "***", "PLAIN": "x"}
    assert answer["HyperParameters"] == {"db_password": "***"}


def test_a_job_of_the_sdk_is_described_by_the_request_that_would_ask_for_it() -> None:
    made = specification(whole(), SHAPE)
    ours = made.model_copy(update={"create_request": None})
    echoed = {**requested(ours, SHAPE), "EnableManagedSpotTraining": True}  # for its wait limit
    again = specification(echoed, SHAPE)
    assert again.model_copy(update={"create_request": None}) == ours


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {
                "ResourceConfig": {
                    "InstanceType": "ml.m5.large",
                    "InstanceGroups": whole()["ResourceConfig"]["InstanceGroups"],
                }
            },
            "must not be given together with InstanceGroups",
        ),
        (
            {"StoppingCondition": {"MaxWaitTimeInSeconds": 9}},
            "needs EnableManagedSpotTraining to be true",
        ),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 10, "MaxWaitTimeInSeconds": 9},
            },
            "greater than or equal to MaxRuntimeInSeconds",
        ),
        ({"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds"),
        ({"Tags": [{"Key": "AWS:x", "Value": ""}]}, "aws: prefixed tag key names"),
    ],
)
def test_rules_that_the_model_does_not_say(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidSpec, match=text):
        specification({**LEAST, **change}, SHAPE)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"CheckpointConfig": {"S3Uri": "https://x/y"}}, "checkpoint_config.s3_uri"),
        (
            {"TensorBoardOutputConfig": {"S3OutputPath": "https://x/y"}},
            "tensor_board_output_config.s3_output_path",
        ),
        (
            {
                "AlgorithmSpecification": LEAST["AlgorithmSpecification"]
                | {"MetricDefinitions": [{"Name": "a", "Regex": "(a{99999999999})"}]}
            },
            "regex",
        ),
    ],
)
def test_what_would_fail_later_is_refused_now(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidSpec, match=text):
        specification({**LEAST, **change}, SHAPE)


def test_secret_arguments_are_not_shown() -> None:
    algorithm = LEAST["AlgorithmSpecification"] | {
        "ContainerEntrypoint": ["train", "--api-key=abcdefgh"],
        "ContainerArguments": ["--password", "hunter2secret", "--epochs", "3"],
    }
    spec = specification({**LEAST, "AlgorithmSpecification": algorithm}, SHAPE)
    for job in (spec, spec.model_copy(update={"create_request": None})):
        shown = description(record(job), SHAPE, JOBS)["AlgorithmSpecification"]
        assert shown["ContainerEntrypoint"] == ["train", "--api-key=***"]
        assert shown["ContainerArguments"] == ["--password", "***", "--epochs", "3"]


def test_a_job_without_a_place_for_its_outputs_is_described_with_its_folder() -> None:
    spec = TrainingJobSpec.parse(
        {"training_job_name": "own", "algorithm_specification": {"container_entrypoint": ["true"]}}
    )
    answer = description(record(spec), SHAPE, JOBS)
    assert answer["OutputDataConfig"]["S3OutputPath"] == "file:///home/me/.orchestrator/jobs"
    assert answer["ModelArtifacts"]["S3ModelArtifacts"] == (
        "file:///home/me/.orchestrator/jobs/own/output/model.tar.gz"
    )


def test_messages_have_the_names_of_the_wire() -> None:
    text = "resource_config.instance_count must be at least 1, got 0 for my_own_word"
    assert in_wire_words(text, SHAPE) == (
        "resourceConfig.instanceCount must be at least 1, got 0 for my_own_word"
    )
