"""Server-sent events: logs and the changes of a job.

A stream pulls: it reads the next lines (the newest record) only when the client has taken what
was sent before, so a slow client costs one socket buffer, and nothing grows. A client that takes
nothing for some time is dropped and can go on with Last-Event-ID.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from orchestrator_runtime import contract
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.api.context import Context
from orchestrator.api.sending import PatientSend, part
from orchestrator.api.views import job_json
from orchestrator.errors import InvalidSpec, OrchestratorError
from orchestrator.logs.file import LogFile
from orchestrator.logs.lines import LogLine

KEEP_ALIVE_SECONDS = 15.0
LOOK_SECONDS = 1.0
"""Pause between looks at the record of a job whose log does not grow."""
KEEP_ALIVE = b": still here\n\n"
GROWTH_POLL_SECONDS = (0.02, 0.25)
"""First and longest pause between looks at a log that does not grow."""
BATCH_LINES = 4000
BATCH_BYTES = 512 << 10


@dataclass(frozen=True)
class Position:
    """Where a stream of log lines goes on."""

    attempt: int | None
    offset: int


def log_position(last_event_id: str, attempt: int | None, offset: int) -> Position:
    """Return where to go on: behind the last event seen, else where the query says.

    Raises:
        InvalidSpec: The id is not one of ours.
    """
    if not last_event_id:
        return Position(attempt, offset)
    before, separator, after = last_event_id.rpartition(":")
    numbers = [after] if not separator else [before, after]
    if not all(text.isascii() and text.isdigit() and len(text) < 19 for text in numbers):
        raise InvalidSpec(
            f"Last-Event-ID must be the id of an event of this stream, got {last_event_id!r}; "
            "leave it out to start at `offset`"
        )
    return Position(int(before) if separator else attempt, int(after))


def event(name: str, data: str, event_id: str | None = None) -> bytes:
    """Return one event; the data is JSON, which has no raw line ends."""
    line = f"id: {event_id}\n" if event_id is not None else ""
    return f"event: {name}\n{line}data: {data}\n\n".encode()


class EventStream(Response):
    """Sends events until they end, the client leaves or takes nothing, or time is over.

    Args:
        context: Counts the streams and bounds them.
        events: What is sent.
        max_seconds: Longest life.
    """

    media_type = "text/event-stream"

    def __init__(self, context: Context, events: AsyncIterator[bytes], max_seconds: float) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._context = context
        self._events = events
        self._seconds = min(max_seconds, context.limits.stream_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send."""
        del scope
        with self._context.open_stream():
            sending = asyncio.ensure_future(self._send(send))
            leaving = asyncio.ensure_future(_disconnected(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                leaving.cancel()
                sending.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)
                close = getattr(self._events, "aclose", None)
                if close is not None:
                    await close()
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send(self, send: Send) -> None:
        patient = PatientSend(send, self._context.limits.slow_client_seconds)
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await patient(start)
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in self._events:
                    await patient(part(chunk))
        except TimeoutError:
            pass
        except OrchestratorError as error:  # the job was deleted, the store does not answer
            problem = {"code": error.code, "message": error.message}
            await patient(part(event("error", json.dumps(problem))))
        await patient(part(b"", more=False))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# -- jobs ------------------------------------------------------------------------------------


async def follow_job(context: Context, name: str, revision: int) -> AsyncIterator[bytes]:
    """Give the record of a job whenever it has changed, until it has ended."""
    job = await context.job(name)
    while not context.bell.is_closed():
        if job.revision > revision:
            revision = job.revision
            yield event("job", job_json(job), str(revision))
        else:
            yield KEEP_ALIVE
        if job.status.is_terminal:
            yield event("end", "{}", str(revision))
            return
        job = await context.job_after(name, revision, KEEP_ALIVE_SECONDS)


# -- logs ------------------------------------------------------------------------------------


async def follow_log(
    context: Context, name: str, host: str, position: Position, *, fixed: bool
) -> AsyncIterator[bytes]:
    """Give the lines of a host's log as they are written.

    Args:
        context: The use cases.
        name: The job.
        host: Whose log.
        position: Where to begin.
        fixed: Only this attempt; else those that follow, too.
    """
    follower = _Follower(context, name, host, fixed=fixed)
    while not context.bell.is_closed():
        if position.attempt is None or position.attempt == 0:
            position = replace(position, attempt=await follower.first_attempt())
            if not position.attempt:
                yield KEEP_ALIVE
                continue
        async for chunk in follower.lines(position):
            yield chunk
        if context.bell.is_closed():
            return
        following = None if fixed else await follower.attempt_after(position.attempt)
        if following is None:
            yield event("end", "{}")
            return
        position = Position(following, 0)
        yield event("attempt", json.dumps({"attempt": following}), follower.id_of(position))


class _Follower:
    """Reads one host's logs beside the event loop."""

    def __init__(self, context: Context, name: str, host: str, *, fixed: bool) -> None:
        self._context = context
        self._name = name
        self._host = host
        self._fixed = fixed

    def id_of(self, position: Position) -> str:
        """Return the event id of a position."""
        return str(position.offset) if self._fixed else f"{position.attempt}:{position.offset}"

    async def first_attempt(self) -> int:
        """Return the present attempt; 0 when there was none for some time."""
        job = await self._context.job(self._name)
        if job.attempt == 0 and not job.status.is_terminal:
            job = await self._context.job_after(self._name, job.revision, KEEP_ALIVE_SECONDS)
        return job.attempt or int(job.status.is_terminal)

    async def attempt_after(self, attempt: int) -> int | None:
        """Return the attempt that follows an ended one, or None when the job has ended."""
        job = await self._context.job(self._name)
        while job.attempt <= attempt:
            if job.status.is_terminal or self._context.bell.is_closed():
                return None
            job = await self._context.job_after(self._name, job.revision, KEEP_ALIVE_SECONDS)
        return attempt + 1

    async def lines(self, position: Position) -> AsyncIterator[bytes]:
        """Give the lines of one attempt until its log is finished."""
        context, loop = self._context, asyncio.get_running_loop()
        log = await context.files.run(
            context.service.logs.log_file, self._name, self._host, position.attempt
        )
        said, ended = loop.time(), False
        while not context.bell.is_closed():
            size = log.size()
            lines = await context.files.run(_take, log, position.offset, ended)
            if lines:
                position = replace(position, offset=lines[-1].next_offset)
                said = loop.time()
                yield self._lines_event(lines, position)
                continue
            if ended:
                return
            ended = await context.files.run(self._is_finished, log, position.attempt)
            if ended:
                continue  # what was written last
            if size > position.offset:
                said = loop.time()
                pending = await context.files.run(log.pending, position.offset)
                yield event("pending", json.dumps({"text": pending}))
            elif loop.time() - said > KEEP_ALIVE_SECONDS:
                said = loop.time()
                yield KEEP_ALIVE
            await growth(context, log, size, LOOK_SECONDS)

    def _lines_event(self, lines: list[LogLine], position: Position) -> bytes:
        data = {
            "host": self._host,
            "attempt": position.attempt,
            "next_offset": position.offset,
            "lines": [_shown(line) for line in lines],
        }
        return event("lines", json.dumps(data), self.id_of(position))

    def _is_finished(self, log: LogFile, attempt: int | None) -> bool:
        return self._context.service.logs.read(
            self._name, host=self._host, attempt=attempt, offset=log.size(), limit_bytes=1
        ).finished


async def growth(context: Context, log: LogFile, size: int, timeout_seconds: float) -> None:
    """Wait until a log is longer, its host writes its exit record, or time is over.

    Looks at the files only: thousands of looks cost little, and no job's change wakes the
    readers of all others.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    ended = log.path.with_name(contract.EXIT_FILE)
    had_ended = ended.exists()
    pause, longest = GROWTH_POLL_SECONDS
    while log.size() == size and ended.exists() == had_ended and not context.bell.is_closed():
        left = deadline - loop.time()
        if left <= 0:
            return
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.2, longest)


def _take(log: LogFile, offset: int, ended: bool) -> list[LogLine]:
    """Return the next lines: some thousands, or half a megabyte."""
    return list(_bounded(log.lines(offset, BATCH_LINES, finished=ended)))


def _bounded(lines: Iterable[LogLine]) -> Iterator[LogLine]:
    size = 0
    for line in lines:
        yield line
        size += line.next_offset - line.offset
        if size >= BATCH_BYTES:
            return


def _shown(line: LogLine) -> dict[str, Any]:
    shown = line._asdict()
    if not line.continued:
        del shown["continued"]
    return shown
