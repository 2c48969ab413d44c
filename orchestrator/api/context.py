"""What every route needs: the use cases, threads to call them in, limits, waiting for changes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.api.batch import Batches
from orchestrator.api.pools import Bell, Pool
from orchestrator.clock import SystemClock
from orchestrator.errors import Unavailable

if TYPE_CHECKING:
    from orchestrator.service.assemble import Service
    from orchestrator.service.jobs import Submission
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.tuned import TuningOverview

T = TypeVar("T")

SPOOL = "spool"
SPOOL_KEPT_SECONDS = 86_400
OWN_POLL_SECONDS = 5.0
OTHER_POLL_SECONDS = (0.05, 0.5)
"""First and longest pause between looks while another process drives the home."""


@dataclass(frozen=True)
class Limits:
    """Bounds, so that no client can use up this process."""

    json_bytes: int = 4 << 20
    """Largest body of a request, but for source archives."""
    source_bytes: int = 512 << 20
    """Largest packed source."""
    streams: int = 256
    """Event streams that are open at once."""
    stream_seconds: float = 3600
    """Longest life of an event stream; clients connect again with Last-Event-ID."""
    slow_client_seconds: float = 30
    """A client that takes nothing for so long is dropped."""
    wait_seconds: float = 60
    """Longest wait of a long poll."""
    accepting: int = 512
    """Requests that change something and wait at once; more are told to try again."""
    instances: int = 1000
    """Largest instance count that is looked at."""


class Context:
    """The use cases as the event loop sees them.

    Args:
        service: The use cases.
        limits: Bounds.
        refused_backends: Back ends that clients of this port may not use.
    """

    def __init__(
        self,
        service: Service,
        limits: Limits | None = None,
        refused_backends: frozenset[str] = frozenset(),
    ) -> None:
        self.service = service
        self.limits = limits or Limits()
        self.refused_backends = refused_backends
        self.bell = Bell(service.changes)
        # As many readers as the store keeps connections open for; writers share commits.
        self.reads = Pool("read", 4, 2048)
        # What looks through much must never keep others from looking at one job.
        self.scans = Pool("scan", 2, 256)
        self.writes = Pool("accept", 32, self.limits.accepting)
        self._batching = Pool("batch", 1, 2)
        self.submissions: Batches[Submission, TrainingJobRecord] = Batches(
            self._batching, service.jobs.submit_many, self.limits.accepting
        )
        self.gathering = Pool("gather", 1, 8)
        self.files = Pool("files", 8, 256)
        # One at a time: each takes a process with much memory.
        self.analyses = Pool("analysis", 1, 16)
        # An engine that hangs must not hold up readers.
        self.checks = Pool("check", 4, 16)
        self.spool = _emptied(service.home / SPOOL)
        self._streams = 0
        self._reading: dict[tuple[str, int], asyncio.Future[TrainingJobRecord]] = {}

    # -- jobs ------------------------------------------------------------------------------

    async def job(self, name: str) -> TrainingJobRecord:
        """Return the present record of a job."""
        return await self.reads.run(self.service.jobs.describe, name)

    async def _shared_job(self, name: str, count: int) -> TrainingJobRecord:
        """Return a job as it was after a change; all who were woken by it share one read."""
        reading = self._reading.get((name, count))
        if reading is None:
            reading = asyncio.ensure_future(self.job(name))
            self._reading[name, count] = reading
            reading.add_done_callback(lambda done: self._forget((name, count), done))
        return await asyncio.shield(reading)

    def _forget(self, key: tuple[str, int], done: asyncio.Future[TrainingJobRecord]) -> None:
        del self._reading[key]
        if not done.cancelled():
            done.exception()  # whoever still waits raises it

    async def job_after(
        self, name: str, revision: int, timeout_seconds: float
    ) -> TrainingJobRecord:
        """Return a job as soon as its revision is above, or when the time is over."""

        async def read(count: int | None) -> TrainingJobRecord:
            return await (self.job(name) if count is None else self._shared_job(name, count))

        return await self._after(read, lambda job: job.revision > revision, timeout_seconds)

    async def tuning(self, name: str) -> TuningOverview:
        """Return the present state of a tuning job."""
        return await self.reads.run(self.service.tunings.describe, name)

    async def tuning_after(
        self, name: str, revision: int, timeout_seconds: float
    ) -> TuningOverview:
        """Return a tuning job as soon as its revision is above, or when the time is over."""

        async def read(_count: int | None) -> TuningOverview:
            return await self.tuning(name)

        return await self._after(read, lambda t: t.record.revision > revision, timeout_seconds)

    async def _after(
        self,
        read: Callable[[int | None], Awaitable[T]],
        is_new: Callable[[T], bool],
        timeout_seconds: float,
    ) -> T:
        """Read, and read again after each change, until it is new or the time is over.

        Args:
            read: Gets the count of changes that it must see; None the first time.
            is_new: Whether that is what was waited for.
            timeout_seconds: Longest wait.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        count = self.bell.count()
        pause = OTHER_POLL_SECONDS[0]
        found = await read(None)
        while True:
            left = deadline - loop.time()
            if is_new(found) or left <= 0 or self.bell.is_closed():
                return found
            await self.bell.wait(count, min(left, self._pause(pause)))
            pause = min(pause * 1.5, OTHER_POLL_SECONDS[1])
            count = self.bell.count()
            found = await read(count)

    def _pause(self, pause: float) -> float:
        return OWN_POLL_SECONDS if self.service.driving.is_driving else pause

    # -- streams ---------------------------------------------------------------------------

    @property
    def streams(self) -> int:
        """How many event streams are open."""
        return self._streams

    def check_stream(self) -> None:
        """Refuse a further event stream when there are too many.

        Raises:
            Unavailable: There are.
        """
        if self._streams >= self.limits.streams:
            raise Unavailable(
                f"at most {self.limits.streams} event streams may be open, that many are; close "
                "one or try again"
            )

    @contextmanager
    def open_stream(self) -> Iterator[None]:
        """Count an event stream while it is open."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def close(self) -> None:
        """Wake all who wait, so that they answer and end."""
        self.bell.close()

    def release(self) -> None:
        """Give the threads back."""
        readers = (self.reads, self.scans, self.files, self.checks, self.analyses)
        for pool in (*readers, self.writes, self._batching, self.gathering):
            pool.close()


def _emptied(spool: Path) -> Path:
    """Return the folder for files that are on their way, without what crashes left there."""
    spool.mkdir(mode=0o700, exist_ok=True)
    oldest = SystemClock().now().timestamp() - SPOOL_KEPT_SECONDS
    for path in spool.iterdir():
        if path.lstat().st_mtime >= oldest:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return spool
