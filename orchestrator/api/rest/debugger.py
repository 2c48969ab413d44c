"""What a job's debugger found, and the files with what it recorded."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from orchestrator.api.context import Context
from orchestrator.api.rest.common import MAX_OFFSET, ONCE, Name, file_content, problems
from orchestrator.api.rest.jobs import JOB
from orchestrator.api.views import Findings, TraceFiles, response
from orchestrator.service.findings import FindingService
from orchestrator.spec.findings import TRACE_NAME_PATTERN

TENSORS = JOB + "/tensors"
OCTETS = "application/octet-stream"

FileName = Annotated[
    str, Path(description="Of a file that the list names.", pattern=TRACE_NAME_PATTERN)
]
_BYTES = file_content("Bytes of the file.", OCTETS) | {
    "headers": {
        "Orchestrator-Size": {
            "description": "Size of the whole file now.",
            "schema": {"type": "integer"},
        },
        "Orchestrator-Next-Offset": {
            "description": "Where to read on.",
            "schema": {"type": "integer"},
        },
        "Orchestrator-Finished": {
            "description": "Whether nothing will follow.",
            "schema": {"type": "boolean"},
        },
    }
}


class DebuggerRoutes:
    """The routes of the debugger.

    Args:
        context: The use cases.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def _findings(self) -> FindingService:
        return self._context.service.findings

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["debugger"], dependencies=ONCE)
        router.add_api_route(
            JOB + "/findings",
            self.findings,
            methods=["GET"],
            operation_id="list_findings",
            response_model=Findings,
            responses=problems(404),
        )
        router.add_api_route(
            TENSORS,
            self.files,
            methods=["GET"],
            operation_id="list_tensors",
            response_model=TraceFiles,
            responses=problems(404),
        )
        router.add_api_route(
            TENSORS + "/{file}",
            self.read,
            methods=["GET"],
            operation_id="read_tensors",
            response_class=Response,
            responses=problems(404) | {200: _BYTES},
        )
        return router

    async def findings(self, name: Name) -> Response:
        """Say whether a training job is watched, what was found, and how each rule stands."""
        return response(await self._context.files.run(self._findings.report, name))

    async def files(self, name: Name) -> Response:
        """List the files with what was recorded of a training job, one per process and attempt."""
        return response(
            TraceFiles(files=await self._context.files.run(self._findings.traces, name))
        )

    async def read(
        self,
        name: Name,
        file: FileName,
        offset: Annotated[
            int, Query(description="Byte offset to read from.", ge=0, le=MAX_OFFSET)
        ] = 0,
        limit_bytes: Annotated[int, Query(ge=1, le=16 << 20)] = 1 << 20,
    ) -> Response:
        """Read bytes of such a file, also while it grows."""
        chunk = await self._context.files.run(
            self._findings.read_trace, name, file, offset=offset, limit_bytes=limit_bytes
        )
        headers = {
            "Orchestrator-Size": str(chunk.size_bytes),
            "Orchestrator-Next-Offset": str(chunk.next_offset),
            "Orchestrator-Finished": str(chunk.finished).lower(),
        }
        return Response(chunk.data, headers=headers, media_type=OCTETS)
