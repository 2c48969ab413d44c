"""Use cases of logs: which streams a job has, and reading them by byte offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator_runtime import contract

from orchestrator.backends.base import attempt_directory
from orchestrator.errors import NotFound
from orchestrator.logs.file import LogFile, host_log
from orchestrator.logs.render import render

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.scheduler.workspace import Workspace
    from orchestrator.service.changes import Changes
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.store.base import Store

GROWTH_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class LogStream:
    """One host's log of one attempt."""

    host: str
    attempt: int
    size_bytes: int
    finished: bool


@dataclass(frozen=True)
class LogChunk:
    """Bytes of one stream, exactly as they were printed.

    Attributes:
        offset: Of the first byte.
        next_offset: Where to read on.
        finished: Nothing will follow ``next_offset``.
    """

    host: str
    attempt: int
    offset: int
    data: bytes
    next_offset: int
    finished: bool


class LogService:
    """Logs of jobs.

    Args:
        store: The state.
        workspace: The jobs' files.
        changes: Where changes of jobs are announced.
        clock: The time.
    """

    def __init__(self, store: Store, workspace: Workspace, changes: Changes, clock: Clock) -> None:
        self._store = store
        self._workspace = workspace
        self._changes = changes
        self._clock = clock

    def streams(self, name: str) -> tuple[LogStream, ...]:
        """Return all streams of a job, by attempt and host.

        Raises:
            NotFound: There is no such job.
        """
        job = self._store.get_job(name)
        attempts = self._workspace.job_directory(job.name) / "attempts"
        if not attempts.is_dir():
            return ()
        found = sorted(int(path.name) for path in attempts.iterdir() if path.name.isdigit())
        # What comes later is none of its own: a job of this name that the store has forgotten.
        numbers = [number for number in found if number <= job.attempt]
        return tuple(
            LogStream(host.name, number, host_log(host).size(), _finished(job, number, host))
            for number in numbers
            for host in sorted((attempts / str(number)).iterdir(), key=_rank)
            if host.is_dir()
        )

    def log_file(self, name: str, host: str, attempt: int | None = None) -> LogFile:
        """Return a reader of one stream.

        Raises:
            NotFound: There is no such job or host.
        """
        job = self._store.get_job(name)
        return host_log(self._directory(job, host, attempt))

    def log_of(self, job: TrainingJobRecord, host: str, attempt: int) -> LogFile:
        """Return a reader of one stream of a job that was just read.

        Raises:
            NotFound: There is no such host.
        """
        return host_log(self._directory(job, host, attempt))

    def last_lines(self, job: TrainingJobRecord, count: int) -> list[str]:
        """Return the last lines that the first host of an ended job printed, safe to be shown."""
        first = job.spec.hosts[0][0]
        lines = self.log_of(job, first, job.attempt).tail(count, finished=True)
        return [render(line.text) for line in lines]

    def _directory(self, job: TrainingJobRecord, host: str, attempt: int | None) -> Path:
        number = attempt or job.attempt
        if number and host not in {h for h, _, _ in job.spec.hosts}:
            known = ", ".join(h for h, _, _ in job.spec.hosts)
            raise NotFound(f"host must be one of {known}, got {host!r}")
        if number > job.attempt:
            number = 0  # not begun, whatever a job of this name that was forgotten has left
        return attempt_directory(self._workspace.job_directory(job.name), number) / host

    def read(
        self,
        name: str,
        *,
        host: str = "algo-1",
        attempt: int | None = None,
        offset: int = 0,
        limit_bytes: int = 1 << 20,
        wait_seconds: float = 0,
    ) -> LogChunk:
        """Read one stream from a byte offset; wait for more when there is nothing yet.

        Args:
            name: Which job.
            host: Whose log.
            attempt: None = the present one.
            offset: Where to begin, in bytes.
            limit_bytes: At most so many.
            wait_seconds: How long to wait for bytes or for the end.

        Raises:
            NotFound: There is no such job or host.
        """
        deadline = self._clock.monotonic() + wait_seconds
        while True:
            count = self._changes.count()
            job = self._store.get_job(name)
            number = attempt or job.attempt
            directory = self._directory(job, host, number)
            finished = _finished(job, number, directory)
            data = host_log(directory).read(offset, limit_bytes)
            left = deadline - self._clock.monotonic()
            if data or finished or left <= 0:
                end = offset + len(data)
                done = finished and len(data) < limit_bytes
                return LogChunk(host, number, offset, data, end, done)
            self._changes.wait(count, min(left, GROWTH_POLL_SECONDS))


def _rank(host: Path) -> tuple[int, str]:
    number = host.name.rpartition("-")[2]
    return (int(number) if number.isdigit() else 0, host.name)


def _finished(job: TrainingJobRecord, attempt: int, host_directory: Path) -> bool:
    """Return whether a log cannot grow: its supervisor has written its exit record."""
    if job.status.is_terminal or attempt < job.attempt:
        return True
    return (host_directory / contract.EXIT_FILE).exists()
