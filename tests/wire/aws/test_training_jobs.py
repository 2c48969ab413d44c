"""Training jobs by real boto3: life, errors in AWS's words, lists, tags, logs."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from tests.setup.images import BASE
from tests.wire.aws.running import IMAGE, ROLE, ended, refused, training_job

Client = Callable[..., Any]
GROUP = "/aws/sagemaker/TrainingJobs"
PATIENT = (
    "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); "
    "print('running', flush=True); signal.pause()"
)


on_both_backends = pytest.mark.parametrize(
    "aws_server",
    ["process", pytest.param("docker", marks=pytest.mark.docker)],
    indirect=True,
    scope="module",
)


@pytest.fixture(scope="module")
def aws_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A service whose requests run in its own interpreter, or in an image for AWS's."""
    home = tmp_path_factory.mktemp("jobs") / "home"
    home.mkdir(mode=0o700)
    rule = f'[[image]]\npattern = "{IMAGE}"\ndocker = "{BASE}:latest"\nprocess = "default"\n'
    (home / "images.toml").write_text(rule, encoding="utf-8")
    settings = Settings(home=home, aws_backend=getattr(request, "param", "process"))
    with Server(settings, ServeOptions(port=0)) as running:
        yield running


@pytest.fixture
def sagemaker(aws: Client) -> Any:
    return aws("sagemaker")


@pytest.fixture
def logs(aws: Client) -> Any:
    return aws("logs")


@pytest.fixture
def bucket(aws: Client) -> str:
    name = f"b-{uuid.uuid4().hex[:12]}"
    aws("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def name() -> str:
    return f"job-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def create(sagemaker: Any, bucket: str, name: str) -> Callable[..., dict[str, Any]]:
    """Create a job that runs a Python text; return the request."""

    def make(program: str = "print('ran')", **more: Any) -> dict[str, Any]:
        request: dict[str, Any] = training_job(name, bucket, program, **more)
        sagemaker.create_training_job(**request)
        return request

    return make


# -- life -------------------------------------------------------------------------------------


@on_both_backends
def test_a_job_runs_and_is_described_in_full(
    sagemaker: Any, aws: Client, create: Callable[..., dict[str, Any]], name: str, bucket: str
) -> None:
    request = create(
        "print('loss=0.5'); print('loss=0.25'); open('/opt/ml/model/w', 'w').write('w')",
        HyperParameters={"lr": "0.1"},
        Environment={"PLAIN": "x"},
        VpcConfig={"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
    )
    answer = ended(sagemaker, name)
    request["OutputDataConfig"]["KmsKeyId"] = ""  # said always, as on AWS
    for member in request:
        assert answer[member] == request[member]
    assert (answer["TrainingJobStatus"], answer["SecondaryStatus"]) == ("Completed", "Completed")
    model = f"s3://{bucket}/out/{name}/output/model.tar.gz"
    assert answer["ModelArtifacts"] == {"S3ModelArtifacts": model}
    (metric,) = answer["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", 0.25)
    steps = [step["Status"] for step in answer["SecondaryStatusTransitions"]]
    assert steps == ["Pending", "Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert answer["TrainingTimeInSeconds"] >= 1
    assert answer["CreationTime"] <= answer["TrainingStartTime"] <= answer["TrainingEndTime"]
    (kept,) = aws("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert kept["Key"] == f"out/{name}/output/model.tar.gz"


@on_both_backends
def test_a_failing_program_is_explained_in_aws_s_form(
    sagemaker: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    create("raise ValueError('the loss exploded')")
    with pytest.raises(WaiterError):
        ended(sagemaker, name)
    answer = sagemaker.describe_training_job(TrainingJobName=name)
    assert answer["TrainingJobStatus"] == "Failed"
    assert answer["FailureReason"].startswith("AlgorithmError: ")
    assert "the loss exploded" in answer["FailureReason"]


@on_both_backends
def test_a_job_is_stopped_and_stays_stopped(
    sagemaker: Any, logs: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    create(PATIENT)
    while not lines(logs, name):
        assert sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == (
            "InProgress"
        )
    sagemaker.stop_training_job(TrainingJobName=name)
    assert ended(sagemaker, name)["TrainingJobStatus"] == "Stopped"
    assert refused(sagemaker.stop_training_job, TrainingJobName=name) == (
        "ValidationException",
        "The request was rejected because the training job is in status Stopped.",
    )


@on_both_backends
def test_stop_reaches_a_script_behind_bash_and_its_model_is_kept(
    sagemaker: Any,
    aws: Client,
    logs: Any,
    create: Callable[..., dict[str, Any]],
    name: str,
    bucket: str,
) -> None:
    script = (
        "import signal, sys\n"
        "def save(*_):\n"
        "    open('/opt/ml/model/w', 'w').write('saved'); print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(15, save); print('running', flush=True)\n"
        "while True: signal.pause()\n"
    )
    aws("s3").put_object(Bucket=bucket, Key="code/train.py", Body=script.encode())
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/code"}
    create(
        AlgorithmSpecification={
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/bash"],
            "ContainerArguments": [
                "-c",
                "bash -c 'python3 /opt/ml/input/data/code/train.py; true'",
            ],
        },
        InputDataConfig=[{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
    )
    while "running" not in lines(logs, name):
        assert sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == (
            "InProgress"
        )
    sagemaker.stop_training_job(TrainingJobName=name)
    answer = ended(sagemaker, name)
    assert answer["TrainingJobStatus"] == "Stopped"
    assert lines(logs, name)[-1] == "saved"
    model = answer["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{bucket}/")
    assert aws("s3").head_object(Bucket=bucket, Key=model)["ContentLength"] > 0


def test_a_deleted_job_is_gone(
    sagemaker: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    create()
    ended(sagemaker, name)
    sagemaker.delete_training_job(TrainingJobName=name)
    missing = ("ValidationException", "Requested resource not found.")
    for call in (
        sagemaker.describe_training_job,
        sagemaker.stop_training_job,
        sagemaker.delete_training_job,
        sagemaker.update_training_job,
    ):
        assert refused(call, TrainingJobName=name) == missing


def test_a_name_is_taken_once(
    sagemaker: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    request = create()
    code, text = refused(sagemaker.create_training_job, **request)
    assert code == "ResourceInUse"
    assert text.startswith("Training job names must be unique")
    ended(sagemaker, name)


def test_many_at_once_are_each_answered_for_themselves(
    sagemaker: Any, create: Callable[..., dict[str, Any]], bucket: str, name: str
) -> None:
    taken = create()
    good = [training_job(f"{name}-{n}", bucket, f"print({n})") for n in range(12)]
    environment = {"SM_CHANNELS": "mine"}  # the model allows it, the specification does not
    requests = {
        **{request["TrainingJobName"]: request for request in good},
        "taken": taken,
        "reserved": training_job(f"{name}-reserved", bucket, Environment=environment),
        "nowhere": training_job(f"{name}-nowhere", bucket)
        | {"AlgorithmSpecification": {"TrainingImage": "no/image", "TrainingInputMode": "File"}},
        "codeless": training_job(
            f"{name}-codeless",
            bucket,
            AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            HyperParameters={
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": f"s3://{bucket}/missing.tar.gz",
            },
        ),
    }
    gate = threading.Barrier(len(requests))

    def asked(request: dict[str, Any]) -> str:
        gate.wait(30)
        try:
            return str(sagemaker.create_training_job(**request)["TrainingJobArn"])
        except ClientError as error:
            return str(error.response["Error"]["Code"])

    with ThreadPoolExecutor(len(requests)) as threads:
        answers = dict(zip(requests, threads.map(asked, requests.values()), strict=True))
    for request in good:
        own = request["TrainingJobName"]
        assert answers.pop(own).endswith(f":training-job/{own}")
        described = sagemaker.describe_training_job(TrainingJobName=own)
        assert described["AlgorithmSpecification"] == request["AlgorithmSpecification"]
    assert answers == {
        "taken": "ResourceInUse",
        "reserved": "ValidationException",
        "nowhere": "ValidationException",
        "codeless": "ValidationException",
    }
    left = sagemaker.list_training_jobs(NameContains=name, MaxResults=100)["TrainingJobSummaries"]
    assert len(left) == 13
    for job in left:
        ended(sagemaker, job["TrainingJobName"])


def test_all_broken_rules_are_said_at_once(sagemaker: Any) -> None:
    code, text = refused(
        sagemaker.create_training_job,
        TrainingJobName="no!",
        RoleArn=ROLE,
        AlgorithmSpecification={"TrainingInputMode": "file", "TrainingImage": IMAGE},
        OutputDataConfig={"S3OutputPath": "s3://b/out"},
    )
    assert code == "ValidationException"
    assert text.startswith("2 validation errors detected: Value 'no!' at 'trainingJobName' failed")


def test_an_image_that_nothing_stands_for_is_refused_before_anything_starts(
    sagemaker: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    algorithm = {"TrainingImage": "nobody/knows:1", "TrainingInputMode": "File"}
    code, text = refused(create, AlgorithmSpecification=algorithm)
    assert code == "ValidationException"
    assert "'nobody/knows:1'" in text
    assert refused(sagemaker.describe_training_job, TrainingJobName=name)[0] == (
        "ValidationException"
    )


# -- lists and tags -----------------------------------------------------------------------------


def test_lists_have_pages_filters_and_orders(
    sagemaker: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    request = create()
    names = [name, f"{name}-b", f"{name}-c"]
    for other in names[1:]:
        sagemaker.create_training_job(**{**request, "TrainingJobName": other})
    for each in names:
        ended(sagemaker, each)
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=name, SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": 2}
    )
    found = [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages]
    assert found == [[names[2], names[1]], [names[0]]]
    none = sagemaker.list_training_jobs(NameContains=name, StatusEquals="Failed")
    assert none["TrainingJobSummaries"] == []
    first = sagemaker.list_training_jobs(NameContains=name, MaxResults=1)["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in first] == [name]  # oldest first, as on AWS


def test_tags_are_added_listed_and_deleted(
    sagemaker: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    create(Tags=[{"Key": "team", "Value": "a"}])
    arn = ended(sagemaker, name)["TrainingJobArn"]
    sagemaker.add_tags(
        ResourceArn=arn, Tags=[{"Key": "team", "Value": "b"}, {"Key": "x", "Value": ""}]
    )
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [
        {"Key": "team", "Value": "b"},
        {"Key": "x", "Value": ""},
    ]
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team", "never there"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "x", "Value": ""}]
    code, text = refused(sagemaker.list_tags, ResourceArn=f"{arn}-none")
    assert (code, text) == (
        "ValidationException",
        f"Resource with ARN {arn}-none does not exist.",
    )


# -- logs ---------------------------------------------------------------------------------------


def streams(logs: Any, name: str) -> list[str]:
    """Names of a job's streams."""
    found = logs.describe_log_streams(
        logGroupName=GROUP, logStreamNamePrefix=f"{name}/", orderBy="LogStreamName"
    )
    return [stream["logStreamName"] for stream in found["logStreams"]]


def lines(logs: Any, name: str) -> list[str]:
    """What a job has printed, read as the SDK does."""
    said = []
    for stream in streams(logs, name):
        token: dict[str, str] = {}
        while True:
            page = logs.get_log_events(
                logGroupName=GROUP, logStreamName=stream, startFromHead=True, limit=2, **token
            )
            if not page["events"]:
                break
            said += [event["message"] for event in page["events"]]
            token = {"nextToken": page["nextForwardToken"]}
    return said


@on_both_backends
def test_all_hosts_have_a_stream_from_the_start(
    sagemaker: Any, logs: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    create(
        "import os; print(os.environ['SM_CURRENT_HOST'])",
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
    )
    ended(sagemaker, name)
    assert [stream.rpartition("-")[0] for stream in streams(logs, name)] == [
        f"{name}/algo-1",
        f"{name}/algo-2",
    ]
    assert lines(logs, name) == ["algo-1", "algo-2"]


@on_both_backends
def test_events_are_read_forwards_and_backwards(
    sagemaker: Any, logs: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    create("for n in range(5): print('line', n)")
    ended(sagemaker, name)
    assert lines(logs, name) == [f"line {n}" for n in range(5)]
    where = {"logGroupName": GROUP, "logStreamName": streams(logs, name)[0]}
    last = logs.get_log_events(**where, limit=2)
    assert [event["message"] for event in last["events"]] == ["line 3", "line 4"]
    before = logs.get_log_events(**where, limit=2, nextToken=last["nextBackwardToken"])
    assert [event["message"] for event in before["events"]] == ["line 1", "line 2"]
    again = logs.get_log_events(**where, nextToken=last["nextForwardToken"])
    assert again["events"] == []
    assert again["nextForwardToken"] == last["nextForwardToken"]
    assert refused(logs.get_log_events, **where, nextToken="x")[0] == "InvalidParameterException"


def test_events_are_filtered_over_streams(
    sagemaker: Any, logs: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    create("for n in range(20): print('loss', n)")
    ended(sagemaker, name)
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=GROUP,
        logStreamNamePrefix=f"{name}/",
        filterPattern='loss -"loss 1"',
        PaginationConfig={"PageSize": 3},
    )
    found = [event["message"] for page in pages for event in page["events"]]
    assert found == ["loss 0", *(f"loss {n}" for n in range(2, 10))]
    code, _ = refused(logs.filter_log_events, logGroupName=GROUP, filterPattern="{ $.a = 1 }")
    assert code == "InvalidParameterException"


def test_what_does_not_exist_has_no_events(logs: Any) -> None:
    nowhere = "ResourceNotFoundException"
    assert refused(logs.describe_log_streams, logGroupName="/aws/other")[0] == nowhere
    where = {"logGroupName": GROUP, "logStreamName": "none/algo-1-1"}
    assert refused(logs.get_log_events, **where)[0] == nowhere
    assert streams(logs, "none") == []


def test_the_group_is_listed(logs: Any) -> None:
    (group,) = logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker")["logGroups"]
    assert group["logGroupName"] == GROUP
    assert logs.describe_log_groups(logGroupNamePrefix="/other")["logGroups"] == []


# -- the same job everywhere ---------------------------------------------------------------------


def test_what_boto3_made_our_rest_interface_shows(
    aws_server: Server, sagemaker: Any, create: Callable[..., dict[str, Any]], name: str
) -> None:
    create(Environment={"API_TOKEN": "0123456789"})
    ended(sagemaker, name)
    job = aws_server.service.jobs.describe(name)
    assert job.spec.create_request is not None
    assert job.spec.backend == "process"
    echoed = sagemaker.describe_training_job(TrainingJobName=name)
    assert echoed["Environment"] == {"API_TOKEN": "***"}


def test_script_mode_of_sdk_v2_runs_its_archive(
    sagemaker: Any,
    aws: Client,
    create: Callable[..., dict[str, Any]],
    name: str,
    bucket: str,
    logs: Any,
    tmp_path: Path,
) -> None:
    import tarfile

    (tmp_path / "train.py").write_text("import sys; print('args', sys.argv[1:])")
    with tarfile.open(tmp_path / "sourcedir.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "train.py", "train.py")
    aws("s3").upload_file(str(tmp_path / "sourcedir.tar.gz"), bucket, "code/sourcedir.tar.gz")
    create(
        AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        HyperParameters={
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": f'"s3://{bucket}/code/sourcedir.tar.gz"',
            "epochs": "3",
        },
    )
    ended(sagemaker, name)
    assert lines(logs, name)[-1] == "args ['--epochs', '3']"
