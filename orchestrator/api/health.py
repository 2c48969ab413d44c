"""``/health``: whether the process lives, and whether it can do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.api import views
from orchestrator.api.context import Context
from orchestrator.api.errors import MethodNotAllowed, problem_response
from orchestrator.errors import NotFound, OrchestratorError

CHECK_SECONDS = 2.0
NO_ANSWER = "does not answer"


class Health:
    """The ASGI application below ``/health``; asks for no token, so it says little.

    ``/health/live`` is 200 while the process answers. ``/health`` and ``/health/ready`` are 200
    with ``ready`` or ``degraded`` (an engine does not answer: jobs are still accepted and shown),
    and 503 with ``down`` when the store does not answer.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await (await self._answer(scope))(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            refused = MethodNotAllowed("the health of the service can only be read; use GET")
            return problem_response(refused, {"Allow": "GET, HEAD"})
        if scope["path"] == "/health/live":
            return views.response(views.Health(status="ready", checks={}))
        if scope["path"] in {"/health", "/health/ready"}:
            return await self._ready()
        raise NotFound("health is at /health, /health/live and /health/ready")

    async def _ready(self) -> Response:
        service = self._context.service
        checks = {"store": await self._check(service.jobs.counts)}
        for name, backend in service.backends.items():
            ping = getattr(backend, "ping", None)
            checks[name] = await self._check(ping) if ping is not None else "ok"
        checks["driver"] = "ok" if service.driving.is_driving else "standing by"
        status = "ready"
        if any(checks[name] != "ok" for name in service.backends):
            status = "degraded"
        if checks["store"] != "ok":
            status = "down"
        answer = views.response(views.Health(status=status, checks=checks))
        answer.status_code = 503 if status == "down" else 200
        return answer

    async def _check(self, look: Callable[[], object]) -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._context.checks.run(look)
        except (TimeoutError, OrchestratorError):
            return NO_ANSWER
        return "ok"
