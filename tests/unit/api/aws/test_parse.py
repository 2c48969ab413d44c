"""Bodies of whatever kind: read as meant, or refused in AWS's words."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.parse import load_json, parse_json
from orchestrator.api.aws.parse_query import parse_query, read_form
from orchestrator.api.aws.shapes import Shape
from orchestrator.testing.aws_requests import requests
from tests.unit.api.aws.operations import PAIRS, ours


def shape_of(service: str, name: str) -> Shape:
    shape = ours(service).operations[name].input
    assert shape is not None
    return shape


CREATE = shape_of("sagemaker", "CreateTrainingJob")
LIST = shape_of("sagemaker", "ListTrainingJobs")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"TrainingJobName": 1}, "NUMBER_VALUE can not be converted to a String"),
        ({"TrainingJobName": True}, "TRUE_VALUE can not be converted to a String"),
        ({"TrainingJobName": {}}, "START_OBJECT can not be converted to a String"),
        ({"TrainingJobName": []}, "START_ARRAY can not be converted to a String"),
        ({"TrainingJobName": "\ud800"}, "half of a surrogate pair"),
        ({"HyperParameters": {"\ud800": "x"}}, "half of a surrogate pair"),
        ({"HyperParameters": []}, "START_ARRAY can not be converted to a Map"),
        ({"HyperParameters": {"a": 1}}, "NUMBER_VALUE can not be converted to a String"),
        ({"Tags": {}}, "START_OBJECT can not be converted to a List"),
        ({"Tags": ["x"]}, "STRING_VALUE can not be converted to a Structure"),
        ({"EnableNetworkIsolation": "true"}, "STRING_VALUE can not be converted to a Boolean"),
        (
            {"ResourceConfig": {"InstanceCount": "1"}},
            "STRING_VALUE can not be converted to an Integer",
        ),
        (
            {"ResourceConfig": {"InstanceCount": True}},
            "TRUE_VALUE can not be converted to an Integer",
        ),
        (
            {"ResourceConfig": {"InstanceCount": 1.5}},
            "NUMBER_VALUE can not be converted to an Integer",
        ),
        ({"ResourceConfig": {"InstanceCount": 1 << 31}}, "out of the range"),
        ([], "START_ARRAY can not be converted to a Structure"),
        (None, "can not be converted to a Structure"),
    ],
)
def test_a_value_of_another_type_is_refused(document: Any, said: str) -> None:
    with pytest.raises(AwsError, match=f"SerializationException: .*{said}"):
        parse_json(document, CREATE)


@pytest.mark.parametrize("value", [1e300, -1e300, "yesterday", "", True, [], {}, "0000-01-01"])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(AwsError, match="SerializationException"):
        parse_json({"CreationTimeAfter": value}, LIST)


@pytest.mark.parametrize(
    "value", [1600000000, 1600000000.0, "2020-09-13T12:26:40Z", "2020-09-13T14:26:40+02:00"]
)
def test_times_are_aware_and_in_utc(value: Any) -> None:
    read = parse_json({"CreationTimeAfter": value}, LIST)["CreationTimeAfter"]
    assert read == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    assert read.tzinfo is UTC


def test_unknown_members_and_nulls_are_ignored() -> None:
    document = {"TrainingJobName": "a", "RoleArn": None, "FromTheFuture": {"a": [1]}}
    assert parse_json(document, CREATE) == {"TrainingJobName": "a"}


def test_whole_numbers_may_be_written_as_floats() -> None:
    read = parse_json({"ResourceConfig": {"InstanceCount": 2.0}}, CREATE)
    assert read["ResourceConfig"]["InstanceCount"] == 2
    assert isinstance(read["ResourceConfig"]["InstanceCount"], int)


def test_numbers_that_are_none_are_words() -> None:
    shape = shape_of("sagemaker-metrics", "BatchPutMetrics")
    points = [{"MetricName": "a", "Timestamp": 1, "Value": v} for v in ("NaN", "-Infinity", 1)]
    read = parse_json({"TrialComponentName": "a", "MetricData": points}, shape)["MetricData"]
    assert math.isnan(read[0]["Value"])
    assert [point["Value"] for point in read[1:]] == [-math.inf, 1.0]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b"[" * 100_000,
        b"1" * 10_000,
        b"{'a': 1}",
        b'{"a":1}}',
        "\ufeff{}".encode(),
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(AwsError, match="SerializationException: the request body is not JSON"):
        load_json(body)


def test_a_small_body_of_very_many_values_is_refused() -> None:
    body = b'{"Tags":[' + b"{}," * 500_000 + b"{}]}"
    with pytest.raises(AwsError, match="more than 500,000 values"):
        load_json(body)


def test_an_empty_body_is_an_empty_input() -> None:
    assert load_json(b"") == load_json(b" \n") == {}


def test_a_shape_that_contains_itself_is_read_to_a_depth() -> None:
    shape = shape_of("sagemaker", "Search")
    document: Any = {"Filters": []}
    for _ in range(200):
        document = {"SubExpressions": [document]}
    with pytest.raises(AwsError, match="nests deeper than 64 levels"):
        parse_json({"Resource": "TrainingJob", "SearchExpression": document}, shape)


@pytest.mark.parametrize(("service", "name"), PAIRS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_body_is_read_or_refused(service: str, name: str, data: Any) -> None:
    operation = ours(service).operations[name]
    request = data.draw(requests(operation))
    try:
        read = parse_json(load_json(request.body), shape_of(service, name))
    except AwsError as error:
        assert (error.code, request.kind) != ("SerializationException", "valid")  # noqa: PT017
    else:
        assert isinstance(read, dict)
        json.dumps(read, default=str).encode()


# -- the query protocol --------------------------------------------------------------------------

SIMULATE = shape_of("iam", "SimulatePrincipalPolicy")
PUT = shape_of("cloudwatch", "PutMetricData")


def query(text: str, shape: Shape) -> dict[str, Any]:
    return parse_query(read_form(text), shape)


def test_parameters_are_read_by_their_numbers() -> None:
    text = "ActionNames.member.10=c&ActionNames.member.2=b&ActionNames.member.1=a&MaxItems=7&X=y"
    assert query(text, SIMULATE) == {"ActionNames": ["a", "b", "c"], "MaxItems": 7}


def test_an_empty_list_can_be_said() -> None:
    assert query("ActionNames=", SIMULATE) == {"ActionNames": []}


@pytest.mark.parametrize(
    "text",
    [
        "MaxItems=many",
        "MaxItems=1_0",
        "MaxItems=" + "9" * 5000,
        ".".join("a" * 40) + "=1",
    ],
)
def test_parameters_of_another_type_are_refused(text: str) -> None:
    with pytest.raises(AwsError, match="SerializationException"):
        query(text, SIMULATE)


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(AwsError, match="MalformedQueryString"):
        read_form("a=1&" * 20_000)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "ActionNames",
                    "member",
                    "1",
                    "entry",
                    "key",
                    "MetricData",
                    "Value",
                    "Dimensions",
                    "",
                    "99999999999",
                    "²",
                ]
            ),
            st.text(max_size=5),
        ),
        max_size=8,
    )
)
def test_any_parameters_are_read_or_refused(parts: list[tuple[str, str]]) -> None:
    names = [".".join(part for part, _ in parts[: n + 1]) for n in range(len(parts))]
    for shape in (SIMULATE, PUT):
        try:
            read = parse_query(list(zip(names, [text for _, text in parts], strict=True)), shape)
        except AwsError as error:
            assert error.code == "SerializationException"  # noqa: PT017
        else:
            assert isinstance(read, dict)
