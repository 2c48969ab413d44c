"""How an answer looks on the wire: one form for each protocol that clients speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from orchestrator.api.aws import serialize
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.model import Model, Operation
from orchestrator.api.aws.received import Received
from orchestrator.api.aws.refusals import Dialect

XML = "text/xml"
JSON_TYPE_PREFIX = "application/x-amz-json-"
# The query services name what the others call ValidationException.
_QUERY_CODES = {"ValidationException": "ValidationError"}


@dataclass(frozen=True)
class Form:
    """How one request is answered.

    Attributes:
        dialect: Which protocol.
        content_type: Of the answer.
        request_id: Named in the answer and in our log.
        resource: Path that was asked for; S3 repeats it.
        wants_body: False for HEAD.
        wants_query_error: The client still looks for the codes of the query protocol.
    """

    dialect: Dialect
    content_type: str
    request_id: str
    resource: str = "/"
    wants_body: bool = True
    wants_query_error: bool = False

    def output(self, model: Model, operation: Operation, value: Mapping[str, Any]) -> Response:
        """Return the answer of an operation."""
        if self.dialect is Dialect.QUERY:
            body = serialize.query_document(
                operation.name, value, operation.output, model.namespace, self.request_id
            )
        else:
            body = serialize.json_document(value, operation.output)
        return Response(body, headers=self._headers())

    def error(self, error: AwsError, model: Model | None = None) -> Response:
        """Return the answer that carries an error."""
        headers = self._headers()
        if self.dialect is Dialect.QUERY:
            renamed = _QUERY_CODES.get(error.code, error.code)
            shown = AwsError(renamed, error.message, error.status)
            body = serialize.query_error(shown, model.namespace if model else "", self.request_id)
        elif self.dialect is Dialect.S3:
            body = serialize.s3_error(error, self.resource, self.request_id)
        else:
            body = serialize.json_error(error)
            headers["x-amzn-ErrorType"] = error.code
            if self.wants_query_error:
                headers["x-amzn-query-error"] = _query_error(error, model)
        return Response(body if self.wants_body else b"", error.status, headers)

    def _headers(self) -> dict[str, str]:
        name = "x-amz-request-id" if self.dialect is Dialect.S3 else "x-amzn-RequestId"
        return {"Content-Type": self.content_type, name: self.request_id}


def form_of(
    received: Received, service: str, query_services: frozenset[str], request_id: str
) -> Form:
    """Return how a request is answered; decided before anything of it is verified.

    Args:
        received: The request.
        service: What it names in its credential scope.
        query_services: Signing names of services that speak the query protocol only.
        request_id: Of this request.
    """
    content_type = received.header("content-type") or ""
    if received.header("x-amz-target") is not None:
        version = content_type.removeprefix(JSON_TYPE_PREFIX)
        known = version if version in {"1.0", "1.1"} else "1.1"
        return Form(
            Dialect.JSON,
            JSON_TYPE_PREFIX + known,
            request_id,
            wants_query_error=received.header("x-amzn-query-mode") == "true",
        )
    if service == "s3":
        path = received.canonical_path
        return Form(
            Dialect.S3, "application/xml", request_id, path, wants_body=received.method != "HEAD"
        )
    if service in query_services or content_type.startswith("application/x-www-form-urlencoded"):
        return Form(Dialect.QUERY, XML, request_id)
    return Form(Dialect.JSON, "application/json", request_id)


def _query_error(error: AwsError, model: Model | None) -> str:
    code = model.query_errors.get(error.code, error.code) if model else error.code
    return f"{code};{'Sender' if error.status < 500 else 'Receiver'}"
