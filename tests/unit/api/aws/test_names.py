"""The tables of names say what botocore's model says, and nobody speaks another protocol yet."""

from __future__ import annotations

import pytest

from orchestrator.api.aws.names import (
    ONLY_QUERY,
    QUERY_SERVICES,
    REST_SERVICES,
    TARGET_PREFIXES,
)
from tests.unit.api.aws.operations import PAIRS, SERVED, botocores, ours


@pytest.mark.parametrize("service", SERVED)
def test_every_service_is_found_as_the_model_says(service):
    model = ours(service)
    if model.protocol == "json":
        assert TARGET_PREFIXES[model.target_prefix] == service
    elif model.protocol == "query":
        assert QUERY_SERVICES[model.signing_name] == service
        assert model.signing_name in ONLY_QUERY
    else:
        assert REST_SERVICES[model.signing_name] == service


@pytest.mark.parametrize(
    ("service", "protocols"),
    [
        ("sagemaker", ["json"]),
        ("logs", ["json"]),
        ("ecr", ["json"]),
        ("iam", ["query"]),
        ("sts", ["query"]),
        ("sagemaker-metrics", ["rest-json"]),
        # botocore prefers json; a client that sent CBOR would need a parser more.
        ("cloudwatch", ["smithy-rpc-v2-cbor", "json", "query"]),
    ],
)
def test_the_protocols_are_those_that_were_measured(service, protocols):
    model = botocores(service)
    assert model.metadata["protocols"] == protocols
    assert model.resolved_protocol == ("json" if "json" in protocols else protocols[0])


def test_no_served_operation_has_parts_of_its_input_outside_the_body():
    for service, names in SERVED.items():
        for name in names:
            shape = botocores(service).operation_model(name).input_shape
            assert not [m for m in shape.members.values() if "location" in m.serialization]
            assert "{" not in ours(service).operations[name].uri


def test_only_what_is_served_is_kept_in_memory():
    assert set(ours("sagemaker").operations) == {
        name for service, name in PAIRS if service == "sagemaker"
    }
