"""What botocore's clients write we read as they meant it, and what we write they read."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.api.aws.parse import load_json, parse_json
from orchestrator.api.aws.parse_query import parse_query, read_form
from orchestrator.api.aws.serialize import json_document, query_document
from orchestrator.api.aws.validate import validate
from orchestrator.testing.aws_requests import values
from tests.unit.api.aws.operations import PAIRS, botocores, ours

# Members of any shape are generated: what is long is not what is slow here.
thorough = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
PROTOCOLS = {
    "sagemaker": ("json",),
    "logs": ("json",),
    "ecr": ("json",),
    "cloudwatch": ("json", "query"),
    "sagemaker-metrics": ("rest-json",),
    "iam": ("query",),
    "sts": ("query",),
}
CASES = [(s, n, protocol) for s, n in PAIRS for protocol in PROTOCOLS[s]]


@pytest.mark.parametrize(("service", "name", "protocol"), CASES)
@thorough
@given(data=st.data())
def test_what_a_client_writes_is_read(service: str, name: str, protocol: str, data: Any) -> None:
    shape = ours(service).operations[name].input
    assert shape is not None
    value = data.draw(values(shape))
    model = botocores(service).operation_model(name)
    assert not ParamValidator().validate(value, model.input_shape).has_errors()
    sent = create_serializer(protocol, False).serialize_to_request(value, model)
    if protocol == "query":
        body = AWSRequest("POST", "http://host/", data=sent["body"]).prepare().body
        text = body.decode() if isinstance(body, bytes) else body
        read = parse_query(read_form(text), shape)
        assert read == without_nothing(value)
    else:
        read = parse_json(load_json(sent["body"]), shape)
        assert read == value
    validate(value, shape)


@pytest.mark.parametrize(("service", "name", "protocol"), CASES)
@thorough
@given(data=st.data())
def test_what_we_write_a_client_reads(service: str, name: str, protocol: str, data: Any) -> None:
    shape = ours(service).operations[name].output
    model = botocores(service).operation_model(name).output_shape
    value = data.draw(values(shape)) if shape is not None else {}
    if protocol == "query":
        body = query_document(name, value, shape, ours(service).namespace, "an-id")
    else:
        body = json_document(value, shape)
    answer = {"status_code": 200, "headers": {"x-amzn-requestid": "an-id"}, "body": body}
    read = create_parser(protocol).parse(answer, model)
    assert read.pop("ResponseMetadata")["RequestId"] == "an-id"
    assert read == (written(value) if protocol == "query" else value)


def written(value: Any) -> Any:
    """A value as XML can hold it: without most control characters."""
    if isinstance(value, dict):
        return {written(name): written(item) for name, item in value.items()}
    if isinstance(value, list):
        return [written(item) for item in value]
    if isinstance(value, str):
        return "".join(c if c >= " " or c in "\t\n\r" else "?" for c in value)
    return value


def without_nothing(value: Any) -> Any:
    """A value without empty structures and maps, which the query protocol cannot write."""
    if isinstance(value, dict):
        return {
            name: kept for name, item in value.items() if (kept := without_nothing(item)) != {}
        }
    if isinstance(value, list):
        kept = [item for item in map(without_nothing, value) if item != {}]
        return kept if kept or not value else {}
    return value
