"""Search expressions: which training jobs fit, and what is no expression."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.sagemaker.properties import property_named
from orchestrator.api.aws.sagemaker.search_expression import predicate
from orchestrator.api.aws.sagemaker.shapes import job_shapes

SHAPE = job_shapes().found
JOB: dict[str, Any] = {
    "TrainingJobName": "digits-7",
    "TrainingJobStatus": "Completed",
    "CreationTime": datetime(2026, 11, 26, 12, tzinfo=UTC),
    "TrainingTimeInSeconds": 90,
    "EnableNetworkIsolation": True,
    "HyperParameters": {"learning_rate": "0.3", "optimizer": "adam", "layers": "3", "a.b": "x"},
    "Environment": {"MODE": "fast"},
    "FinalMetricDataList": [{"MetricName": "val:accuracy", "Value": 0.93}],
    "Tags": [{"Key": "team", "Value": "vision"}],
    "ResourceConfig": {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 2},
    "InputDataConfig": [
        {
            "ChannelName": "train",
            "DataSource": {"S3DataSource": {"S3Uri": "s3://cats/train"}},
        },
        {"ChannelName": "test", "DataSource": {"S3DataSource": {"S3Uri": "s3://dogs/test"}}},
    ],
}


def condition(name: str, how: str | None = None, value: str | None = None) -> dict[str, str]:
    """One filter."""
    given = {"Name": name, "Operator": how, "Value": value}
    return {key: text for key, text in given.items() if text is not None}


def fits(*filters: dict[str, str], **more: Any) -> bool:
    """Whether the job is found."""
    expression = ({"Filters": list(filters)} if filters else {}) | more
    return predicate(expression, SHAPE)(JOB)


@pytest.mark.parametrize(
    ("name", "how", "value", "expected"),
    [
        ("TrainingJobName", None, "digits-7", True),
        ("TrainingJobName", "Equals", "digits", False),
        ("TrainingJobName", "NotEquals", "digits", True),
        ("TrainingJobName", "Contains", "git", True),
        ("TrainingJobName", "In", "a, digits-7", True),
        ("TrainingJobName", "In", "a,b", False),
        ("CreationTime", "GreaterThan", "2026-11-26T11:59:59", True),
        ("CreationTime", "LessThanOrEqualTo", "2026-11-26T12:00:00", True),
        ("CreationTime", "GreaterThan", "2026-11-26T13:00:00+02:00", True),
        ("TrainingTimeInSeconds", "Equals", "90.0", True),
        ("TrainingTimeInSeconds", "LessThan", "90", False),
        ("EnableNetworkIsolation", "Equals", "true", True),
        ("Metrics.val:accuracy", "GreaterThan", "0.9", True),
        ("Metrics.val:accuracy", "LessThan", "0.9", False),
        ("Metrics.loss", "LessThan", "0.9", False),
        ("HyperParameters.learning_rate", "LessThan", "0.5", True),
        ("HyperParameters.learning_rate", "Equals", "0.30", True),
        ("HyperParameters.learning_rate", "Equals", "0", True),
        ("HyperParameters.layers", "GreaterThanOrEqualTo", "3", True),
        ("HyperParameters.optimizer", "Equals", "adam", True),
        ("HyperParameters.optimizer", "Equals", "1", False),
        ("HyperParameters.optimizer", "Contains", "da", True),
        ("HyperParameters.a.b", "Equals", "x", True),
        ("HyperParameters.absent", "Exists", None, False),
        ("HyperParameters.absent", "NotExists", None, True),
        ("HyperParameters.absent", "NotEquals", "1", True),
        ("Environment.MODE", "Equals", "fast", True),
        ("Tags.team", "Equals", "vision", True),
        ("Tags.team", "Exists", None, True),
        ("Tags.owner", "Exists", None, False),
        ("ResourceConfig.InstanceCount", "GreaterThan", "1", True),
        ("InputDataConfig.DataSource.S3DataSource.S3Uri", "Contains", "dogs", True),
        ("FailureReason", "Exists", None, False),
    ],
)
def test_a_filter(name: str, how: str | None, value: str | None, expected: bool) -> None:
    assert fits(condition(name, how, value)) is expected


def test_all_filters_must_hold_or_any() -> None:
    good, bad = (
        condition("TrainingJobName", None, "digits-7"),
        condition("FailureReason", "Exists"),
    )
    assert not fits(good, bad)
    assert not fits(good, bad, Operator="And")
    assert fits(good, bad, Operator="Or")


def nested(channel: str, uri: str) -> dict[str, Any]:
    """A filter for one channel that has both."""
    return {
        "NestedPropertyName": "InputDataConfig",
        "Filters": [
            condition("InputDataConfig.ChannelName", "Equals", channel),
            condition("InputDataConfig.DataSource.S3DataSource.S3Uri", "Contains", uri),
        ],
    }


def test_a_nested_filter_speaks_of_one_element() -> None:
    assert fits(NestedFilters=[nested("train", "cats")])
    assert not fits(NestedFilters=[nested("train", "dogs")])


def test_expressions_nest() -> None:
    no = {"Filters": [condition("FailureReason", "Exists")]}
    yes = {"Filters": [condition("Tags.team", "Exists")]}
    assert fits(SubExpressions=[no, yes], Operator="Or")
    assert not fits(SubExpressions=[no, yes])


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ({}, "needs at least one of Filters"),
        ({"Filters": [condition("Colour", None, "x")]}, "Unknown property name: Colour"),
        ({"Filters": [condition("TrainingJobName.x", None, "x")]}, "Unknown property name"),
        ({"Filters": [condition("Metrics", None, "x")]}, "Unknown property name"),
        ({"Filters": [condition("ResourceConfig", None, "x")]}, "has no value to compare"),
        ({"Filters": [condition("TrainingJobName")]}, "needs a Value for operator Equals"),
        ({"Filters": [condition("TrainingJobName", "LessThan", "x")]}, "not supported"),
        ({"Filters": [condition("CreationTime", "Contains", "2026")]}, "not supported"),
        ({"Filters": [condition("CreationTime", "LessThan", "now")]}, "is a time"),
        ({"Filters": [condition("TrainingTimeInSeconds", "LessThan", "x")]}, "is a number"),
        ({"Filters": [condition("Metrics.a", "LessThan", "nan")]}, "is a number"),
        (
            {"Filters": [condition("TrainingJobName", "Contains", "x")] * 2},
            "'CONTAINS' operator usage limit of 1 exceeded.",
        ),
        (
            {"NestedFilters": [{"NestedPropertyName": "VpcConfig", "Filters": []}]},
            "Unknown nested property name: VpcConfig",
        ),
        (
            {"SubExpressions": [{"Filters": [condition("TrainingJobName", None, "x")] * 17}] * 3},
            "at most 50",
        ),
    ],
)
def test_what_is_no_expression_is_refused(expression: dict[str, Any], text: str) -> None:
    with pytest.raises(AwsError, match=text) as caught:
        predicate(expression, SHAPE)
    assert caught.value.code == "ValidationException"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_numbers_compare_as_numbers(kept: float, asked: float) -> None:
    job = {"FinalMetricDataList": [{"MetricName": "m", "Value": kept}]}
    found = {
        how: predicate({"Filters": [condition("Metrics.m", how, repr(asked))]}, SHAPE)(job)
        for how in ("LessThan", "Equals", "GreaterThan", "LessThanOrEqualTo", "NotEquals")
    }
    assert found == {
        "LessThan": kept < asked,
        "Equals": kept == asked,
        "GreaterThan": kept > asked,
        "LessThanOrEqualTo": kept <= asked,
        "NotEquals": kept != asked,
    }


def test_a_property_of_every_channel_has_several_values() -> None:
    found = property_named("InputDataConfig.ChannelName", SHAPE)
    assert list(found.values(JOB)) == ["train", "test"]
    assert list(found.values({})) == []
