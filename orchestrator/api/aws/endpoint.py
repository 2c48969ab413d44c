"""The one entry for signed requests: signature, service, operation, input, answer.

A request is verified before anything in it is used. Which service it means is said by
``X-Amz-Target``, else by its credential scope; what has no target and the scope ``s3`` is S3's.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.api.aws import names as table
from orchestrator.api.aws.bodies import read_body, unpacked
from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.calls import Call, Calls, worded
from orchestrator.api.aws.errors import throttled, unknown_operation
from orchestrator.api.aws.forms import Form, form_of
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.operations import Operations
from orchestrator.api.aws.parse_query import read_form
from orchestrator.api.aws.received import Received
from orchestrator.api.aws.refusals import Dialect
from orchestrator.api.aws.signature import service_of
from orchestrator.api.aws.sigv2 import with_headers_of_query
from orchestrator.api.aws.sigv4 import Verifier
from orchestrator.api.batch import Batches
from orchestrator.api.pools import Pool
from orchestrator.errors import Unavailable

_READS = ("Describe", "Filter", "Get", "List", "Search", "Simulate")
SCANS = frozenset(
    {"FilterLogEvents", "GetMetricData", "GetMetricStatistics", "ListMetrics", "Search"}
)
"""Operations that look through much for one answer; they have threads of their own."""


class S3Gateway(Protocol):
    """What answers S3's requests."""

    async def __call__(self, request: Request, caller: Caller) -> Response:
        """Answer a request whose signature holds; its body is still to be read and checked."""
        ...


@dataclass(frozen=True)
class Threads:
    """Where calls are performed.

    Attributes:
        reads: Those that change nothing.
        writes: The others.
        scans: ``SCANS``.
        gathering: Those of operations that are answered together; one thread, for then nobody waits
            for another's turn.
        waiting: More calls than these that wait to be answered together are refused.
    """

    reads: Pool
    writes: Pool
    scans: Pool
    gathering: Pool
    waiting: int = 512


class Endpoint:
    """The ASGI application for signed requests.

    Args:
        threads: Where calls are performed.
        verifier: Tells who signed.
        services: What is served, by botocore's name.
        access: What jobs may do with the key that they get.
        s3: What answers S3; None = it is not served.
    """

    def __init__(
        self,
        threads: Threads,
        verifier: Verifier,
        services: Mapping[str, Operations],
        access: JobAccess,
        s3: S3Gateway | None = None,
    ) -> None:
        self._threads = threads
        self._verifier = verifier
        self._calls = Calls(services, access)
        self._s3 = s3
        self._gathered: dict[tuple[str, str], Batches[Call, Response | None]] = {
            operation: Batches(threads.gathering, self._calls.perform_together, threads.waiting)
            for operation in self._calls.gathered
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, also one that fails, as AWS would."""
        scope = with_headers_of_query(scope)
        received = Received.of(scope)
        form = form_of(received, service_of(received), table.ONLY_QUERY, str(uuid.uuid4()))
        try:
            answer = await self._answer(received, form, Request(scope, receive))
        except ClientDisconnect:
            raise
        except Unavailable:
            answer = form.error(throttled())
        except Exception as error:  # noqa: BLE001  # answered, and logged unless it is AWS's
            answer = form.error(worded(error, form.request_id))
        await answer(scope, receive, send)

    async def _answer(self, received: Received, form: Form, request: Request) -> Response:
        if form.dialect is Dialect.S3:
            caller = self._verifier.of_s3(received)
            if self._s3 is None:
                raise unknown_operation("s3", self._calls.names)
            answer = await self._s3(request, caller)
            answer.headers.setdefault("x-amz-request-id", form.request_id)
            return answer
        claim = self._verifier.begin(received, form.dialect)
        body = await read_body(request)
        digest = hashlib.sha256(body).hexdigest()
        caller = self._verifier.finish(received, claim, form.dialect, digest)
        body = unpacked(body, received.header("content-encoding"))
        return await self._performed(self._call(received, caller, form, body))

    async def _performed(self, call: Call) -> Response:
        batches = self._gathered.get((call.service, call.operation))
        if batches is not None:
            answer = await batches.add(call)
            if answer is not None:
                return answer
        return await self._pool(call.operation).run(self._calls.perform, call)

    def _call(self, received: Received, caller: Caller, form: Form, body: bytes) -> Call:
        target = received.header("x-amz-target")
        if target is not None:
            prefix, _, operation = target.rpartition(".")
            service = table.TARGET_PREFIXES.get(prefix, prefix)
            return Call(service, operation, body, caller, form)
        if form.dialect is Dialect.QUERY:
            parameters = read_form(received.raw_query.decode("latin-1"))
            parameters += read_form(body.decode("utf-8", "replace"))
            found = next((value for name, value in parameters if name == "Action"), "")
            service = table.QUERY_SERVICES.get(caller.service, caller.service)
            return Call(service, found, body, caller, form, tuple(parameters))
        rest = table.REST_SERVICES.get(caller.service, caller.service)
        operation = self._calls.rest_operation(rest, received.method, received.canonical_path)
        return Call(rest, operation, body, caller, form)

    def _pool(self, operation: str) -> Pool:
        if operation in SCANS:
            return self._threads.scans
        is_read = operation.startswith(_READS)
        return self._threads.reads if is_read else self._threads.writes
