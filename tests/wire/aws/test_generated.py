"""Generated requests for every operation that is served: no 5xx, every refusal in AWS's form, nothing half done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.api.aws.factory import services
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.keys import issue
from orchestrator.api.aws.log_streams import streams_of
from orchestrator.api.aws.model import Model, Operation, load
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
KNOWN: dict[str, Any] = {
    "TrainingJobName": "known",
    "TrialComponentName": "known",
    "ResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:training-job/known",
    "logGroupName": "/aws/sagemaker/TrainingJobs",
    "logStreamNamePrefix": "known/",
    "Namespace": "/aws/sagemaker/TrainingJobs",
    "MetricName": "loss",
    "Dimensions": [{"Name": "TrainingJobName", "Value": "known"}],
    "StartTime": 0,
    "EndTime": 4_000_000_000,
}
"""Values that name something that is there, wherever in a request they stand."""
NEEDED = {"logGroupName"}
"""Of these, what botocore's model does not require, but the service does."""
NARROW = (
    *("Dimensions", "MetricName", "Namespace", "NextToken", "RecentlyActive"),
    *("endTime", "filterPattern", "logGroupIdentifier", "logGroupNamePattern"),
    *("logGroupNamePrefix", "logStreamNamePrefix", "logStreamNames", "nextToken", "orderBy"),
    "startTime",
)
"""Members without which more is found, or nothing is refused."""
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
    served = services(generated_server.app.context, JobAccess(None, issue("any", for_jobs=True)))
    names = {(service, name) for service, it in served.items() for name in it.handlers()}
    assert names == set(PAIRS)


@cache
def model_of(service: str, name: str) -> Model:
    return load(service, [name])


def jobs(server: Server) -> int:
    """How many jobs there are."""
    return sum(server.service.jobs.counts().values())


def known_names(server: Server) -> dict[str, Any]:
    """What is there, with the name of the one log stream."""
    (stream,) = streams_of(server.service.jobs.describe("known"))
    return KNOWN | {"logStreamName": stream.name, "logStreamNames": [stream.name]}


def with_known(value: Any, names: Mapping[str, Any]) -> Any:
    """A document in which every name is that of something that is there."""
    if isinstance(value, list):
        return [with_known(item, names) for item in value]
    if isinstance(value, dict):
        return {
            name: names[name] if name in names else with_known(item, names)
            for name, item in value.items()
        }
    return value


def known(
    server: Server, operation: Operation, data: st.DataObject, request: Generated
) -> Generated:
    """The request, now and then for something that is there, and with less that narrows it."""
    if request.kind == "hostile" or operation.input is None or not data.draw(st.booleans()):
        return request
    names = known_names(server)
    document = with_known(json.loads(request.body), names)
    document |= {name: names[name] for name in NEEDED if name in operation.input.members}
    optional = [
        name for name in NARROW if name in document and name not in operation.input.required
    ]
    if optional:
        for name in data.draw(st.sets(st.sampled_from(optional))):
            del document[name]
    return Generated(request.kind, json.dumps(document).encode())


METRIC = {"Namespace": "", "MetricName": "", "Dimensions": []}
TIMES = {"StartTime": 0, "EndTime": 0}


@pytest.mark.parametrize(
    ("service", "name", "document", "found"),
    [
        ("logs", "DescribeLogStreams", {"logStreamNamePrefix": ""}, "logStreams"),
        ("logs", "GetLogEvents", {"logStreamName": ""}, "events"),
        ("logs", "FilterLogEvents", {"logStreamNames": []}, "events"),
        ("cloudwatch", "ListMetrics", METRIC, "Metrics"),
        (
            "cloudwatch",
            "GetMetricStatistics",
            {**METRIC, **TIMES, "Period": 6_000_000, "Statistics": ["Average"]},
            "Datapoints",
        ),
        (
            "cloudwatch",
            "GetMetricData",
            {
                "MetricDataQueries": [
                    {"Id": "a", "MetricStat": {"Metric": METRIC, "Period": 60, "Stat": "Sum"}}
                ],
                **TIMES,
            },
            "Values",
        ),
    ],
)
def test_a_known_request_finds_something(
    generated_server: Server,
    client: GeneratedClient,
    service: str,
    name: str,
    document: dict[str, Any],
    found: str,
) -> None:
    group = {"logGroupName": ""} if service == "logs" else {}
    asked = with_known({**group, **document}, known_names(generated_server))
    model = model_of(service, name)
    request = Generated("valid", json.dumps(asked).encode())
    answer = client.send(model, model.operations[name], request)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    body = body.get("MetricDataResults", [body])[0]
    assert body[found], body


def ask(
    server: Server, client: GeneratedClient, service: str, name: str, data: st.DataObject
) -> None:
    model = model_of(service, name)
    operation = model.operations[name]
    request = data.draw(requests(operation))
    if service not in ALWAYS and name not in {"CreateTrainingJob", "DeleteTrainingJob"}:
        request = known(server, operation, data, request)
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
