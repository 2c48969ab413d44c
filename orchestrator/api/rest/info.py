"""What this service is."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from orchestrator.api.context import Context
from orchestrator.api.rest.common import ONCE, problems
from orchestrator.api.views import Info, response


class InfoRoutes:
    """The route of the service itself.

    Args:
        context: The use cases.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def router(self) -> APIRouter:
        """Return the route."""
        router = APIRouter(tags=["service"], dependencies=ONCE)
        router.add_api_route(
            "/info",
            self.info,
            methods=["GET"],
            operation_id="get_info",
            response_model=Info,
            responses=problems(),
        )
        return router

    async def info(self) -> Response:
        """Say what this service is and can do on its machine."""
        return response(Info.model_validate(await self._context.reads.run(self._service_info)))

    def _service_info(self) -> dict[str, object]:
        return self._context.service.info()
