"""The back-end interface: plan (pure), stage, start, observe, stop, release.

Every effect is idempotent: the driver may die between any two of them and another one does them
again. What is running is found from the outside world (claim files, container labels), never
only from memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the contract's record shapes exist for type checkers only
    from pathlib import Path

    from orchestrator_runtime.contract import ExitRecord, PhaseRecord, StopRequest

    from orchestrator.spec.job import TrainingJobSpec
    from orchestrator.spec.record import HostRecord

Handle = dict[str, Any]
"""JSON value that finds a running host again after a restart of the service."""


@dataclass(frozen=True)
class Capabilities:
    """What a back end can do on this machine.

    Attributes:
        isolation: What fences a job in, for people: ``bubblewrap``, ``namespaces``, ``none``, ``container``.
        serves_opt_ml: Whether scripts that hard-code /opt/ml find it.
        network_isolation: Whether ``enable_network_isolation`` can be honoured.
        limits_memory: Whether ``memory_gib`` is enforced.
        missing: What this machine lacks, each with what is lost and the remedy.
    """

    isolation: str
    serves_opt_ml: bool
    network_isolation: bool
    limits_memory: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttemptContext:
    """One attempt of one job, as the scheduler hands it to a back end.

    Attributes:
        number: The job's number in the store.
        identity: What no other job has: a number comes again when the store was lost.
        job_directory: The job's folder in the home directory.
        source_archive: The packed source in the blob store; None when there is none.
        secrets: Values of the secret variables; never written outside the host directory.
    """

    spec: TrainingJobSpec
    arn: str
    number: int
    identity: str
    attempt: int
    hosts: tuple[HostRecord, ...]
    job_directory: Path
    source_archive: Path | None = None
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def host_directory(self, host: str) -> Path:
        """Return the folder that one host of this attempt owns."""
        return attempt_directory(self.job_directory, self.attempt) / host


def attempt_directory(job_directory: Path, attempt: int) -> Path:
    """Return the folder of an attempt."""
    return job_directory / "attempts" / str(attempt)


class HostStatus(StrEnum):
    """What is seen of one host."""

    ABSENT = "absent"  # never started
    RUNNING = "running"
    EXITED = "exited"  # with an exit record; its process tree is gone
    LOST = "lost"  # gone without an exit record; its process tree is gone
    UNREACHABLE = "unreachable"  # the engine does not answer: nothing is concluded


@dataclass(frozen=True)
class Observation:
    """What is seen of one host now."""

    host: str
    status: HostStatus
    phases: tuple[PhaseRecord, ...] = ()
    exit: ExitRecord | None = None
    detail: str = ""


class Backend(ABC):
    """Runs the hosts of jobs on one engine. Methods block unless they say otherwise."""

    name: str
    """What specs call it: ``process`` or ``docker``."""

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Return what can be done here. Cached; cheap after the first call."""

    @abstractmethod
    def check(self, spec: TrainingJobSpec) -> tuple[str, ...]:
        """Check before acceptance all that can be checked; return warnings for the job's notes.

        Must be fast (no download, no start).

        Raises:
            InvalidSpec, ImageError, CapacityUnavailable: The job can never run here.
        """

    @abstractmethod
    def plan(self, context: AttemptContext) -> dict[str, dict[str, Any]]:
        """Return the literal request per host name: pure, printable, secrets not in it."""

    @abstractmethod
    def stage(self, context: AttemptContext) -> None:
        """Put inputs and config files in place. Idempotent.

        Raises:
            InputError: An input is missing or hostile.
            Unavailable: A storage service does not answer; try again.
        """

    @abstractmethod
    def start(self, context: AttemptContext, host: str) -> Handle:
        """Start one host, once: a second call returns the handle of the first. Idempotent.

        Raises:
            ImageError, CapacityUnavailable, EngineUnreachable, BackendError: It cannot start.
        """

    @abstractmethod
    def observe(self, context: AttemptContext, host: str, handle: Handle | None) -> Observation:
        """Look at one host; cheap, no side effects except reaping what is known to be dead."""

    @abstractmethod
    def stop(
        self, context: AttemptContext, host: str, handle: Handle | None, request: StopRequest
    ) -> None:
        """Ask one host to stop gracefully. Returns at once. Idempotent.

        A host that has not started yet must not start afterwards.
        """

    @abstractmethod
    def release(self, context: AttemptContext) -> None:
        """Remove all that an ended attempt leaves on the engine; keep logs, records, artifacts.

        Containers, networks and scratch space go. Idempotent. ``context.hosts`` may be empty.
        """

    @abstractmethod
    def close(self) -> None:
        """Release connections and threads; running hosts go on. Idempotent."""
