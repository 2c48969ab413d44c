"""What a job's debugger found, and the files with what it recorded."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from orchestrator.api.context import Context
from orchestrator.api.rest.common import ONCE, Name, problems
from orchestrator.api.rest.jobs import JOB
from orchestrator.api.rest.parts import DEFAULT_BYTES, LimitBytes, Offset, documented_part, part
from orchestrator.api.views import Findings, TraceFiles, response
from orchestrator.service.findings import FindingService
from orchestrator.spec.findings import TRACE_NAME_PATTERN

TENSORS = JOB + "/tensors"

FileName = Annotated[
    str, Path(description="Of a file that the list names.", pattern=TRACE_NAME_PATTERN)
]
_BYTES = documented_part("Bytes of the file.", "Orchestrator-Size", "Size of the whole file now.")


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
        offset: Offset = 0,
        limit_bytes: LimitBytes = DEFAULT_BYTES,
    ) -> Response:
        """Read bytes of such a file, also while it grows."""
        chunk = await self._context.files.run(
            self._findings.read_trace, name, file, offset=offset, limit_bytes=limit_bytes
        )
        return part(
            chunk.data,
            next_offset=chunk.next_offset,
            finished=chunk.finished,
            size=chunk.size_bytes,
        )
