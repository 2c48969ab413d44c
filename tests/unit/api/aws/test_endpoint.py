"""The one entry: which service and operation a signed request reaches, and how any failure looks."""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.parsers import create_parser
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.endpoint import SCANS, Endpoint, Threads
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.keys import issue
from orchestrator.api.aws.operations import Answers, Gathered, Handler, Input, Operations
from orchestrator.api.aws.received import Received, is_signed
from orchestrator.api.aws.sigv4 import Verifier
from orchestrator.api.pools import Pool
from orchestrator.errors import (
    AlreadyExists,
    InvalidSpec,
    InvalidState,
    LimitExceeded,
    NotFound,
    OrchestratorError,
    StaleLock,
    StoreError,
    Unavailable,
)
from tests.unit.api.aws.operations import SERVED, botocores
from tests.unit.api.aws.signing import KEYS, clock, signed, with_header

ACCESS = JobAccess(None, issue("a-token-of-nobody", for_jobs=True))

MOMENT = 1_600_000_000


@dataclass
class Echo:
    """A service whose answers a test chooses, and which remembers what it was asked."""

    names: tuple[str, ...]
    answer: Callable[[], Any] = dict
    asked: list[tuple[str, dict[str, Any], Caller]] = field(default_factory=list)

    def handlers(self) -> Mapping[str, Handler]:
        def handler(name: str) -> Handler:
            def handle(given: dict[str, Any], caller: Caller) -> dict[str, Any]:
                self.asked.append((name, given, caller))
                found: dict[str, Any] = self.answer()
                return found

            return handle

        return {name: handler(name) for name in self.names}


class Bucketless:
    """S3 as it is before there is any."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []

    async def __call__(self, request: Request, caller: Caller) -> Response:
        self.callers.append(caller)
        if request.method == "GET":
            return Response(await request.body())
        raise AwsError("NotImplemented", f"{request.method} is not implemented", 501)


@dataclass
class World:
    """An endpoint with services that echo."""

    sagemaker: Echo
    cloudwatch: Echo
    metrics: Echo
    s3: Bucketless
    endpoint: Endpoint

    def ask(self, received: Received, body: bytes = b"{}") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer."""
        return asyncio.run(self.ask_in_loop(received, body))

    async def ask_in_loop(
        self, received: Received, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": received.method,
            "path": received.raw_path.decode(),
            "raw_path": received.raw_path,
            "query_string": received.raw_query,
            "headers": [(n.encode(), v.encode()) for n, v in received.headers],
        }
        assert is_signed(scope)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.endpoint(scope, receive, send)
        headers = {n.decode().lower(): v.decode() for n, v in sent[0]["headers"]}
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], headers, content

    def parsed(self, service: str, name: str, received: Received, body: bytes = b"{}") -> Any:
        """The answer as botocore reads it."""
        status, headers, content = self.ask(received, body)
        model = botocores(service)
        protocol = "rest-json" if service == "sagemaker-metrics" else "json"
        answer = {"status_code": status, "headers": headers, "body": content}
        shape = model.operation_model(name).output_shape
        return create_parser(protocol).parse(answer, shape)


@contextmanager
def endpoint(
    services: Mapping[str, Operations], s3: Bucketless | None = None
) -> Iterator[Endpoint]:
    """One whose threads are named after what they do."""
    reads, writes, scans = (Pool(name, 2, 64) for name in ("read", "write", "scan"))
    gathering = Pool("gather", 1, 4)
    threads = Threads(reads, writes, scans, gathering)
    yield Endpoint(threads, Verifier(KEYS, clock()), services, ACCESS, s3)
    for pool in (reads, writes, scans, gathering):
        pool.close()


@pytest.fixture
def world() -> Iterator[World]:
    sagemaker = Echo(("ListTrainingJobs", "CreateTrainingJob", "StopTrainingJob"))
    cloudwatch = Echo(("ListMetrics", "PutMetricData"))
    metrics = Echo(("BatchPutMetrics",))
    s3 = Bucketless()
    services = {"sagemaker": sagemaker, "cloudwatch": cloudwatch, "sagemaker-metrics": metrics}
    with endpoint(services, s3) as made:
        yield World(sagemaker, cloudwatch, metrics, s3, made)


def target(
    name: str,
    body: bytes = b"{}",
    version: str = "1.1",
    headers: Mapping[str, str] | None = None,
) -> Received:
    service = "monitoring" if name.startswith("Granite") else "sagemaker"
    given = {"X-Amz-Target": name, "Content-Type": f"application/x-amz-json-{version}"}
    return signed(SigV4Auth, service, headers=given | dict(headers or {}), body=body)


LIST = "SageMaker.ListTrainingJobs"


def test_an_operation_is_found_by_its_target(world: World) -> None:
    world.sagemaker.answer = lambda: {"TrainingJobSummaries": [], "NextToken": None}
    body = b'{"MaxResults": 5, "CreationTimeAfter": 1600000000, "Unknown": 1}'
    status, headers, content = world.ask(target(LIST, body), body)
    assert (status, content) == (200, b'{"TrainingJobSummaries":[]}')
    assert headers["content-type"] == "application/x-amz-json-1.1"
    assert headers["x-amzn-requestid"]
    ((name, given, caller),) = world.sagemaker.asked
    assert name == "ListTrainingJobs"
    assert given["MaxResults"] == 5
    assert given["CreationTimeAfter"].timestamp() == MOMENT
    assert (caller.service, caller.region) == ("sagemaker", "us-east-1")


def test_an_operation_is_found_by_method_and_path(world: World) -> None:
    body = b'{"TrialComponentName": "job", "MetricData": [{"MetricName": "a", "Timestamp": 1, "Value": 2}]}'
    received = signed(method="PUT", path="/BatchPutMetrics", body=body)
    answer = world.parsed("sagemaker-metrics", "BatchPutMetrics", received, body)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert world.metrics.asked[0][1]["MetricData"][0]["Value"] == 2.0
    other = signed(method="PUT", path="/Other", body=body)
    status, headers, _ = world.ask(other, body)
    assert (status, headers["x-amzn-errortype"]) == (400, "UnknownOperationException")


def test_an_operation_is_found_by_its_action(world: World) -> None:
    body = b"Action=ListMetrics&Version=2010-08-01&Namespace=a&Dimensions.member.1.Name=b"
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    status, headers, content = world.ask(
        signed(SigV4Auth, "monitoring", headers=form, body=body), body
    )
    assert (status, headers["content-type"]) == (200, "text/xml")
    assert b"<ListMetricsResult></ListMetricsResult>" in content
    assert world.cloudwatch.asked[0][1] == {"Namespace": "a", "Dimensions": [{"Name": "b"}]}


def test_s3_gets_the_rest_with_its_body_unread(world: World) -> None:
    received = signed(S3SigV4Auth, "s3", method="PUT", path="/bucket/key", body=b"data")
    status, headers, content = world.ask(received, b"data")
    assert status == 501
    assert b"<Code>NotImplemented</Code>" in content
    assert b"<Resource>/bucket/key</Resource>" in content
    assert headers["content-type"] == "application/xml"
    assert headers["x-amz-request-id"].encode() in content
    assert len(world.s3.callers[0].payload) == 64
    get = signed(S3SigV4Auth, "s3", method="GET", path="/bucket/key", body=b"data")
    status, headers, content = world.ask(get, b"data")
    assert (status, content) == (200, b"data")
    assert headers["x-amz-request-id"]
    head = signed(S3SigV4Auth, "s3", method="HEAD", path="/bucket", body=b"")
    assert world.ask(head, b"")[::2] == (501, b"")


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (AwsError("ResourceInUse", "taken"), "ResourceInUse", 400),
        (AlreadyExists("taken"), "ResourceInUse", 400),
        (NotFound("none"), "ResourceNotFound", 400),
        (InvalidSpec("bad"), "ValidationException", 400),
        (InvalidState("ended"), "ValidationException", 400),
        (LimitExceeded("full"), "ResourceLimitExceeded", 400),
        (Unavailable("later"), "ServiceUnavailable", 503),
        (StoreError("locked"), "ServiceUnavailable", 503),
        (StaleLock("internal"), "InternalFailure", 500),
        (OrchestratorError("internal"), "InternalFailure", 500),
        (KeyError("a bug"), "InternalFailure", 500),
    ],
)
def test_an_error_is_written_as_awss(
    world: World, error: Exception, code: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    world.sagemaker.answer = fail
    with caplog.at_level(logging.ERROR):
        answer = world.parsed("sagemaker", "ListTrainingJobs", target(LIST))
    assert answer["Error"]["Code"] == code
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
    request_id = answer["ResponseMetadata"]["RequestId"]
    if status == 500:
        assert "internal" not in answer["Error"]["Message"]
    if status >= 500:
        assert request_id in caplog.text
    else:
        assert not caplog.records


def test_a_handler_that_invents_a_member_is_a_fault_of_ours(world: World) -> None:
    world.sagemaker.answer = lambda: {"NoSuchMember": 1}
    answer = world.parsed("sagemaker", "ListTrainingJobs", target(LIST))
    assert answer["Error"]["Code"] == "InternalFailure"


def test_a_client_that_looks_for_old_codes_finds_them(world: World) -> None:
    def fail() -> None:
        raise AwsError("InvalidParameterValueException", "no")

    world.cloudwatch.answer = fail
    received = target(
        "GraniteServiceVersion20100801.ListMetrics",
        version="1.0",
        headers={"x-amzn-query-mode": "true"},
    )
    status, headers, _ = world.ask(received)
    assert status == 400
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert headers["x-amzn-query-error"] == "InvalidParameterValue;Sender"


@pytest.mark.parametrize(
    "name",
    [
        "SageMaker.Nothing",
        "SageMaker.",
        "ListTrainingJobs",
        "",
        "Other.ListTrainingJobs",
        "é.x",
        "a" * 5000,
    ],
)
def test_what_is_unknown_is_said_with_what_is_not(world: World, name: str) -> None:
    answer = world.parsed("sagemaker", "ListTrainingJobs", target(name))
    assert answer["Error"]["Code"] == "UnknownOperationException"
    assert "sagemaker:ListTrainingJobs" in answer["Error"]["Message"]
    assert len(answer["Error"]["Message"]) < 1000


def test_a_signature_for_one_service_opens_no_other(world: World) -> None:
    given = {"X-Amz-Target": LIST, "Content-Type": "application/x-amz-json-1.1"}
    received = signed(SigV4Auth, "monitoring", headers=given)
    answer = world.parsed("sagemaker", "ListTrainingJobs", received)
    assert answer["Error"]["Message"] == "Credential should be scoped to correct service."
    assert not world.sagemaker.asked


def test_nothing_reaches_a_handler_that_breaks_a_rule(world: World) -> None:
    body = b'{"MaxResults": 101}'
    answer = world.parsed("sagemaker", "ListTrainingJobs", target(LIST, body), body)
    assert answer["Error"]["Code"] == "ValidationException"
    answer = world.parsed("sagemaker", "ListTrainingJobs", target(LIST, b"["), b"[")
    assert answer["Error"]["Code"] == "SerializationException"
    answer = world.parsed("sagemaker", "ListTrainingJobs", target(LIST), b"{ }")
    assert answer["Error"]["Code"] == "InvalidSignatureException"
    assert not world.sagemaker.asked


def test_a_body_that_says_it_is_too_large_is_refused(world: World) -> None:
    for length in ("10000001", "9" * 30, "-1", "x"):
        received = target(LIST, headers={"Content-Length": length})
        assert world.ask(received)[0] == 413


def test_a_packed_body_is_unpacked(world: World) -> None:
    plain = b'{"Namespace": "a", "MetricData": []}'
    name = "GraniteServiceVersion20100801.PutMetricData"
    packed = gzip.compress(plain)
    received = target(name, packed, "1.0", {"Content-Encoding": "gzip"})
    assert world.ask(received, packed)[0] == 200
    assert world.cloudwatch.asked[0][1] == {"Namespace": "a", "MetricData": []}
    bomb = gzip.compress(b" " * 10_000_001)
    for body, encoding, status in (
        (bomb, "gzip", 413),
        (packed[:-9], "gzip", 400),
        (b"{}", "gzip", 400),
        (packed, "br", 415),
    ):
        received = target(name, body, "1.0", {"Content-Encoding": encoding})
        assert world.ask(received, body)[0] == status


@pytest.mark.parametrize("query", [b"X-Amz-Signature=x", b"a=b&X-Amz-Algorithm=AWS4-HMAC-SHA256"])
def test_what_claims_to_be_presigned_is_awss(query: bytes) -> None:
    assert is_signed({"headers": [], "query_string": query})


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([], b""),
        ([], b"X-Amz-Expires=1"),
        ([(b"authorization", b"Bearer x")], b"X-Amz-Signature=x"),
        ([(b"authorization", b"Basic AWS4-HMAC")], b""),
    ],
)
def test_other_requests_are_not(headers: list[tuple[bytes, bytes]], query: bytes) -> None:
    assert not is_signed({"headers": headers, "query_string": query})


def test_a_claim_that_names_two_services_reaches_neither(world: World) -> None:
    received = signed(S3SigV4Auth, "s3", method="GET", path="/bucket", body=b"")
    given = received.header("authorization")
    assert given is not None
    for old in ("/s3/", "/aws4_request,"):
        new = (
            old + "aws4_request/" if old == "/s3/" else "/s3/aws4_request/sagemaker/aws4_request,"
        )
        changed = with_header(received, "authorization", given.replace(old, new))
        assert world.ask(changed, b"")[0] in {400, 403}
    assert not world.s3.callers


@pytest.mark.parametrize(("operation", "pool"), [("Search", "scan"), ("ListTrainingJobs", "read")])
def test_what_looks_through_much_has_threads_of_its_own(operation: str, pool: str) -> None:
    used: list[str] = []

    def answer() -> dict[str, Any]:
        used.append(threading.current_thread().name)
        return {}

    sagemaker = Echo((operation,), answer)
    body = b'{"Resource": "TrainingJob"}' if operation == "Search" else b"{}"
    with endpoint({"sagemaker": sagemaker}) as made:
        world = World(sagemaker, Echo(()), Echo(()), Bucketless(), made)
        assert world.ask(target(f"SageMaker.{operation}", body), body)[0] == 200
    assert [name.partition("_")[0] for name in used] == [pool]


def test_the_operations_that_look_through_much_are_served() -> None:
    assert {name for names in SERVED.values() for name in names} >= SCANS


class Gathering:
    """Stops jobs, those that wait all at once; what becomes of one is in its name."""

    def __init__(self) -> None:
        self.alone: list[str] = []
        self.together: list[list[str]] = []
        self.began, self.gate = threading.Event(), threading.Event()

    def handlers(self) -> Mapping[str, Handler]:
        return {"StopTrainingJob": Gathered(self.stop, self.stop_many)}

    def stop(self, given: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        self.alone.append(given["TrainingJobName"])
        if self.alone[-1] == "broken":
            raise RuntimeError("of it")
        return {}

    def stop_many(self, inputs: Sequence[Input]) -> Answers:
        self.together.append([given["TrainingJobName"] for given, _ in inputs])
        self.began.set()
        assert self.gate.wait(30)
        if "broken" in self.together[-1]:
            raise RuntimeError("of it")
        if "no-store" in self.together[-1]:
            raise StoreError("the disk is gone")
        return [self.answer(given["TrainingJobName"]) for given, _ in inputs]

    def answer(self, name: str) -> dict[str, Any] | Exception | None:
        if name == "slow":
            return None
        errors = {"missing": NotFound("no such job"), "fault": StoreError("the disk is gone")}
        return errors.get(name, {})

    def ask(self, *names: str) -> list[tuple[int, bytes]]:
        """Status and content of each answer; all but the first wait while that one is worked on."""

        async def scenario(world: World) -> list[tuple[int, dict[str, str], bytes]]:
            def asked(name: str) -> asyncio.Future[tuple[int, dict[str, str], bytes]]:
                body = b"{}" if name == "nameless" else f'{{"TrainingJobName":"{name}"}}'.encode()
                received = target("SageMaker.StopTrainingJob", body)
                return asyncio.ensure_future(world.ask_in_loop(received, body))

            first = asked(names[0])
            await asyncio.to_thread(self.began.wait, 30)
            rest = [asked(name) for name in names[1:]]
            for _ in range(10):  # every request comes as far as it comes without an answer
                await asyncio.sleep(0)
            self.gate.set()
            return await asyncio.gather(first, *rest)

        with endpoint({"sagemaker": self}) as made:
            world = World(Echo(()), Echo(()), Echo(()), Bucketless(), made)
            return [(status, body) for status, _, body in asyncio.run(scenario(world))]


def test_calls_that_come_while_others_are_answered_are_answered_together() -> None:
    jobs = Gathering()
    names = [f"job-{number}" for number in range(20)]
    assert jobs.ask(*names) == [(200, b"{}")] * 20
    assert jobs.together == [names[:1], names[1:]]
    assert jobs.alone == []


def test_each_of_the_calls_answered_together_has_its_own_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs = Gathering()
    with caplog.at_level(logging.CRITICAL):
        answers = jobs.ask("first", "good", "missing", "nameless", "fault", "slow", "last")
    assert [status for status, _ in answers] == [200, 200, 400, 400, 503, 200, 200]
    assert b"no such job" in answers[2][1]
    assert b"Value null at 'trainingJobName' failed to satisfy constraint" in answers[3][1]
    assert b"the disk is gone" in answers[4][1]
    assert jobs.together == [["first"], ["good", "missing", "fault", "slow", "last"]]
    assert jobs.alone == ["slow"]


def test_a_fault_of_ours_in_one_of_them_makes_each_be_answered_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs = Gathering()
    with caplog.at_level(logging.CRITICAL):
        answers = jobs.ask("first", "good", "broken")
    assert [status for status, _ in answers] == [200, 200, 500]
    assert b"of it" not in answers[2][1]
    assert jobs.alone == ["good", "broken"]


def test_what_stops_all_of_them_is_told_to_each(caplog: pytest.LogCaptureFixture) -> None:
    jobs = Gathering()
    with caplog.at_level(logging.ERROR):
        answers = jobs.ask("first", "good", "no-store")
    assert [status for status, _ in answers] == [200, 503, 503]
    assert jobs.alone == []
    assert len(caplog.records) == 1
