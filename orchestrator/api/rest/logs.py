"""Logs: streams, bytes by offset, lines, and following them."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from orchestrator.api.context import Context
from orchestrator.api.rest.common import (
    ONCE,
    Attempt,
    HostName,
    Name,
    problems,
)
from orchestrator.api.rest.jobs import JOB
from orchestrator.api.rest.parts import DEFAULT_BYTES, LimitBytes, Offset, documented_part, part
from orchestrator.api.stream import (
    LOOK_SECONDS,
    EventStream,
    follow_job,
    follow_log,
    growth,
    log_position,
)
from orchestrator.api.views import Line, Lines, LogStreams, response
from orchestrator.logs.file import LogFile
from orchestrator.service.logs import LogChunk

LOG = JOB + "/logs/{host}"
MAX_LINE_BYTES = 4 << 20

LastEventId = Annotated[
    str,
    Header(
        alias="Last-Event-ID",
        pattern=r"^([0-9]{1,18}(:[0-9]{1,18})?)?$",
        description="`id` of the last event seen: the stream goes on behind it.",
    ),
]
MaxSeconds = Annotated[
    float, Query(gt=0, le=3600, description="The stream ends after this time; connect again.")
]
_BYTES = documented_part(
    "Bytes of the log, exactly as they were printed.",
    "Orchestrator-Attempt",
    "Attempt that the bytes are of; 0 before the first has begun.",
)


class LogRoutes:
    """The routes of logs, and the stream of a job's changes.

    Args:
        context: The use cases.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._logs = context.service.logs

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["logs and events"], dependencies=ONCE)
        router.add_api_route(
            JOB + "/logs",
            self.streams,
            methods=["GET"],
            operation_id="list_log_streams",
            response_model=LogStreams,
            responses=problems(404),
        )
        router.add_api_route(
            LOG,
            self.read,
            methods=["GET"],
            operation_id="read_log",
            response_class=Response,
            responses=problems(404) | {200: _BYTES},
        )
        router.add_api_route(
            LOG + "/lines",
            self.lines,
            methods=["GET"],
            operation_id="read_log_lines",
            response_model=Lines,
            responses=problems(404),
        )
        events = {
            "description": "Server-sent events.",
            "content": {
                EventStream.media_type: {"schema": {"$ref": "#/components/schemas/Event"}}
            },
        }
        router.add_api_route(
            LOG + "/events",
            self.follow_log,
            methods=["GET"],
            operation_id="follow_log",
            response_class=Response,
            responses=problems(404) | {200: events},
        )
        router.add_api_route(
            JOB + "/events",
            self.follow_job,
            methods=["GET"],
            operation_id="follow_training_job",
            response_class=Response,
            responses=problems(404) | {200: events},
        )
        return router

    async def streams(self, name: Name) -> Response:
        """List the logs of a training job: one per attempt and host."""
        return response(
            LogStreams(streams=await self._context.files.run(self._logs.streams, name))
        )

    async def read(
        self,
        name: Name,
        host: HostName,
        attempt: Attempt = None,
        offset: Offset = 0,
        limit_bytes: LimitBytes = DEFAULT_BYTES,
        wait_seconds: Annotated[
            float, Query(ge=0, le=60, description="Longest wait for a first byte or the end.")
        ] = 0,
    ) -> Response:
        """Read bytes of a log; wait for more when there are none yet."""
        chunk = await self._read(name, host, attempt, offset, limit_bytes, wait_seconds)
        return part(
            chunk.data,
            next_offset=chunk.next_offset,
            finished=chunk.finished,
            attempt=chunk.attempt,
        )

    async def _read(
        self,
        name: str,
        host: str,
        attempt: int | None,
        offset: int,
        limit_bytes: int,
        wait_seconds: float,
    ) -> LogChunk:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        log: LogFile | None = None
        while True:
            count = self._context.bell.count()
            chunk = await self._context.files.run(
                self._logs.read,
                name,
                host=host,
                attempt=attempt,
                offset=offset,
                limit_bytes=limit_bytes,
            )
            left = deadline - loop.time()
            if chunk.data or chunk.finished or left <= 0 or self._context.bell.is_closed():
                return chunk
            if log is None and chunk.attempt:
                log = await self._context.files.run(self._logs.log_file, name, host, chunk.attempt)
            if log is None:
                await self._context.bell.wait(count, min(left, LOOK_SECONDS))
            else:
                await growth(self._context, log, offset, min(left, LOOK_SECONDS))

    async def lines(
        self,
        name: Name,
        host: HostName,
        attempt: Attempt = None,
        offset: Offset = 0,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        tail: Annotated[
            int | None,
            Query(ge=1, le=10_000, description="The last lines instead; `offset` is ignored."),
        ] = None,
        search: Annotated[
            str | None,
            Query(
                min_length=1,
                max_length=256,
                description="Only lines with this text; case matters.",
            ),
        ] = None,
    ) -> Response:
        """Read whole lines of a log, with the time when each arrived."""
        return response(
            await self._context.files.run(
                self._lines, name, host, attempt, offset, limit, tail, search
            )
        )

    def _lines(
        self,
        name: str,
        host: str,
        attempt: int | None,
        offset: int,
        limit: int,
        tail: int | None,
        search: str | None,
    ) -> Lines:
        log = self._logs.log_file(name, host, attempt)
        end = log.size()
        state = self._logs.read(name, host=host, attempt=attempt, offset=end, limit_bytes=1)
        if tail is not None:
            found = iter(log.tail(tail, finished=state.finished))
        elif search is not None:
            found = log.search(search, offset, limit, finished=state.finished)
        else:
            found = log.lines(offset, limit, finished=state.finished)
        lines: list[Line] = []
        size = 0
        for line in found:
            lines.append(Line(**line._asdict()))
            size += len(line.text)
            offset = line.next_offset
            if size >= MAX_LINE_BYTES:
                break
        if search is not None and not lines:
            offset = end
        return Lines(
            host=host,
            attempt=state.attempt,
            lines=tuple(lines),
            next_offset=offset,
            finished=state.finished and offset >= end,
        )

    async def follow_log(
        self,
        name: Name,
        host: HostName,
        attempt: Attempt = None,
        offset: Offset = 0,
        max_seconds: MaxSeconds = 3600,
        last_event_id: LastEventId = "",
    ) -> Response:
        """Follow a log line by line (server-sent events).

        `lines` events carry whole lines, `pending` what a terminal would show of an unfinished
        one (a progress bar), `attempt` that a new attempt has begun, `end` that nothing will
        follow. The `id` is the byte offset to go on from; without `attempt` it is
        `<attempt>:<offset>`, and the stream goes on with the attempts that follow.
        """
        position = log_position(last_event_id, attempt, offset)
        await self._context.files.run(self._logs.log_file, name, host, attempt)
        self._context.check_stream()
        events = follow_log(self._context, name, host, position, fixed=attempt is not None)
        return EventStream(self._context, events, max_seconds)

    async def follow_job(
        self,
        name: Name,
        after_revision: Annotated[int, Query(ge=-1, lt=1 << 62)] = -1,
        max_seconds: MaxSeconds = 3600,
        last_event_id: LastEventId = "",
    ) -> Response:
        """Follow the state of a training job (server-sent events).

        Each `job` event carries the whole record (as `GET` does), with its revision as `id`;
        who is slow misses states in between, never the last one. `end` follows the last.
        """
        position = log_position(last_event_id, 1, after_revision)
        await self._context.job(name)
        self._context.check_stream()
        return EventStream(
            self._context, follow_job(self._context, name, position.offset), max_seconds
        )
