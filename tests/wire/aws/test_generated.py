"""Generated requests for every operation that is served: no 5xx, every refusal in AWS's form."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.api.aws.factory import services
from orchestrator.api.aws.keys import issue
from orchestrator.api.aws.model import Model, load
from orchestrator.server import Server
from orchestrator.testing.aws_requests import requests
from tests.wire.aws.generated import GeneratedClient, check

SERVED = [
    ("sts", "GetCallerIdentity"),
    ("iam", "GetRole"),
    ("iam", "SimulatePrincipalPolicy"),
    ("ecr", "GetAuthorizationToken"),
]
few = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)
many = settings(few, max_examples=2000)


@pytest.fixture(scope="module")
def client(aws_server: Server) -> Iterator[GeneratedClient]:
    client = GeneratedClient(aws_server.url, issue(aws_server.token))
    yield client
    client.close()


def test_every_operation_that_is_served_is_tried(aws_server: Server) -> None:
    served = services(aws_server.app.context)
    names = {(service, name) for service, it in served.items() for name in it.handlers()}
    assert names == set(SERVED)


@cache
def model_of(service: str, name: str) -> Model:
    return load(service, [name])


def ask(client: GeneratedClient, service: str, name: str, data: st.DataObject) -> None:
    model = model_of(service, name)
    operation = model.operations[name]
    request = data.draw(requests(operation))
    answer = client.send(model, operation, request)
    check(model, request, answer)
    if request.kind == "valid":
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("service", "name"), SERVED)
@few
@given(data=st.data())
def test_any_request_is_answered(
    client: GeneratedClient, service: str, name: str, data: st.DataObject
) -> None:
    ask(client, service, name, data)


@pytest.mark.slow
@pytest.mark.parametrize(("service", "name"), SERVED)
@many
@given(data=st.data())
def test_very_many_are(
    client: GeneratedClient, service: str, name: str, data: st.DataObject
) -> None:
    ask(client, service, name, data)
