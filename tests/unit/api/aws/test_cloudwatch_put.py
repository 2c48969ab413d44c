"""PutMetricData and BatchPutMetrics: what is kept, and what is refused before anything is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.api.aws.cloudwatch_names import JOBS
from orchestrator.metrics.points import MAX_NAMES, GivenValue
from tests.unit.api.aws.cloudwatch_world import (
    CALLER,
    MINUTE,
    CloudWatchWorld,
    job_value,
    of_job,
    refused,
)


def test_counts_weigh_as_they_are(world: CloudWatchWorld) -> None:
    world.put({"MetricName": "m", "Values": [1.0, 7.0], "Counts": [5000.0, 0.5]})
    (point,) = world.statistics(
        Statistics=["SampleCount", "Sum", "Average", "Maximum"], ExtendedStatistics=["p50"]
    )
    assert (point["SampleCount"], point["Sum"], point["Maximum"]) == (5000.5, 5003.5, 7)
    assert point["Average"] == pytest.approx(5003.5 / 5000.5)
    assert point["ExtendedStatistics"] == {"p50": 1}


def test_the_largest_request_costs_a_row_for_each_value(world: CloudWatchWorld) -> None:
    values = {"Values": [float(n) for n in range(150)], "Counts": [1000.0] * 150}
    world.put(*({"MetricName": f"m{place}", **values} for place in range(10)))
    (point,) = world.statistics("m9", Statistics=["SampleCount", "Sum"])
    assert (point["SampleCount"], point["Sum"]) == (150_000, 1000 * sum(range(150)))
    points = world.metrics._points
    assert sum(1 for _ in points.iterate("cloudwatch:team")) == 1500


@pytest.mark.parametrize(
    ("datum", "text"),
    [
        ({"Values": [1.0] * 151}, r"member.1.Values must not have a size greater than 150."),
        ({"Values": [1.0], "Counts": [0.0]}, "must be above 0"),
        ({"Values": [1.0], "Counts": [-1.0]}, "must be above 0"),
        ({"Values": [1.0], "Counts": [1e300]}, "at most 2^360"),
        ({"Values": [1.0], "Counts": [float("nan")]}, "Special values"),
        ({"Value": 1.7e308}, "in the range of -2^360 to 2^360"),
        ({"Values": [1.0, -1e109]}, "in the range of -2^360 to 2^360"),
        ({"Value": float("-inf")}, "Special values"),
        ({"Value": 1.0, "Timestamp": datetime(1, 1, 1, tzinfo=UTC)}, "must not be before 1970"),
        ({"StatisticValues": {}}, "StatisticValues are not served"),
        ({"Value": 1.0, "Values": [1.0]}, "mutually exclusive"),
    ],
)
def test_what_cloudwatch_does_not_take_is_refused(
    world: CloudWatchWorld, datum: dict[str, Any], text: str
) -> None:
    code, message = refused(world.put, {"MetricName": "m", **datum})
    assert code in {"InvalidParameterValue", "InvalidParameterCombination"}
    assert text in message
    assert world.statistics() == []


def test_a_call_has_at_most_a_thousand_datums(world: CloudWatchWorld) -> None:
    datum = {"MetricName": "m", "Value": 1.0}
    code, text = refused(world.put, *[datum] * 1001)
    assert (code, text) == (
        "InvalidParameterValue",
        "The collection MetricData must not have a size greater than 1000.",
    )
    world.put(*[datum] * 1000)
    assert world.statistics()[0]["Sum"] == 1000


def test_a_request_with_one_job_that_is_none_keeps_nothing(world: CloudWatchWorld) -> None:
    world.start("known")
    data = [job_value("known"), job_value("nobody")]
    code, text = refused(world.put, *data, namespace=JOBS)
    assert (code, "'nobody'" in text) == ("InvalidParameterValue", True)
    assert world.metrics.names("known") == ()
    code, text = refused(world.put, data[0], {"MetricName": "m", "Value": 1.0}, namespace=JOBS)
    assert (code, "TrainingJobName, got none" in text) == ("InvalidParameterValue", True)
    assert world.metrics.names("known") == ()


def test_values_of_several_jobs_are_kept_at_once(world: CloudWatchWorld) -> None:
    world.start("one", "two")
    world.put(job_value("one"), job_value("two"), job_value("ONE", Value=2.0), namespace=JOBS)
    found = world.statistics(Namespace=JOBS, Dimensions=of_job("one"))
    assert [point["Sum"] for point in found] == [3]


def fill(world: CloudWatchWorld, job: str) -> None:
    """Give a job as many metrics as it may have."""
    world.start(job)
    world.metrics.put({job: [GivenValue(f"m{n}", 1.0, 5) for n in range(MAX_NAMES)]})


def test_a_job_has_so_many_metrics_and_no_more(world: CloudWatchWorld) -> None:
    fill(world, "full")
    world.put(job_value("full", "m7"), namespace=JOBS)
    code, text = refused(
        world.put, job_value("full", "m8"), job_value("full", "new"), namespace=JOBS
    )
    assert (code, "at most 10,000 metrics" in text, "'new'" in text) == (
        "LimitExceeded",
        True,
        True,
    )
    assert len(world.metrics.names("full")) == MAX_NAMES
    assert world.statistics("m8", Namespace=JOBS, Dimensions=of_job("full")) == []


def test_metrics_without_room_are_refused_one_by_one(world: CloudWatchWorld) -> None:
    fill(world, "full")
    names = ["new", "m1", "newer", "m2"]
    old = datetime(1969, 1, 1, tzinfo=UTC)
    data = [{"MetricName": name, "Timestamp": MINUTE, "Value": 1.0} for name in names]
    data.insert(0, {"MetricName": "m3", "Timestamp": old, "Value": 1.0})
    answer = world.reported.batch_put_metrics(
        {"TrialComponentName": "full-aws-training-job", "MetricData": data}, CALLER
    )
    assert answer["Errors"] == [
        {"Code": "VALIDATION_ERROR", "MetricIndex": 0},
        {"Code": "METRIC_LIMIT_EXCEEDED", "MetricIndex": 1},
        {"Code": "METRIC_LIMIT_EXCEEDED", "MetricIndex": 3},
    ]
    for name in ("m1", "m2"):
        assert world.statistics(name, Namespace=JOBS, Dimensions=of_job("full"))[0]["Sum"] == 1
