"""Metrics by real boto3: what a job prints, what anybody puts, what a script reports."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.wire.aws.running import ended, refused, training_job

Client = Callable[..., Any]
JOBS = "/aws/sagemaker/TrainingJobs"
FIRST = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def cloudwatch(aws: Client) -> Any:
    return aws("cloudwatch")


@pytest.fixture
def job(aws: Client) -> str:
    """An ended job that has printed a loss three times."""
    name = f"job-{uuid.uuid4().hex[:8]}"
    aws("s3").create_bucket(Bucket=name)
    program = "print('loss=4'); print('loss=2'); print('loss=1')"
    aws("sagemaker").create_training_job(**training_job(name, name, program))
    ended(aws("sagemaker"), name)
    return name


def of_job(name: str) -> list[dict[str, str]]:
    return [{"Name": "TrainingJobName", "Value": name}]


def around_now() -> dict[str, datetime]:
    now = datetime.now(UTC)
    return {"StartTime": now - timedelta(hours=1), "EndTime": now + timedelta(hours=1)}


def test_what_a_job_printed_is_in_sagemaker_s_namespace(cloudwatch: Any, job: str) -> None:
    answer = cloudwatch.get_metric_statistics(
        Namespace=JOBS,
        MetricName="loss",
        Dimensions=of_job(job),
        Period=86400,
        Statistics=["Average", "Minimum", "Maximum", "Sum", "SampleCount"],
        ExtendedStatistics=["p50"],
        **around_now(),
    )
    points = answer["Datapoints"]
    assert sum(point["Sum"] for point in points) == 7  # one point; two around midnight
    assert min(point["Minimum"] for point in points) == 1
    assert max(point["Maximum"] for point in points) == 4
    assert sum(point["SampleCount"] for point in points) == 3
    if len(points) == 1:
        assert points[0]["Average"] == pytest.approx(7 / 3)
        assert points[0]["ExtendedStatistics"] == {"p50": 2}


def test_metrics_of_a_job_are_listed(cloudwatch: Any, job: str) -> None:
    found = cloudwatch.list_metrics(Namespace=JOBS, Dimensions=of_job(job))["Metrics"]
    assert found == [{"Namespace": JOBS, "MetricName": "loss", "Dimensions": of_job(job)}]
    assert found[0] in cloudwatch.list_metrics(MetricName="loss")["Metrics"]
    assert cloudwatch.list_metrics(Namespace=JOBS, MetricName="other")["Metrics"] == []


def test_several_metrics_are_read_at_once(cloudwatch: Any, job: str) -> None:
    query = {
        "Id": "a",
        "MetricStat": {
            "Metric": {"Namespace": JOBS, "MetricName": "loss", "Dimensions": of_job(job)},
            "Period": 86400,
            "Stat": "Maximum",
        },
    }
    none = {**query, "Id": "b", "ReturnData": False}
    answer = cloudwatch.get_metric_data(MetricDataQueries=[query, none], **around_now())
    (result,) = answer["MetricDataResults"]
    assert (result["Id"], result["Label"], max(result["Values"])) == ("a", "loss", 4)
    assert len(result["Timestamps"]) == len(result["Values"])
    expression = {"Id": "c", "Expression": "a * 2"}
    code, text = refused(
        cloudwatch.get_metric_data, MetricDataQueries=[expression], **around_now()
    )
    assert (code, "expressions are not served" in text) == ("InvalidParameterValue", True)


def test_anybody_s_metrics_are_kept_and_found(cloudwatch: Any) -> None:
    namespace = f"team-{uuid.uuid4().hex}"
    dimensions = [{"Name": "Model", "Value": "a"}]
    cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {
                "MetricName": "score",
                "Dimensions": dimensions,
                "Timestamp": FIRST + timedelta(seconds=second),
                "Value": float(second),
            }
            for second in (0, 30, 60)
        ]
        + [{"MetricName": "many", "Timestamp": FIRST, "Values": [1.0, 5.0], "Counts": [3.0, 1.0]}],
    )
    answer = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName="score",
        Dimensions=dimensions,
        StartTime=FIRST,
        EndTime=FIRST + timedelta(hours=1),
        Period=60,
        Statistics=["Sum"],
    )
    assert [(p["Timestamp"], p["Sum"]) for p in answer["Datapoints"]] == [
        (FIRST, 30),
        (FIRST + timedelta(minutes=1), 60),
    ]
    many = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName="many",
        StartTime=FIRST,
        EndTime=FIRST + timedelta(minutes=1),
        Period=60,
        Statistics=["Average"],
    )
    assert many["Datapoints"][0]["Average"] == 2
    found = cloudwatch.list_metrics(Namespace=namespace)["Metrics"]
    assert sorted(metric["MetricName"] for metric in found) == ["many", "score"]


def test_a_value_can_be_put_to_a_job(cloudwatch: Any, job: str) -> None:
    cloudwatch.put_metric_data(
        Namespace=JOBS,
        MetricData=[{"MetricName": "score", "Dimensions": of_job(job), "Value": 0.5}],
    )
    found = cloudwatch.list_metrics(Namespace=JOBS, Dimensions=of_job(job))["Metrics"]
    assert {metric["MetricName"] for metric in found} == {"loss", "score"}
    code, text = refused(
        cloudwatch.put_metric_data,
        Namespace=JOBS,
        MetricData=[{"MetricName": "score", "Dimensions": of_job("nobody"), "Value": 0.5}],
    )
    assert (code, "'nobody'" in text) == ("InvalidParameterValue", True)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"Namespace": "AWS/EC2", "MetricData": []}, "InvalidParameterValue"),
        ({"Namespace": "team", "MetricData": [{"MetricName": "m"}]}, "InvalidParameterValue"),
        (
            {"Namespace": "team", "MetricData": [{"MetricName": "m", "Value": float("inf")}]},
            "InvalidParameterValue",
        ),
        (
            {
                "Namespace": "team",
                "MetricData": [{"MetricName": "m", "Values": [1.0], "Counts": [1.0, 2.0]}],
            },
            "InvalidParameterValue",
        ),
    ],
)
def test_what_is_no_metric_is_refused(cloudwatch: Any, values: dict[str, Any], code: str) -> None:
    assert refused(cloudwatch.put_metric_data, **values)[0] == code


def test_statistics_are_named(cloudwatch: Any) -> None:
    where = {"Namespace": JOBS, "MetricName": "loss", "Period": 60, **around_now()}
    assert refused(cloudwatch.get_metric_statistics, **where)[0] == "MissingParameter"
    code, _ = refused(cloudwatch.get_metric_statistics, **where, ExtendedStatistics=["tm90"])
    assert code == "InvalidParameterValue"
    answer = cloudwatch.get_metric_statistics(**where, Statistics=["Sum"])
    assert answer["Datapoints"] == []


def test_refusals_are_what_boto3_s_clients_catch(cloudwatch: Any, job: str) -> None:
    where = {"Namespace": JOBS, "MetricName": "loss", "Statistics": ["Sum"], **around_now()}
    long = {**where, "StartTime": FIRST - timedelta(days=2), "EndTime": FIRST}
    with pytest.raises(cloudwatch.exceptions.InvalidParameterCombinationException, match="1,440"):
        cloudwatch.get_metric_statistics(**long, Period=60)
    with pytest.raises(cloudwatch.exceptions.InvalidParameterValueException, match="Period must"):
        cloudwatch.get_metric_statistics(**where, Period=7)
    query = {
        "Id": "a",
        "MetricStat": {
            "Metric": {"Namespace": JOBS, "MetricName": "loss", "Dimensions": of_job(job)},
            "Period": 60,
            "Stat": "Sum",
        },
    }
    with pytest.raises(cloudwatch.exceptions.InvalidNextToken):
        cloudwatch.get_metric_data(MetricDataQueries=[query], NextToken="x", **around_now())
    data = [
        {"MetricName": f"m{n}", "Dimensions": of_job(job), "Values": [1.0] * 150}
        for n in range(70)
    ]
    for _ in range(2):
        cloudwatch.put_metric_data(Namespace=JOBS, MetricData=data)
    too_large = [{"MetricName": "m0", "Dimensions": of_job(job), "Value": 1.7e308}]
    with pytest.raises(cloudwatch.exceptions.InvalidParameterValueException, match=r"2\^360"):
        cloudwatch.put_metric_data(Namespace=JOBS, MetricData=[*data, *too_large])
    found = cloudwatch.get_metric_statistics(
        **{**where, "MetricName": "m0"}, Dimensions=of_job(job), Period=86400
    )["Datapoints"]
    assert sum(point["Sum"] for point in found) == 300


def test_a_loss_beyond_all_measure_is_no_fault_of_ours(aws: Client, cloudwatch: Any) -> None:
    name = f"job-{uuid.uuid4().hex[:8]}"
    aws("s3").create_bucket(Bucket=name)
    program = "print('loss=1e308'); print('loss=1e308'); print('loss=1')"
    aws("sagemaker").create_training_job(**training_job(name, name, program))
    ended(aws("sagemaker"), name)
    where = {"Namespace": JOBS, "MetricName": "loss", "Dimensions": of_job(name), "Period": 86400}
    points = cloudwatch.get_metric_statistics(
        **where, Statistics=["Sum", "Average", "SampleCount"], **around_now()
    )["Datapoints"]
    assert [(p["Sum"], p["Average"], p["SampleCount"]) for p in points] == [(1, 1, 1)]


def test_pages_of_data_by_boto3_s_paginator(cloudwatch: Any) -> None:
    namespace = f"team-{uuid.uuid4().hex}"
    times = [FIRST + timedelta(minutes=minute) for minute in range(5)]
    cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {"MetricName": "score", "Timestamp": time, "Value": float(place), "Unit": "Count"}
            for place, time in enumerate(times)
        ],
    )
    queries = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": namespace, "MetricName": "score"},
                "Period": 60,
                "Stat": "Sum",
                "Unit": unit,
            },
        }
        for name, unit in (("a", "Count"), ("b", "Bytes"), ("c", "Count"))
    ]
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries,
        StartTime=FIRST,
        EndTime=FIRST + timedelta(hours=1),
        MaxDatapoints=3,
    )
    found: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for page in pages:
        for result in page["MetricDataResults"]:
            found[result["Id"]] += result["Values"]
    assert found == {"a": [4, 3, 2, 1, 0], "b": [], "c": [4, 3, 2, 1, 0]}


def test_a_script_reports_by_sagemaker_s_metrics_service(aws: Client, job: str) -> None:
    client = aws("sagemaker-metrics")
    answer = client.batch_put_metrics(
        TrialComponentName=f"{job}-aws-training-job",
        MetricData=[
            {"MetricName": "accuracy", "Timestamp": FIRST, "Step": step, "Value": step / 10}
            for step in range(3)
        ],
    )
    assert answer.get("Errors", []) == []
    found = aws("cloudwatch").get_metric_statistics(
        Namespace=JOBS,
        MetricName="accuracy",
        Dimensions=of_job(job),
        StartTime=FIRST,
        EndTime=FIRST + timedelta(minutes=1),
        Period=60,
        Statistics=["SampleCount", "Maximum"],
    )["Datapoints"]
    assert [(point["SampleCount"], point["Maximum"]) for point in found] == [(3, 0.2)]


def test_values_for_a_job_that_does_not_exist_are_refused_one_by_one(aws: Client) -> None:
    answer = aws("sagemaker-metrics").batch_put_metrics(
        TrialComponentName="nobody",
        MetricData=[{"MetricName": "a", "Timestamp": FIRST, "Value": 1.0}],
    )
    assert answer["Errors"] == [{"Code": "VALIDATION_ERROR", "MetricIndex": 0}]
