"""Searching the lines of many streams, a bounded piece of work at a time.

Streams are taken a batch at a time, and the lines of a batch come in order of time. A token says
how far each stream of the batch is searched, and where the next batch begins; a page may be empty
and yet have one.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from orchestrator.api.aws.log_events import MAX_EVENT_BYTES, MAX_EVENTS, event, window
from orchestrator.api.aws.log_filter import line_filter
from orchestrator.api.aws.log_listing import StreamListing, Wanted
from orchestrator.api.aws.log_streams import (
    Stream,
    invalid,
    invalid_token,
    job_of,
    not_found,
    stream_named,
)
from orchestrator.errors import InvalidSpec, NotFound
from orchestrator.logs.scan import CHUNK_BYTES, Scan, Step
from orchestrator.service.jobs import JobService
from orchestrator.service.logs import LogService

if TYPE_CHECKING:
    from orchestrator.logs.file import LogFile

MOST_STREAMS = 100
"""Open at once."""
MOST_COST = 32 << 20
"""Of one call, in bytes that are cut into lines and judged; see ``logs/scan.py``."""
_TERMS_AT_ONCE = 2
"""Terms of a pattern that a line is judged by at no further cost."""
_LEAST_CHUNK_BYTES = 8192
_CHUNKS_AT_ONCE = 64
"""A chunk of each stream is read before the first line is given; more streams get smaller ones."""


@dataclass(frozen=True)
class Place:
    """How far a search has come.

    Attributes:
        offsets: Of the streams that are being searched, by name.
        following: Position of the streams to be searched then; None = there are none.
    """

    offsets: dict[str, int]
    following: str | None = None

    def token(self) -> str:
        """Return it as a token."""
        return json.dumps([self.offsets, self.following], separators=(",", ":"))

    @classmethod
    def of(cls, token: str) -> Place:
        """Read a token.

        Raises:
            AwsError: It is none.
        """
        try:
            offsets, following = json.loads(token)
        except (ValueError, TypeError, RecursionError) as error:
            raise invalid_token() from error
        if not isinstance(offsets, dict) or len(offsets) > MOST_STREAMS:
            raise invalid_token()
        if not all(type(offset) is int and 0 <= offset < 1 << 62 for offset in offsets.values()):
            raise invalid_token()
        if not isinstance(following, str) and (following is not None or not offsets):
            raise invalid_token()
        return cls(offsets, following)


class LogSearch:
    """Searches.

    Args:
        jobs: Use cases of training jobs.
        logs: Use cases of logs.
        listing: Lists streams.
    """

    def __init__(self, jobs: JobService, logs: LogService, listing: StreamListing) -> None:
        self._jobs = jobs
        self._logs = logs
        self._listing = listing

    def page(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return what a bounded search finds, and where to go on.

        Raises:
            AwsError: The pattern or the token is none, or a stream is not there.
        """
        try:
            wanted = line_filter(asked.get("filterPattern", ""))
        except InvalidSpec as error:
            raise invalid(error.message) from error
        streams, place = self._batch(asked)
        weight = 1 + wanted.terms // _TERMS_AT_ONCE
        shared = CHUNK_BYTES // (1 + weight * len(streams) // _CHUNKS_AT_ONCE)
        scan = Scan(wanted.may_be_in, wanted.fits, chunk_bytes=max(shared, _LEAST_CHUNK_BYTES))
        steps = heapq.merge(
            *(
                self._steps(stream, place.offsets[name], asked.get("endTime"), scan)
                for name, stream in streams.items()
            ),
            key=itemgetter(0, 1),
        )
        found = _Found(asked.get("limit", MAX_EVENTS), weight)
        for _, name, step in steps:
            if not found.take(step, streams[name]):
                return {"events": found.events, "nextToken": place.token()}
            place.offsets[name] = step.next_offset
        answer: dict[str, Any] = {"events": found.events}
        if place.following is not None:
            answer["nextToken"] = Place({}, place.following).token()
        return answer

    def stream(self, name: str) -> Stream:
        """Return the stream of a name.

        Raises:
            AwsError: There is none.
        """
        found = self._find(name)
        if found is None:
            raise not_found("The specified log stream does not exist.")
        return found

    def _find(self, name: str) -> Stream | None:
        job = job_of(name)
        try:
            return None if job is None else stream_named(name, self._jobs.describe(job))
        except NotFound:
            return None

    def _batch(self, asked: dict[str, Any]) -> tuple[dict[str, Stream], Place]:
        """Return the streams to be searched now, and how far they are."""
        token = asked.get("nextToken")
        place = None if token is None else Place.of(token)
        if place is not None and place.offsets:
            known = {name: self._find(name) for name in place.offsets}
            streams = {name: stream for name, stream in known.items() if stream is not None}
            offsets = {name: place.offsets[name] for name in streams}
            return streams, Place(offsets, place.following)
        names, prefix = asked.get("logStreamNames"), asked.get("logStreamNamePrefix", "")
        if names is not None:
            if prefix:
                raise invalid("Only one of logStreamNamePrefix and logStreamNames may be given.")
            return self._begun([self.stream(name) for name in names], None, asked)
        position = place.following if place is not None else None
        found = self._listing.by_name(Wanted(prefix), position, MOST_STREAMS)
        return self._begun(found.streams, found.position, asked)

    def _begun(
        self, streams: Sequence[Stream], following: str | None, asked: dict[str, Any]
    ) -> tuple[dict[str, Stream], Place]:
        offsets = {
            stream.name: window(self._log(stream), asked.get("startTime"), None).start
            for stream in streams
        }
        return {stream.name: stream for stream in streams}, Place(offsets, following)

    def _steps(
        self, stream: Stream, offset: int, end: int | None, scan: Scan
    ) -> Iterator[tuple[int, str, Step]]:
        log = self._log(stream)
        # Here the last millisecond belongs to the range, unlike in GetLogEvents.
        within = window(log, None, None if end is None else end + 1)
        scan = replace(scan, end=within.end, finished=stream.is_finished)
        for step in scan.steps(log, offset):
            yield step.time_us, stream.name, step

    def _log(self, stream: Stream) -> LogFile:
        return self._logs.log_of(stream.job, stream.host, stream.attempt)


class _Found:
    """The events of one page, as long as there is room for more."""

    def __init__(self, limit: int, weight: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._limit = limit
        self._weight = weight
        self._bytes = 0
        self._cost = 0

    def take(self, step: Step, stream: Stream) -> bool:
        """Put a step on the page; return whether it had a place there."""
        line = step.line
        if self._cost >= MOST_COST or len(self.events) == self._limit:
            return False
        if line is not None:
            size = line.next_offset - line.offset
            if self.events and self._bytes + size > MAX_EVENT_BYTES:
                return False
            self._bytes += size
            name = {"logStreamName": stream.name, "eventId": f"{stream.name}/{line.offset}"}
            self.events.append(event(line, stream) | name)
        self._cost += self._weight * step.cost
        return True
