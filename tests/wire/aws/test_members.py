"""What members of CreateTrainingJob do, asked for by real boto3, on both back ends."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import docker
import pytest
from botocore.exceptions import ClientError

from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from tests.e2e.conftest import eventually
from tests.e2e.machine import kill, supervisor_of
from tests.setup.images import BASE
from tests.wire.aws.running import ended, training_job

Client = Callable[..., Any]
IMAGES = f"""
[[image]]
pattern = "*/pytorch-training:*"
process = "default"
docker = "{BASE}"
"""
PATIENT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("running", flush=True)
signal.pause()
"""


@pytest.fixture(
    scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)]
)
def aws_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A service that runs AWS's images on one of the back ends; two hosts fill it."""
    home = tmp_path_factory.mktemp("members") / "home"
    home.mkdir()
    (home / "images.toml").write_text(IMAGES)
    settings = Settings(home=home, aws_backend=request.param, cpu_slots=2)
    with Server(settings, ServeOptions(port=0)) as running:
        yield running


@pytest.fixture
def sagemaker(aws: Client) -> Any:
    return aws("sagemaker")


@pytest.fixture
def name() -> str:
    return f"job-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def bucket(aws: Client) -> str:
    name = f"b-{uuid.uuid4().hex[:12]}"
    aws("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def create(sagemaker: Any, aws: Client, bucket: str) -> Callable[..., None]:
    """Create a job that runs a Python file of its channel ``code``."""

    def make(name: str, program: str, *channels: dict[str, Any], **more: Any) -> None:
        aws("s3").put_object(Bucket=bucket, Key=f"{name}/code/train.py", Body=program.encode())
        request = training_job(name, bucket) | more
        request["AlgorithmSpecification"] |= {
            "ContainerEntrypoint": ["python3"],
            "ContainerArguments": ["/opt/ml/input/data/code/train.py"],
        }
        request["InputDataConfig"] = [channel("code", f"s3://{bucket}/{name}/code"), *channels]
        sagemaker.create_training_job(**request)

    return make


def channel(name: str, uri: str, **more: Any) -> dict[str, Any]:
    """A channel from a bucket."""
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, **more}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def resources(count: int, **more: Any) -> dict[str, Any]:
    return {
        "InstanceType": "ml.m5.large", "InstanceCount": count, "VolumeSizeInGB": 1, **more
    }  # fmt: skip


def content(aws: Client, bucket: str, prefix: str) -> dict[str, bytes]:
    """The objects below a prefix."""
    s3 = aws("s3")
    found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {
        each["Key"].removeprefix(prefix): s3.get_object(Bucket=bucket, Key=each["Key"])[
            "Body"
        ].read()
        for each in found
    }


def printed(aws: Client, name: str) -> list[str]:
    """All lines of all hosts."""
    pages = (
        aws("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/")
    )
    return [event["message"] for page in pages for event in page["events"]]


def state(sagemaker: Any, name: str) -> tuple[str, str]:
    found = sagemaker.describe_training_job(TrainingJobName=name)
    return found["TrainingJobStatus"], found["SecondaryStatus"]


EVERYTHING = """
import json, os, pathlib
root = pathlib.Path("/opt/ml")
print("environment", os.environ["PLAIN"], os.environ["TRAINING_JOB_NAME"])
print("given", (root / "input/config/hyperparameters.json").read_text())
print("restored", (root / "checkpoints/step").read_text())
print("val_loss=4")
print("val_loss=0.5")
(root / "checkpoints/step").write_text("2")
(root / "model/weights").write_text("w")
(root / "output/data").mkdir(parents=True, exist_ok=True)
(root / "output/data/notes").write_text("n")
(root / "output/tensorboard").mkdir(parents=True, exist_ok=True)
(root / "output/tensorboard/events.out.tfevents.1").write_text("e")
"""


def test_what_goes_in_and_what_comes_out(
    sagemaker: Any, aws: Client, create: Callable[..., None], name: str, bucket: str
) -> None:
    aws("s3").put_object(Bucket=bucket, Key="kept/step", Body=b"1")
    create(
        name,
        EVERYTHING,
        Environment={"PLAIN": "a b"},
        HyperParameters={"lr": "0.1", "layers": "[1, 2]"},
        AlgorithmSpecification=training_job(name, bucket)["AlgorithmSpecification"]
        | {"MetricDefinitions": [{"Name": "val:loss", "Regex": r"val_loss=([0-9.]+)"}]},
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/out/", "CompressionType": "NONE"},
        CheckpointConfig={"S3Uri": f"s3://{bucket}/kept"},
        TensorBoardOutputConfig={"S3OutputPath": f"s3://{bucket}/board"},
        Tags=[{"Key": "team", "Value": "a"}],
    )
    answer = ended(sagemaker, name)
    lines = printed(aws, name)
    assert lines[0] == f"environment a b {name}"
    assert json.loads(lines[1].removeprefix("given ")) == {"lr": "0.1", "layers": "[1, 2]"}
    assert lines[2] == "restored 1"
    (metric,) = answer["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("val:loss", 0.5)
    model = answer["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{bucket}/")
    assert content(aws, bucket, model.rstrip("/")) == {"/weights": b"w"}
    assert content(aws, bucket, "kept/") == {"step": b"2"}
    board = content(aws, bucket, "board/")
    assert list(board.values()) == [b"e"]
    tags = sagemaker.list_tags(ResourceArn=answer["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "a"}]


def test_a_job_that_takes_too_long_is_stopped(
    sagemaker: Any, create: Callable[..., None], name: str
) -> None:
    create(name, PATIENT, StoppingCondition={"MaxRuntimeInSeconds": 1})
    answer = ended(sagemaker, name)
    assert (answer["TrainingJobStatus"], answer["SecondaryStatus"]) == (
        "Stopped",
        "MaxRuntimeExceeded",
    )


def test_a_job_that_waits_too_long_is_given_up(
    sagemaker: Any, create: Callable[..., None], name: str
) -> None:
    create(f"{name}-a", PATIENT, ResourceConfig=resources(2))
    create(
        f"{name}-b",
        PATIENT,
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1},
    )
    answer = ended(sagemaker, f"{name}-b")
    assert (answer["TrainingJobStatus"], answer["SecondaryStatus"]) == (
        "Stopped",
        "MaxWaitTimeExceeded",
    )
    assert "TrainingStartTime" not in answer
    assert state(sagemaker, f"{name}-a")[0] == "InProgress"
    sagemaker.stop_training_job(TrainingJobName=f"{name}-a")
    assert ended(sagemaker, f"{name}-a")["TrainingJobStatus"] == "Stopped"


GROUPS = """
import json, os
own = json.load(open("/opt/ml/input/config/resourceconfig.json"))
print(own["current_host"], own["current_group_name"], own["current_instance_type"],
      sorted(os.listdir("/opt/ml/input/data")))
"""


def test_hosts_of_several_groups_know_theirs(
    sagemaker: Any, aws: Client, create: Callable[..., None], name: str, bucket: str
) -> None:
    aws("s3").put_object(Bucket=bucket, Key="rows/1", Body=b"1")
    groups = [
        {"InstanceGroupName": "big", "InstanceType": "ml.c5.xlarge", "InstanceCount": 1},
        {"InstanceGroupName": "small", "InstanceType": "ml.m5.large", "InstanceCount": 1},
    ]
    create(
        name,
        GROUPS,
        channel("rows", f"s3://{bucket}/rows", InstanceGroupNames=["small"]),
        ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 1},
    )
    ended(sagemaker, name)
    assert sorted(printed(aws, name)) == [
        "algo-1 big ml.c5.xlarge ['code']",
        "algo-2 small ml.m5.large ['code', 'rows']",
    ]


def test_an_isolated_job_reaches_nobody(
    sagemaker: Any, aws: Client, aws_server: Server, create: Callable[..., None], name: str
) -> None:
    port = aws_server.url.rpartition(":")[2]
    program = f"""
import os, socket
print([key for key in os.environ if key.startswith("AWS_")])
for place in (("127.0.0.1", {port}), ("192.0.2.1", 80)):
    try:
        socket.create_connection(place, 2).close()
        print("reached", place)
    except OSError as error:
        print("refused")
print(socket.gethostbyname("algo-1"))
"""
    create(name, program, EnableNetworkIsolation=True)
    ended(sagemaker, name)
    *said, own_address = printed(aws, name)
    assert said == ["[]", "refused", "refused"]
    assert own_address.startswith("127.")


def test_too_many_instances_are_refused_in_the_words_that_the_sdk_reads(
    sagemaker: Any, create: Callable[..., None], name: str
) -> None:
    with pytest.raises(ClientError) as caught:
        create(name, PATIENT, ResourceConfig=resources(3))
    error = caught.value.response["Error"]
    assert error["Code"] == "ResourceLimitExceeded"
    assert error["Message"].startswith(
        "The account-level service limit 'ml.m5.large for training job usage' is 2 Instances, with "
        "current utilization of 0 Instances and a request delta of 3 Instances. "
    )
    with pytest.raises(ClientError):
        state(sagemaker, name)


def take_away(server: Server, name: str) -> None:
    """End a job's first attempt as a machine does that is switched off."""
    if server.service.settings.aws_backend == "process":
        kill(supervisor_of(server.service.home, name))
        return
    with closing(docker.from_env()) as engine:
        (container,) = engine.containers.list(filters={"name": name})
        container.kill()


def test_what_has_no_effect_cannot_be_changed_and_tags_of_aws_are_aws_s(
    sagemaker: Any, create: Callable[..., None], name: str
) -> None:
    create(name, PATIENT)
    for asked, text in (
        (
            {"RemoteDebugConfig": {"EnableRemoteDebug": True}},
            "RemoteDebugConfig cannot be changed",
        ),
        ({"ResourceConfig": {"KeepAlivePeriodInSeconds": 60}}, "has no warm pool"),
    ):
        with pytest.raises(ClientError, match=text):
            sagemaker.update_training_job(TrainingJobName=name, **asked)
    arn = sagemaker.update_training_job(TrainingJobName=name)["TrainingJobArn"]
    with pytest.raises(ClientError, match="aws: prefixed tag key names"):
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "aws:x", "Value": ""}])
    sagemaker.stop_training_job(TrainingJobName=name)
    ended(sagemaker, name)


AGAIN = """
import os, signal
if os.environ["ORCHESTRATOR_ATTEMPT"] == "1":
    print("first", flush=True)
    signal.pause()
print("second")
"""


def test_a_fault_of_the_platform_is_answered_with_another_attempt(
    sagemaker: Any, aws: Client, aws_server: Server, create: Callable[..., None], name: str
) -> None:
    create(name, AGAIN, RetryStrategy={"MaximumRetryAttempts": 1})
    eventually(lambda: printed(aws, name) == ["first"])
    take_away(aws_server, name)
    answer = ended(sagemaker, name)
    assert answer["RetryStrategy"] == {"MaximumRetryAttempts": 1}
    assert printed(aws, name) == ["first", "second"]
    steps = [step["Status"] for step in answer["SecondaryStatusTransitions"]]
    assert steps.count("Training") == 2
