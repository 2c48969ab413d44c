"""The one entry for signed requests: signature, service, operation, input, answer.

A request is verified before anything in it is used. Which service it means is said by
``X-Amz-Target``, else by its credential scope; what has no target and the scope ``s3`` is S3's.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.api.aws import names as table
from orchestrator.api.aws.bodies import read_body, unpacked
from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import (
    AwsError,
    from_ours,
    internal_failure,
    throttled,
    unknown_operation,
)
from orchestrator.api.aws.forms import Form, form_of
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.model import Models, Operation
from orchestrator.api.aws.operations import Handler, Operations
from orchestrator.api.aws.parse import load_json, parse_json
from orchestrator.api.aws.parse_query import parse_query, read_form
from orchestrator.api.aws.received import Received
from orchestrator.api.aws.refusals import Dialect, Refusal, refused
from orchestrator.api.aws.signature import service_of
from orchestrator.api.aws.sigv4 import Verifier
from orchestrator.api.aws.validate import VALIDATION, validate
from orchestrator.api.pools import Pool
from orchestrator.errors import OrchestratorError, Unavailable

logger = logging.getLogger(__name__)

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
class Asked:
    """Which operation a request means, and where its input is.

    Attributes:
        service: botocore's name.
        operation: As the client wrote it; may not exist.
        parameters: Of the query protocol; None where the body is JSON.
    """

    service: str
    operation: str
    parameters: tuple[tuple[str, str], ...] | None = None


class Endpoint:
    """The ASGI application for signed requests.

    Args:
        reads: Threads to call handlers in that change nothing.
        writes: Threads for the others.
        verifier: Tells who signed.
        services: What is served, by botocore's name.
        access: What jobs may do with the key that they get.
        s3: What answers S3; None = it is not served.
        scans: Threads for ``SCANS``; None = those of the readers.
    """

    def __init__(
        self,
        reads: Pool,
        writes: Pool,
        verifier: Verifier,
        services: Mapping[str, Operations],
        access: JobAccess,
        s3: S3Gateway | None = None,
        scans: Pool | None = None,
    ) -> None:
        self._reads = reads
        self._scans = scans or reads
        self._writes = writes
        self._verifier = verifier
        self._handlers = {name: service.handlers() for name, service in services.items()}
        self._names = table.served_names(services)
        self._models = Models(self._handlers)
        self._s3 = s3
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, also one that fails, as AWS would."""
        received = Received.of(scope)
        form = form_of(received, service_of(received), table.ONLY_QUERY, str(uuid.uuid4()))
        try:
            answer = await self._answer(received, form, Request(scope, receive))
        except AwsError as error:
            answer = form.error(error)
        except Unavailable:
            answer = form.error(throttled())
        except OrchestratorError as error:
            answer = form.error(self._ours(error, form))
        except ClientDisconnect:
            raise
        except Exception:
            logger.exception("AWS request %s failed: %r", form.request_id, scope["path"])
            answer = form.error(internal_failure())
        await answer(scope, receive, send)

    async def _answer(self, received: Received, form: Form, request: Request) -> Response:
        claim = self._verifier.begin(received, form.dialect)
        if form.dialect is Dialect.S3:
            caller = self._verifier.finish(received, claim, form.dialect, None)
            if self._s3 is None:
                raise unknown_operation("s3", self._names)
            answer = await self._s3(request, caller)
            answer.headers.setdefault("x-amz-request-id", form.request_id)
            return answer
        body = await read_body(request)
        digest = hashlib.sha256(body).hexdigest()
        caller = self._verifier.finish(received, claim, form.dialect, digest)
        body = unpacked(body, received.header("content-encoding"))
        asked = self._asked(received, caller.service, form, body)
        pool = self._pool(asked.operation)
        return await pool.run(self._perform, asked, body, caller, form)

    def _asked(self, received: Received, service: str, form: Form, body: bytes) -> Asked:
        target = received.header("x-amz-target")
        if target is not None:
            prefix, _, operation = target.rpartition(".")
            return Asked(table.TARGET_PREFIXES.get(prefix, prefix), operation)
        if form.dialect is Dialect.QUERY:
            parameters = read_form(received.raw_query.decode("latin-1"))
            parameters += read_form(body.decode("utf-8", "replace"))
            found = next((value for name, value in parameters if name == "Action"), "")
            return Asked(table.QUERY_SERVICES.get(service, service), found, tuple(parameters))
        rest = table.REST_SERVICES.get(service, service)
        return Asked(rest, self._rest_operation(rest, received))

    def _rest_operation(self, service: str, received: Received) -> str:
        asked = f"{received.method} {received.canonical_path}"
        if service not in self._handlers:
            return asked
        operations = self._models.of(service).operations.values()
        found = (o.name for o in operations if f"{o.method} {o.uri}" == asked)
        return next(found, asked)

    def _pool(self, operation: str) -> Pool:
        if operation in SCANS:
            return self._scans
        return self._reads if operation.startswith(_READS) else self._writes

    def _perform(self, asked: Asked, body: bytes, caller: Caller, form: Form) -> Response:
        handler = self._handler(asked)
        model = self._models.of(asked.service)
        try:
            if caller.service != model.signing_name:
                raise refused(Refusal.WRONG_SERVICE, form.dialect)
            self._access.check(caller.access_key, asked.service, asked.operation)
            operation = model.operations[asked.operation]
            output = handler(_input(operation, asked, body), caller)
        except AwsError as error:
            return form.error(error, model)
        except OrchestratorError as error:
            return form.error(self._ours(error, form), model)
        return form.output(model, operation, output)

    def _handler(self, asked: Asked) -> Handler:
        handler = self._handlers.get(asked.service, {}).get(asked.operation)
        if handler is None:
            raise unknown_operation(f"{asked.service}:{asked.operation}"[:200], self._names)
        return handler

    def _ours(self, error: OrchestratorError, form: Form) -> AwsError:
        found = from_ours(error)
        if found.status >= 500:
            logger.error("AWS request %s failed", form.request_id, exc_info=error)
        return found


def _input(operation: Operation, asked: Asked, body: bytes) -> dict[str, Any]:
    if operation.input is None:
        return {}
    if asked.parameters is not None:
        given = parse_query(asked.parameters, operation.input)
    else:
        given = parse_json(load_json(body), operation.input)
    code = table.VALIDATION_CODES.get(asked.service, VALIDATION)
    validate(given, operation.input, code)
    return given
