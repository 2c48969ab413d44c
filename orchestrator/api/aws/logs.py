"""CloudWatch Logs over the logs of jobs: streams, events, and searching them."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.identity import Identity
from orchestrator.api.aws.log_filter import line_filter
from orchestrator.api.aws.log_streams import GROUP, Stream, job_of, stream_named, streams_of
from orchestrator.api.aws.operations import Handler
from orchestrator.clock import from_epoch
from orchestrator.errors import InvalidSpec, NotFound
from orchestrator.logs.file import LogFile
from orchestrator.logs.lines import LogLine
from orchestrator.service.jobs import JobService
from orchestrator.service.logs import LogService
from orchestrator.store.base import ListQuery, SortBy

MAX_EVENTS = 10_000
MAX_EVENT_BYTES = 1 << 20
"""Of one answer, as on AWS."""
_STREAMS = 50


class Logs:
    """The operations of CloudWatch Logs that are served.

    Args:
        jobs: Use cases of training jobs.
        logs: Use cases of logs.
        identity: Whose account this is.
    """

    def __init__(self, jobs: JobService, logs: LogService, identity: Identity) -> None:
        self._jobs = jobs
        self._logs = logs
        self._identity = identity

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {
            "DescribeLogGroups": self.describe_log_groups,
            "DescribeLogStreams": self.describe_log_streams,
            "GetLogEvents": self.get_log_events,
            "FilterLogEvents": self.filter_log_events,
        }

    def describe_log_groups(self, asked: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Return the one group."""
        prefix, part = asked.get("logGroupNamePrefix", ""), asked.get("logGroupNamePattern", "")
        if not GROUP.startswith(prefix) or part not in GROUP:
            return {"logGroups": []}
        arn = self._arn(caller)
        group = {"logGroupName": GROUP, "arn": f"{arn}:*", "logGroupArn": arn, "storedBytes": 0}
        return {"logGroups": [group]}

    def describe_log_streams(self, asked: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Return the streams of the jobs whose names begin as is asked for, by name."""
        _check_group(asked)
        descending = bool(asked.get("descending"))
        streams = self._streams(asked.get("logStreamNamePrefix", ""), descending=descending)
        after = asked.get("nextToken")
        if after is not None:
            streams = (s for s in streams if (s.name < after if descending else s.name > after))
        limit = asked.get("limit", _STREAMS)
        page = list(islice(streams, limit + 1))
        answer: dict[str, Any] = {
            "logStreams": [self._described(stream, caller) for stream in page[:limit]]
        }
        if len(page) > limit:
            answer["nextToken"] = page[limit - 1].name
        return answer

    def get_log_events(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return the next lines of one stream; at its end the token stays what it was."""
        _check_group(asked)
        stream = self._stream(asked["logStreamName"])
        file = self._logs.log_file(stream.job.name, stream.host, stream.attempt)
        direction, offset = _position(asked.get("nextToken"))
        limit = asked.get("limit", MAX_EVENTS)
        if direction == "b" or (direction is None and not asked.get("startFromHead")):
            lines: Iterable[LogLine] = self._last(file, stream, offset, limit)
        else:
            start = asked.get("startTime")
            begin = file.offset_at(from_epoch(start / 1000)) if start and offset is None else 0
            lines = file.lines(offset or begin, limit, finished=self._finished(stream))
        given = list(_bounded(_within(lines, asked)))
        first = given[0].offset if given else (offset or 0)
        last = given[-1].next_offset if given else (offset or 0)
        return {
            "events": [_event(line, stream) for line in given],
            "nextForwardToken": f"f/{last}",
            "nextBackwardToken": f"b/{first}",
        }

    def filter_log_events(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return lines of several streams in order of time."""
        _check_group(asked)
        try:
            wanted = line_filter(asked.get("filterPattern", ""))
        except InvalidSpec as error:
            raise _invalid(error.message) from error
        offsets = _offsets(asked.get("nextToken"))
        streams = self._asked_for(asked)
        limit = asked.get("limit", MAX_EVENTS)
        merged = heapq.merge(
            *(self._timed(place, stream, asked, offsets) for place, stream in enumerate(streams)),
            key=lambda item: item[:2],
        )
        events: list[dict[str, Any]] = []
        size = 0
        for _, place, line in merged:
            if len(events) == limit or size > MAX_EVENT_BYTES:
                return {"events": events, "nextToken": json.dumps(offsets)}
            stream = streams[place]
            offsets[stream.name] = line.next_offset
            if wanted.fits(line.text):
                size += len(line.text)
                event = _event(line, stream)
                name = stream.name
                events.append(event | {"logStreamName": name, "eventId": f"{name}/{line.offset}"})
        return {"events": events}

    def _last(
        self, file: LogFile, stream: Stream, offset: int | None, limit: int
    ) -> list[LogLine]:
        if offset is None:
            return file.tail(limit, finished=self._finished(stream))
        return file.before(offset, limit)

    # -- streams -----------------------------------------------------------------------------

    def _streams(self, prefix: str, *, descending: bool = False) -> Iterator[Stream]:
        """Yield the streams whose names begin so, in order of their names."""
        name = job_of(prefix)
        if name is not None:
            try:
                found = list(streams_of(self._jobs.describe(name)))
            except NotFound:
                return
            ordered = reversed(found) if descending else found
            yield from (stream for stream in ordered if stream.name.startswith(prefix))
            return
        query = ListQuery(sort_by=SortBy.NAME, descending=descending, name_contains=prefix or None)
        for job in self._all(query):
            if job.startswith(prefix):
                yield from self._streams(f"{job}/", descending=descending)

    def _all(self, query: ListQuery) -> Iterator[str]:
        while True:
            page = self._jobs.list(query)
            yield from (job.name for job in page.jobs)
            if page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)

    def _stream(self, name: str) -> Stream:
        job = job_of(name)
        try:
            found = None if job is None else stream_named(name, self._jobs.describe(job))
        except NotFound:
            found = None
        if found is None:
            raise _not_found("The specified log stream does not exist.")
        return found

    def _asked_for(self, asked: dict[str, Any]) -> list[Stream]:
        names = asked.get("logStreamNames")
        if names is not None:
            return [self._stream(name) for name in names]
        return list(islice(self._streams(asked.get("logStreamNamePrefix", "")), 100))

    def _described(self, stream: Stream, caller: Caller) -> dict[str, Any]:
        created = int(stream.job.created_at.timestamp() * 1000)
        return {
            "logStreamName": stream.name,
            "creationTime": created,
            "arn": f"{self._arn(caller)}:log-stream:{stream.name}",
            "storedBytes": 0,
        }

    def _finished(self, stream: Stream) -> bool:
        return stream.job.status.is_terminal or stream.attempt < stream.job.attempt

    def _timed(
        self, place: int, stream: Stream, asked: dict[str, Any], offsets: Mapping[str, int]
    ) -> Iterator[tuple[int, int, LogLine]]:
        file = self._logs.log_file(stream.job.name, stream.host, stream.attempt)
        begin = offsets.get(stream.name)
        if begin is None:
            start = asked.get("startTime")
            begin = file.offset_at(from_epoch(start / 1000)) if start else 0
        lines = file.lines(begin, finished=self._finished(stream))
        for line in _within(lines, asked):
            yield line.time_us or 0, place, line

    def _arn(self, caller: Caller) -> str:
        return f"arn:aws:logs:{caller.region}:{self._identity.account}:log-group:{GROUP}"


def _check_group(asked: dict[str, Any]) -> None:
    group = asked.get("logGroupName") or asked.get("logGroupIdentifier", "")
    if group != GROUP and not group.endswith(f":log-group:{GROUP}"):
        raise _not_found("The specified log group does not exist.")


def _within(lines: Iterable[LogLine], asked: dict[str, Any]) -> Iterator[LogLine]:
    """Yield the lines between two times; lines come in order of time."""
    start, end = asked.get("startTime"), asked.get("endTime")
    for line in lines:
        at = (line.time_us or 0) // 1000
        if end is not None and at >= end:
            return
        if start is None or at >= start:
            yield line


def _bounded(lines: Iterable[LogLine]) -> Iterator[LogLine]:
    size = 0
    for line in lines:
        size += line.next_offset - line.offset
        if size > MAX_EVENT_BYTES and size != line.next_offset - line.offset:
            return
        yield line


def _event(line: LogLine, stream: Stream) -> dict[str, Any]:
    at = (line.time_us or int(stream.job.created_at.timestamp() * 1_000_000)) // 1000
    return {"timestamp": at, "message": line.text, "ingestionTime": at}


def _position(token: str | None) -> tuple[str | None, int | None]:
    if token is None:
        return None, None
    direction, _, offset = token.partition("/")
    if direction not in {"f", "b"} or not offset.isascii() or not offset.isdecimal():
        raise _invalid("The specified nextToken is invalid.")
    return direction, int(offset)


def _offsets(token: str | None) -> dict[str, int]:
    if token is None:
        return {}
    try:
        offsets = json.loads(token)
    except ValueError:
        offsets = None
    if not isinstance(offsets, dict) or not all(
        type(offset) is int and offset >= 0 for offset in offsets.values()
    ):
        raise _invalid("The specified nextToken is invalid.")
    return offsets


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def _not_found(message: str) -> AwsError:
    return AwsError("ResourceNotFoundException", message)
