"""Tuning jobs by real boto3: life, lists, tags, errors in AWS's words."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.aws.running import IMAGE, ROLE, refused
from tests.wire.conftest import client_of, eventually, tuning, tuning_ended

Client = Callable[..., Any]
pytestmark = pytest.mark.e2e

SCRIPT = """
import argparse, time
p = argparse.ArgumentParser()
p.add_argument("--x", type=float)
p.add_argument("--width", type=int, default=1)
p.add_argument("--MY_TOKEN")
p.add_argument("--seconds", type=float, default=0)
p.add_argument("--keep", type=int, default=0)
a = p.parse_args()
if a.keep:
    open("/opt/ml/checkpoints/x", "x").write(str(a.x))
time.sleep(a.seconds)
print(f"loss={(a.x - 0.3) ** 2 + a.width:.6f}", flush=True)
"""
ENDED = {"Completed", "Failed", "Stopped"}


@pytest.fixture
def sagemaker(aws: Client) -> Any:
    return aws("sagemaker")


@pytest.fixture
def source(aws: Client) -> str:
    """A bucket with packed code; the address of the code."""
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    s3 = aws("s3")
    s3.create_bucket(Bucket=bucket)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("train.py")
        member.size = len(SCRIPT.encode())
        archive.addfile(member, io.BytesIO(SCRIPT.encode()))
    s3.put_object(Bucket=bucket, Key="code/sourcedir.tar.gz", Body=packed.getvalue())
    return f"s3://{bucket}/code/sourcedir.tar.gz"


@pytest.fixture
def name() -> str:
    return f"search-{uuid.uuid4().hex[:8]}"


def x_from(low: str, high: str) -> dict[str, Any]:
    return {"ContinuousParameterRanges": [{"Name": "x", "MinValue": low, "MaxValue": high}]}


def definition(source: str, **more: Any) -> dict[str, Any]:
    return {
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        },
        "StaticHyperParameters": {
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": source,
            **more.pop("static", {}),
        },
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": source.rpartition("/code/")[0] + "/out"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 1,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **more,
    }


def config(**more: Any) -> dict[str, Any]:
    return {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": x_from("0", "1"),
        "RandomSeed": 1,
        **more,
    }


def request(name: str, source: str, **more: Any) -> dict[str, Any]:
    static = more.pop("static", {})
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": config(**more),
        "TrainingJobDefinition": definition(source, static=static),
    }


def ended(sagemaker: Any, name: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        said: dict[str, Any] = sagemaker.describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name
        )
        return said if said["HyperParameterTuningJobStatus"] in ENDED else None

    found: dict[str, Any] = eventually(look, seconds=60)
    return found


def training_jobs(sagemaker: Any, name: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, **query
    )["TrainingJobSummaries"]
    return found


def test_its_life(sagemaker: Any, source: str, name: str) -> None:
    asked = request(name, source, static={"MY_TOKEN": "hush-hush-hush"})
    arn = sagemaker.create_hyper_parameter_tuning_job(**asked)["HyperParameterTuningJobArn"]
    assert arn.endswith(f":hyper-parameter-tuning-job/{name}")
    said = ended(sagemaker, name)
    assert said["HyperParameterTuningJobStatus"] == "Completed"
    assert said["HyperParameterTuningJobConfig"] == asked["HyperParameterTuningJobConfig"]
    shown = said["TrainingJobDefinition"]
    assert shown["StaticHyperParameters"].pop("MY_TOKEN") == "***"
    del asked["TrainingJobDefinition"]["StaticHyperParameters"]["MY_TOKEN"]
    assert shown == asked["TrainingJobDefinition"]
    assert said["TrainingJobStatusCounters"] == {
        "Completed": 3,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 0,
        "Stopped": 0,
    }
    assert said["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 0}
    assert said["ConsumedResources"]["RuntimeInSeconds"] >= 0
    jobs = training_jobs(sagemaker, name, SortBy="FinalObjectiveMetricValue")
    assert said["BestTrainingJob"] == jobs[0]
    values = [job["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for job in jobs]
    assert values == sorted(values)
    best = sagemaker.describe_training_job(TrainingJobName=jobs[0]["TrainingJobName"])
    assert best["TuningJobArn"] == arn
    assert best["HyperParameters"]["x"] == jobs[0]["TunedHyperParameters"]["x"]
    assert best["HyperParameters"]["_tuning_objective_metric"] == "loss"
    assert best["HyperParameters"]["MY_TOKEN"] == "***"
    assert best["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    code, text = refused(
        sagemaker.describe_hyper_parameter_tuning_job, HyperParameterTuningJobName=name
    )
    assert (code, name in text) == ("ResourceNotFound", True)
    left = sagemaker.describe_training_job(TrainingJobName=jobs[0]["TrainingJobName"])
    assert left["TrainingJobStatus"] == "Completed"


def test_each_training_job_keeps_checkpoints_of_its_own(
    sagemaker: Any, aws: Client, source: str, name: str
) -> None:
    place = f"{source.rpartition('/code/')[0]}/kept"
    asked = request(name, source, static={"keep": "1"})
    asked["TrainingJobDefinition"]["CheckpointConfig"] = {"S3Uri": place}
    sagemaker.create_hyper_parameter_tuning_job(**asked)
    said = ended(sagemaker, name)
    assert said["TrainingJobDefinition"]["CheckpointConfig"] == {"S3Uri": place}
    assert said["TrainingJobStatusCounters"]["Completed"] == 3
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    for job in training_jobs(sagemaker, name):
        job_name = job["TrainingJobName"]
        told = sagemaker.describe_training_job(TrainingJobName=job_name)["CheckpointConfig"]
        assert told == {"S3Uri": f"{place}/{job_name}"}
        kept = aws("s3").get_object(Bucket=bucket, Key=f"{prefix}/{job_name}/x")["Body"].read()
        assert kept.decode() == job["TunedHyperParameters"]["x"]


def test_definitions_have_ranges_and_objectives_of_their_own(
    sagemaker: Any, source: str, name: str
) -> None:
    objective = {"Type": "Minimize", "MetricName": "loss"}
    definitions = [
        definition(
            source,
            DefinitionName=which,
            TuningObjective=objective,
            HyperParameterRanges=x_from(*ends),
        )
        for which, ends in (("low", ("0", "0.5")), ("high", ("0.5", "1")))
    ]
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 4}
    general = config(ResourceLimits=limits)
    for member in ("ParameterRanges", "HyperParameterTuningJobObjective"):
        del general[member]
    sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig=general,
        TrainingJobDefinitions=definitions,
    )
    said = ended(sagemaker, name)
    assert said["TrainingJobDefinitions"] == definitions
    assert said["BestTrainingJob"]["TrainingJobDefinitionName"] == "low"
    for job in training_jobs(sagemaker, name):
        is_low = float(job["TunedHyperParameters"]["x"]) < 0.5
        assert job["TrainingJobDefinitionName"] == ("low" if is_low else "high")


def test_it_is_stopped_with_its_training_jobs(sagemaker: Any, source: str, name: str) -> None:
    sagemaker.create_hyper_parameter_tuning_job(**request(name, source, static={"seconds": "600"}))
    eventually(lambda: training_jobs(sagemaker, name, StatusEquals="InProgress"))
    code, _ = refused(
        sagemaker.delete_hyper_parameter_tuning_job, HyperParameterTuningJobName=name
    )
    assert code == "ResourceInUse"
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    said = ended(sagemaker, name)
    assert said["HyperParameterTuningJobStatus"] == "Stopped"
    assert said["TrainingJobStatusCounters"]["InProgress"] == 0
    code, text = refused(
        sagemaker.stop_hyper_parameter_tuning_job, HyperParameterTuningJobName=name
    )
    assert code == "ValidationException"
    assert "is in status Stopped" in text


def test_lists_and_tags(sagemaker: Any, source: str, name: str) -> None:
    names = [f"{name}-{letter}" for letter in "ab"]
    for each in names:
        tags = [{"Key": "team", "Value": "vision"}]
        sagemaker.create_hyper_parameter_tuning_job(**request(each, source), Tags=tags)
        ended(sagemaker, each)
    pages = sagemaker.get_paginator("list_hyper_parameter_tuning_jobs").paginate(
        NameContains=name, SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 1}
    )
    rows = [row for page in pages for row in page["HyperParameterTuningJobSummaries"]]
    assert [row["HyperParameterTuningJobName"] for row in rows] == names
    assert rows[0]["Strategy"] == "Random"
    assert rows[0]["TrainingJobStatusCounters"]["Completed"] == 3
    arn = rows[0]["HyperParameterTuningJobArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "kept", "Value": "yes"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "kept", "Value": "yes"}]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"ParameterRanges": x_from("2", "1")}, "must not be above"),
        ({"ParameterRanges": x_from("much", "1")}, "must be a number"),
        (
            {
                "ParameterRanges": {
                    "ContinuousParameterRanges": [
                        {
                            "Name": "x",
                            "MinValue": "0",
                            "MaxValue": "1",
                            "ScalingType": "Logarithmic",
                        }
                    ]
                }
            },
            "must be above 0",
        ),
        (
            {
                "Strategy": "Grid",
                "ParameterRanges": {
                    "CategoricalParameterRanges": [{"Name": "x", "Values": ["1"]}]
                },
            },
            "at least",
        ),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 1}}, "needs an end"),
    ],
)
def test_what_cannot_be_is_refused(
    sagemaker: Any, source: str, name: str, more: dict[str, Any], words: str
) -> None:
    code, text = refused(
        sagemaker.create_hyper_parameter_tuning_job, **request(name, source, **more)
    )
    assert code == "ValidationException"
    assert words in text


def test_ranges_are_chosen_around_hints(sagemaker: Any, source: str, name: str) -> None:
    hints = [{"Name": "x", "ValueHint": "0.3"}, {"Name": "width", "ValueHint": "2"}]
    asked = request(name, source, ParameterRanges={"AutoParameters": hints}, Strategy="Bayesian")
    sagemaker.create_hyper_parameter_tuning_job(**asked, Autotune={"Mode": "Enabled"})
    said = ended(sagemaker, name)
    assert said["HyperParameterTuningJobStatus"] == "Completed"
    assert said["Autotune"] == {"Mode": "Enabled"}
    for job in training_jobs(sagemaker, name):
        values = job["TunedHyperParameters"]
        assert 0.03 <= float(values["x"]) <= 1
        assert values["width"] in {str(number) for number in range(1, 9)}


def test_a_name_is_taken_once_and_one_way_of_definitions_is_given(
    sagemaker: Any, source: str, name: str
) -> None:
    asked = request(name, source)
    sagemaker.create_hyper_parameter_tuning_job(**asked)
    code, text = refused(sagemaker.create_hyper_parameter_tuning_job, **asked)
    assert (code, "must be unique" in text) == ("ResourceInUse", True)
    del asked["TrainingJobDefinition"]
    code, text = refused(sagemaker.create_hyper_parameter_tuning_job, **asked)
    assert code == "ValidationException"
    assert "either TrainingJobDefinition or TrainingJobDefinitions" in text
    ended(sagemaker, name)


def test_one_of_our_sdk_is_described_too(sagemaker: Any, aws_server: Any, name: str) -> None:
    with client_of(aws_server) as client:
        spec = tuning("echo loss=$SM_HP_RATE", name)
        client.post("tuning-jobs", json={"spec": spec}).raise_for_status()
        tuning_ended(client, name)
    said = ended(sagemaker, name)
    assert said["HyperParameterTuningJobConfig"]["ParameterRanges"][
        "ContinuousParameterRanges"
    ] == [{"Name": "rate", "MinValue": "0.0", "MaxValue": "1.0", "ScalingType": "Auto"}]
    assert said["BestTrainingJob"]["TunedHyperParameters"].keys() == {"rate"}


def test_it_learns_from_an_earlier_one(sagemaker: Any, source: str, name: str) -> None:
    first, second = f"{name}-1", f"{name}-2"
    start = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": first}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    asked = request(second, source, Strategy="Bayesian")
    code, text = refused(
        sagemaker.create_hyper_parameter_tuning_job, **asked, WarmStartConfig=start
    )
    assert (code, first in text) == ("ValidationException", True)
    sagemaker.create_hyper_parameter_tuning_job(**request(first, source))
    best = ended(sagemaker, first)["BestTrainingJob"]
    sagemaker.create_hyper_parameter_tuning_job(**asked, WarmStartConfig=start)
    said = ended(sagemaker, second)
    assert said["WarmStartConfig"] == start
    found = {
        job["TrainingJobName"]: job["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
        for job in (best, said["BestTrainingJob"])
    }
    overall = said["OverallBestTrainingJob"]
    assert overall["TrainingJobName"] == min(found, key=lambda job: found[job])
    assert overall["TrainingJobName"].startswith(overall["TuningJobName"])
