"""Which log streams come on a page: by name, with a bounded number of jobs looked at, or by time.

The order of names is the store's, of jobs by name without regard to case and then of each one's
streams. A position in it is ``<cursor>:<name>``: the store's cursor of the jobs that were being
read, and the last stream given, or the job that is done with. So each page goes on where the one
before ended, whatever has come or gone in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from operator import itemgetter

from orchestrator.api.aws.log_streams import Stream, invalid_token, job_of, streams_of
from orchestrator.errors import InvalidSpec, NotFound
from orchestrator.service.jobs import JobService
from orchestrator.service.logs import LogService
from orchestrator.store.base import ListQuery, SortBy

MOST_JOBS = 100
"""Read for one page; also when none of them has a stream, as those in the queue."""
MOST_NAMES = 1000
"""Looked at for one page, of jobs with the prefix somewhere in their names."""
NEWEST_JOBS, NEWEST_STREAMS = 200, 1000
"""What is put in order of time: the newest jobs, and at most so many streams of theirs."""
_TIME_DIGITS = 20


@dataclass(frozen=True)
class StreamPage:
    """Some streams; there may be none, and yet a next page.

    Attributes:
        streams: In the order asked for.
        position: Where to go on; None = these were the last.
    """

    streams: tuple[Stream, ...]
    position: str | None


@dataclass(frozen=True)
class Wanted:
    """Streams whose names begin so, in one order."""

    prefix: str = ""
    descending: bool = False

    def is_before(self, name: str, other: str) -> bool:
        """Whether a name comes before another one."""
        return name > other if self.descending else name < other

    def is_over(self, job: str) -> bool:
        """Whether no job from this one on can have the prefix."""
        key, prefix = job.lower(), self.prefix.lower()
        return not key.startswith(prefix) and self.is_before(prefix, key)


class StreamListing:
    """Lists streams.

    Args:
        jobs: Use cases of training jobs.
        logs: Use cases of logs.
    """

    def __init__(self, jobs: JobService, logs: LogService) -> None:
        self._jobs = jobs
        self._logs = logs

    def by_name(self, wanted: Wanted, position: str | None, limit: int) -> StreamPage:
        """Return the streams that follow a position.

        Raises:
            AwsError: The position comes from another list.
        """
        cursor, after = _parted(position)
        found: list[Stream] = []
        read = 0
        for looked, (page, job) in enumerate(self._names(wanted, cursor, after)):
            if read == MOST_JOBS or looked == MOST_NAMES:
                return StreamPage(tuple(found), f"{cursor}:{after}")
            if job.startswith(wanted.prefix) or job == job_of(wanted.prefix):
                read += 1
                for stream in self._streams(job, wanted, after):
                    if len(found) == limit:
                        return StreamPage(tuple(found), f"{cursor}:{after}")
                    found.append(stream)
                    cursor, after = page, stream.name
            cursor, after = page, job
        return StreamPage(tuple(found), None)

    def by_time(self, *, descending: bool, position: str | None, limit: int) -> StreamPage:
        """Return streams of the newest jobs by the time of their last event.

        Raises:
            AwsError: The position comes from another list.
        """
        after = _time_and_name(position)
        timed = sorted(
            ((self._last_us(stream), stream.name, stream) for stream in self._newest()),
            key=itemgetter(0, 1),
            reverse=descending,
        )
        if after is not None:
            timed = [
                item for item in timed if (item[:2] < after if descending else item[:2] > after)
            ]
        streams = tuple(stream for _, _, stream in timed[:limit])
        if len(timed) <= limit:
            return StreamPage(streams, None)
        time_us, name, _ = timed[limit - 1]
        return StreamPage(streams, f"{time_us}:{name}")

    def _names(self, wanted: Wanted, cursor: str, after: str) -> Iterator[tuple[str, str]]:
        """Yield the job of a position and those behind it, each with the cursor of its page."""
        only = job_of(wanted.prefix)
        if only is not None:
            if after != only:
                yield "", only
            return
        done = after.partition("/")[0].lower()
        for page, job in self._pages(wanted, cursor):
            key = job.lower()
            is_done = done and (wanted.is_before(key, done) or (key == done and "/" not in after))
            if wanted.is_over(job):
                return
            if not is_done:
                yield page, job

    def _pages(self, wanted: Wanted, cursor: str) -> Iterator[tuple[str, str]]:
        query = ListQuery(
            sort_by=SortBy.NAME,
            descending=wanted.descending,
            name_contains=wanted.prefix or None,
            limit=MOST_JOBS,
            cursor=cursor or None,
        )
        while True:
            try:
                page = self._jobs.list(query)
            except InvalidSpec as error:
                raise invalid_token() from error
            for job in page.jobs:
                yield query.cursor or "", job.name
            if page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)

    def _streams(self, job: str, wanted: Wanted, after: str) -> Iterator[Stream]:
        try:
            found = list(streams_of(self._jobs.describe(job)))
        except NotFound:
            return
        is_begun = after.lower().startswith(f"{job.lower()}/")
        for stream in reversed(found) if wanted.descending else found:
            if stream.name.startswith(wanted.prefix) and not (
                is_begun and not wanted.is_before(after, stream.name)
            ):
                yield stream

    def _newest(self) -> Iterator[Stream]:
        query = ListQuery(sort_by=SortBy.CREATION_TIME, descending=True, limit=NEWEST_JOBS)
        jobs = self._jobs.list(query).jobs
        streams = chain.from_iterable(
            self._streams(job.name, Wanted(descending=True), "") for job in jobs
        )
        return islice(streams, NEWEST_STREAMS)

    def _last_us(self, stream: Stream) -> int:
        log = self._logs.log_of(stream.job, stream.host, stream.attempt)
        times = log.first_and_last_time_us()
        return times[1] if times is not None else 0


def _parted(position: str | None) -> tuple[str, str]:
    if position is None:
        return "", ""
    cursor, colon, after = position.partition(":")
    if not colon or not after:
        raise invalid_token()
    return cursor, after


def _time_and_name(position: str | None) -> tuple[int, str] | None:
    if position is None:
        return None
    time_us, name = _parted(position)
    if not (time_us.isascii() and time_us.isdecimal() and len(time_us) <= _TIME_DIGITS):
        raise invalid_token()
    return int(time_us), name
