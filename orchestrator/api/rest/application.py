"""The FastAPI application behind ``/api/v1`` and its OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orchestrator import __version__
from orchestrator.api.context import Context
from orchestrator.api.errors import bug_response, on_error, on_http_exception, on_violation
from orchestrator.api.rest.debugger import DebuggerRoutes
from orchestrator.api.rest.files import FileRoutes
from orchestrator.api.rest.info import InfoRoutes
from orchestrator.api.rest.jobs import JobRoutes
from orchestrator.api.rest.logs import LogRoutes
from orchestrator.api.rest.metrics import MetricRoutes
from orchestrator.api.rest.tuning import TuningRoutes
from orchestrator.api.views import Event, SubmitRequest, TuningRequest
from orchestrator.errors import OrchestratorError

PREFIX = "/api/v1"
_LINKED = {
    "describe_training_job": "describe",
    "stop_training_job": "stop",
    "list_tags": "tags",
    "list_log_streams": "logs",
    "list_metrics": "metrics",
    "list_findings": "findings",
    "list_tensors": "tensors",
}


def rest_application(context: Context, jobs: JobRoutes) -> FastAPI:
    """Return the application.

    Args:
        context: The use cases.
        jobs: The routes of jobs; submitting is also called directly.
    """
    app = FastAPI(
        title="orchestrator",
        version=__version__,
        description="Training jobs on your own hardware. Every call needs "
        "`Authorization: Bearer TOKEN`; the token is in the file `token` of the home directory.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        exception_handlers={
            OrchestratorError: on_error,
            RequestValidationError: on_violation,
            HTTPException: _on_http_exception,
            Exception: _on_bug,
        },
    )
    routers = [jobs.router()]
    nouns = (LogRoutes, MetricRoutes, DebuggerRoutes, FileRoutes, TuningRoutes)
    routers += [routes(context).router() for routes in nouns]
    routers.append(InfoRoutes(context).router())
    for router in routers:
        app.include_router(router)
    app.state.allowed = _Allowed(routers)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


class _Allowed:
    """Knows the methods of every path; the framework names those of one route only."""

    def __init__(self, routers: Sequence[APIRouter]) -> None:
        self._routes = [
            (route.path_regex, route.methods)
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute)
        ]

    def at(self, path: str) -> str:
        """Return the value of the Allow header of a path."""
        found = {m for regex, methods in self._routes if regex.match(path) for m in methods or ()}
        return ", ".join(sorted(found))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        path = request.url.path.removeprefix(PREFIX)
        error.headers = {"Allow": request.app.state.allowed.at(path)}
    return await on_http_exception(request, error)


async def _on_bug(_request: Request, _error: Exception) -> Response:
    return bug_response()  # the error is raised on, and logged by the application around


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        document["servers"] = [{"url": PREFIX}]
        schemas = document["components"]["schemas"]
        _add_models(schemas)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        _add_links(document)
        app.openapi_schema = document
    return app.openapi_schema


def _add_models(schemas: dict[str, Any]) -> None:
    """Describe what the framework does not see: the body of the submit route, and events."""
    for model in (SubmitRequest, TuningRequest, Event):
        schema = model.model_json_schema(
            mode="validation", ref_template="#/components/schemas/{model}"
        )
        for name, part in schema.pop("$defs", {}).items():
            schemas.setdefault(name, part)
        schemas[model.__name__] = schema


def _add_links(document: dict[str, Any]) -> None:
    """Say where the name of a submitted job goes."""
    created = document["paths"]["/training-jobs"]["post"]["responses"]["201"]
    name = "$response.body#/spec/training_job_name"
    created["links"] = {
        short: {"operationId": operation, "parameters": {"name": name}}
        for operation, short in _LINKED.items()
    }
