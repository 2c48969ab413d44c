"""The events of one log stream: pages in both directions, within two times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from orchestrator.api.aws.log_streams import Stream, invalid_token

if TYPE_CHECKING:
    from orchestrator.logs.file import LogFile
    from orchestrator.logs.lines import LogLine

MAX_EVENTS = 10_000
MAX_EVENT_BYTES = 1 << 20
"""Of one answer, as on AWS."""
_OFFSET_DIGITS = 18


@dataclass(frozen=True)
class Window:
    """The bytes of the lines that came between two times.

    Attributes:
        start: Where the first one begins.
        end: Where the first one begins that came too late; None = no time is too late.
    """

    start: int
    end: int | None


def window(log: LogFile, start_ms: int | None, end_ms: int | None) -> Window:
    """Return where lines are that came at a time or later, and before another one."""
    return Window(
        log.offset_at_us(start_ms * 1000) if start_ms else 0,
        None if end_ms is None else log.offset_at_us(end_ms * 1000),
    )


def event(line: LogLine, stream: Stream) -> dict[str, Any]:
    """Return a line as an event; one without a time has that of the job's acceptance."""
    at = (line.time_us or int(stream.job.created_at.timestamp() * 1_000_000)) // 1000
    return {"timestamp": at, "message": line.text, "ingestionTime": at}


def page(log: LogFile, stream: Stream, asked: dict[str, Any]) -> dict[str, Any]:
    """Return a page of events, in order; at an end, the token of that direction stays.

    Raises:
        AwsError: The token is none.
    """
    direction, offset = _position(asked.get("nextToken"))
    within = window(log, asked.get("startTime"), asked.get("endTime"))
    limit = asked.get("limit", MAX_EVENTS)
    if direction == "b" or (direction is None and not asked.get("startFromHead")):
        given = _before(log, stream, within, offset, limit)
    else:
        given = _after(log, stream, within, offset or 0, limit)
    first = given[0].offset if given else (offset or 0)
    last = given[-1].next_offset if given else (offset or 0)
    return {
        "events": [event(line, stream) for line in given],
        "nextForwardToken": f"f/{last}",
        "nextBackwardToken": f"b/{first}",
    }


def _after(log: LogFile, stream: Stream, within: Window, offset: int, limit: int) -> list[LogLine]:
    lines = log.lines(max(offset, within.start), limit, finished=stream.is_finished)
    early = takewhile(lambda line: within.end is None or line.offset < within.end, lines)
    return list(_bounded(early))


def _before(
    log: LogFile, stream: Stream, within: Window, offset: int | None, limit: int
) -> list[LogLine]:
    ends = [end for end in (offset, within.end) if end is not None]
    return log.last_lines(
        min(ends, default=None),
        lowest=within.start,
        count=limit,
        max_bytes=MAX_EVENT_BYTES,
        finished=stream.is_finished,
    )


def _bounded(lines: Iterable[LogLine]) -> Iterator[LogLine]:
    left = MAX_EVENT_BYTES
    for place, line in enumerate(lines):
        left -= line.next_offset - line.offset
        if left < 0 and place:
            return
        yield line


def _position(token: str | None) -> tuple[str | None, int | None]:
    if token is None:
        return None, None
    direction, _, offset = token.partition("/")
    is_number = offset.isascii() and offset.isdecimal() and len(offset) <= _OFFSET_DIGITS
    if direction not in {"f", "b"} or not is_number:
        raise invalid_token()
    return direction, int(offset)
