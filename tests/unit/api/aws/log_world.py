"""Jobs whose logs are written by the test, behind the real handlers of CloudWatch Logs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.identity import Identity
from orchestrator.api.aws.log_streams import GROUP, Stream
from orchestrator.api.aws.logs import Logs
from orchestrator.logs.file import LogFile
from orchestrator.scheduler.workspace import Workspace
from orchestrator.service.admission import Admission
from orchestrator.service.changes import Changes
from orchestrator.service.jobs import JobService
from orchestrator.service.logs import LogService
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.store.base import ListQuery, Page, Store
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.store_jobs import START, SetClock, ended, started, submit, take_over
from tests.unit.logs.log_writer import LogWriter
from tests.unit.scheduler.simulation import MACHINE

CALLER = Caller("key", "us-east-1", "logs", "UNSIGNED-PAYLOAD", None)


class CountedJobs(JobService):
    """Counts what is read of the store."""

    described = 0
    listed = 0

    def describe(self, name: str) -> TrainingJobRecord:
        """See ``JobService.describe``."""
        self.described += 1
        return super().describe(name)

    def list(self, query: ListQuery) -> Page:
        """See ``JobService.list``."""
        page = super().list(query)
        self.listed += len(page.jobs)
        return page


class LogWorld:
    """A home with jobs.

    Args:
        home: Where logs are.
        store: Where jobs are.
    """

    def __init__(self, home: Path, store: Store | None = None) -> None:
        clock = SetClock()
        self.store = store or MemoryStore(clock=clock)
        self.workspace = Workspace(home)
        changes = Changes()
        self.jobs = CountedJobs(
            self.store,
            self.workspace,
            Admission(home, {}, MACHINE),
            changes,
            clock,
            lambda: None,
            lambda: 0.0,
        )
        self.log_service = LogService(self.store, self.workspace, changes, clock)
        self.logs = Logs(self.jobs, self.log_service, Identity())

    def job(
        self,
        name: str,
        *,
        attempts: int = 1,
        hosts: int = 1,
        ends: bool = True,
        now: datetime = START,
    ) -> TrainingJobRecord:
        """Make a job that had so many attempts."""
        resources = {"instance_type": "ml.m5.large", "instance_count": hosts}
        job = submit(self.store, name, now, resource_config=resources)
        lease = take_over(self.store)
        for _ in range(attempts):
            again = {"transitions": ()} if job.attempt else {}
            assert self.store.apply([started(job, **again)], lease) == [True]
            job = self.store.get_job(name)
        if attempts and ends:
            assert self.store.apply([ended(job)], lease) == [True]
        return self.store.get_job(name)

    def stream(self, job: TrainingJobRecord, host: str = "algo-1") -> Stream:
        """The stream of a host's last attempt."""
        return Stream(job, host, job.attempt)

    def log(self, stream: Stream) -> LogFile:
        """Its log."""
        return self.log_service.log_of(stream.job, stream.host, stream.attempt)

    def write(self, stream: Stream, chunk: bytes, time_us: int) -> None:
        """Append to the log of a stream."""
        directory = self.log(stream).path.parent
        directory.mkdir(parents=True, exist_ok=True)
        LogWriter(directory).write(chunk, time_us)

    def ask(self, operation: str, **asked: Any) -> dict[str, Any]:
        """Call an operation."""
        return self.logs.handlers()[operation]({"logGroupName": GROUP, **asked}, CALLER)

    def pages(self, operation: str, **asked: Any) -> list[dict[str, Any]]:
        """Call an operation until there is no further page."""
        found = [self.ask(operation, **asked)]
        while "nextToken" in found[-1]:
            found.append(self.ask(operation, **asked, nextToken=found[-1]["nextToken"]))
        return found
