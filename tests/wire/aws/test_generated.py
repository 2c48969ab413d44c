"""Generated requests for every operation that is served: no 5xx, every refusal in AWS's form, nothing half done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import boto3
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.api.aws.factory import services
from orchestrator.api.aws.keys import issue
from orchestrator.api.aws.model import Model, load
from orchestrator.cli import aws_environment
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from orchestrator.testing.aws_requests import Generated, requests
from tests.unit.api.aws.operations import SERVED
from tests.wire.aws.generated import GeneratedClient, check
from tests.wire.aws.running import ended, training_job

PAIRS = [(service, name) for service, names in SERVED.items() for name in names]
ALWAYS = {"sts", "iam", "ecr"}
"""Services that refuse no request that keeps the model's rules."""
EVERYTHING = """
[[image]]
pattern = "*"
process = "default"
"""
KNOWN = {
    "TrainingJobName": "known",
    "TrialComponentName": "known",
    "ResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:training-job/known",
    "logGroupName": "/aws/sagemaker/TrainingJobs",
    "Namespace": "/aws/sagemaker/TrainingJobs",
}
"""Values that name something that is there."""
few = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)
many = settings(few, max_examples=2000)


@pytest.fixture(scope="module")
def generated_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service on which any image stands for an interpreter, with one ended job."""
    home: Path = tmp_path_factory.mktemp("generated") / "home"
    home.mkdir()
    (home / "images.toml").write_text(EVERYTHING)
    with Server(Settings(home=home, aws_backend="process"), ServeOptions(port=0)) as running:
        found = aws_environment.variables(home, running.url)
        session = boto3.Session(
            found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
        )
        session.client("s3", endpoint_url=running.url).create_bucket(Bucket="known")
        sagemaker = session.client("sagemaker", endpoint_url=running.url)
        sagemaker.create_training_job(**training_job("known", "known", "print('loss=1')"))
        ended(sagemaker, "known")
        yield running


@pytest.fixture(scope="module")
def client(generated_server: Server) -> Iterator[GeneratedClient]:
    client = GeneratedClient(generated_server.url, issue(generated_server.token))
    yield client
    client.close()


def test_every_operation_that_is_served_is_tried(generated_server: Server) -> None:
    served = services(generated_server.app.context)
    names = {(service, name) for service, it in served.items() for name in it.handlers()}
    assert names == set(PAIRS)


@cache
def model_of(service: str, name: str) -> Model:
    return load(service, [name])


def jobs(server: Server) -> int:
    """How many jobs there are."""
    return sum(server.service.jobs.counts().values())


def known(data: st.DataObject, request: Generated) -> Generated:
    """The request, now and then for something that is there."""
    if request.kind == "hostile" or not data.draw(st.booleans()):
        return request
    document = json.loads(request.body)
    document |= {name: value for name, value in KNOWN.items() if name in document}
    return Generated(request.kind, json.dumps(document).encode())


def ask(
    server: Server, client: GeneratedClient, service: str, name: str, data: st.DataObject
) -> None:
    model = model_of(service, name)
    operation = model.operations[name]
    request = data.draw(requests(operation))
    if service not in ALWAYS and name not in {"CreateTrainingJob", "DeleteTrainingJob"}:
        request = known(data, request)
    before = jobs(server)
    answer = client.send(model, operation, request)
    check(model, request, answer)
    if request.kind == "valid" and service in ALWAYS:
        assert answer.status_code == 200, answer.text
    created = name == "CreateTrainingJob" and answer.status_code == 200
    assert jobs(server) == before + created


@pytest.mark.parametrize(("service", "name"), PAIRS)
@few
@given(data=st.data())
def test_any_request_is_answered(
    generated_server: Server, client: GeneratedClient, service: str, name: str, data: st.DataObject
) -> None:
    ask(generated_server, client, service, name, data)


@pytest.mark.slow
@pytest.mark.parametrize(("service", "name"), PAIRS)
@many
@given(data=st.data())
def test_very_many_are(
    generated_server: Server, client: GeneratedClient, service: str, name: str, data: st.DataObject
) -> None:
    ask(generated_server, client, service, name, data)
