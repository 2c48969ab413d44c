"""One shape for every error answer, and how exceptions become it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.errors import InvalidSpec, LimitExceeded, NotFound, OrchestratorError
from orchestrator.spec.violations import violations_text

RETRY_AFTER_SECONDS = 1


class Problem(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    code: str = Field(examples=["not_found"])
    """Stable name of the kind of error."""
    message: str = Field(examples=["there is no training job 'digits'"])
    """The rule, the offending value and the remedy, for people."""
    details: dict[str, str] = Field(default_factory=dict)
    """Further facts, by name."""


class RequestTooLarge(LimitExceeded):
    """The body is larger than any legal one."""

    http_status: ClassVar[int] = 413


class MethodNotAllowed(OrchestratorError):
    """The resource knows no such method."""

    code: ClassVar[str] = "method_not_allowed"
    http_status: ClassVar[int] = 405


class ForbiddenHost(InvalidSpec):
    """The Host header names somebody else: a page that has rebound its name to this machine."""

    http_status: ClassVar[int] = 421


def problem_response(
    error: OrchestratorError, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer that carries an error."""
    problem = Problem(
        code=error.code,
        message=_encodable(error.message),
        details={name: _encodable(str(value)) for name, value in error.details.items()},
    )
    extra = dict(headers or {})
    if error.http_status == 503:
        extra["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if error.http_status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    return Response(
        problem.model_dump_json(),
        status_code=error.http_status,
        headers=extra,
        media_type="application/json",
    )


class SlowClient(Exception):
    """The client has taken nothing for too long; its connection is closed."""


def bug_response() -> Response:
    """Return the answer to a bug of ours, which says nothing of it; the log does."""
    return problem_response(
        OrchestratorError("internal error; the service's log says more, please report it")
    )


def violations(errors: Sequence[Any]) -> InvalidSpec:
    """Return one error for all broken rules of a request, without repeating any secret."""
    return InvalidSpec(violations_text(errors, "request"))


async def on_error(_request: Request, error: Exception) -> Response:
    """Answer an error of ours."""
    assert isinstance(error, OrchestratorError)
    return problem_response(error)


async def on_violation(_request: Request, error: Exception) -> Response:
    """Answer a request that breaks the document's rules."""
    assert isinstance(error, RequestValidationError)
    return problem_response(violations(error.errors()))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    ours: OrchestratorError
    if error.status_code == 404:
        ours = NotFound(f"nothing is at {request.url.path!r}; GET /api/v1/openapi.json lists all")
    elif error.status_code == 405:
        ours = MethodNotAllowed(
            f"{request.method} is not possible at {request.url.path!r}; see the Allow header"
        )
    else:
        ours = InvalidSpec(f"the request cannot be understood: {error.detail}")
    return problem_response(ours, error.headers)


def _encodable(text: str) -> str:
    """Return text without what cannot be sent: half of a surrogate pair from a JSON escape."""
    return text.encode("utf-8", "backslashreplace").decode()
