"""What a job's debugger has to say: whether it watches at all, what it found, how each rule stands."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from orchestrator.spec.base import Saved

TRACE_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,248}\.trace$"
"""Names of files with what was recorded; no other file is given out."""


class DebugState(StrEnum):
    """Whether anything is watched; only ``watching`` and ``ended`` say something of its health."""

    OFF = "off"
    """The job asks for no debugger."""
    WAITING = "waiting"
    """Nothing has been trained yet."""
    WATCHING = "watching"
    ENDED = "ended"
    """It was watched until its end."""
    UNMONITORED = "unmonitored"
    """It trains or has trained unseen; the reason says why."""


class RuleStatus(StrEnum):
    """How a rule stands (SageMaker ``RuleEvaluationStatus``)."""

    IN_PROGRESS = "InProgress"
    NO_ISSUES_FOUND = "NoIssuesFound"
    ISSUES_FOUND = "IssuesFound"
    ERROR = "Error"
    STOPPING = "Stopping"
    STOPPED = "Stopped"


class Finding(Saved):
    """What a rule found: where and when, by which numbers, why, and what helps."""

    attempt: int
    host: str
    rule: str
    name: str
    """What the user calls the rule."""
    step: int
    """Of its optimizer, from 0."""
    optimizer: int = 0
    layers: tuple[str, ...] = ()
    """The worst first."""
    values: dict[str, float | str] = Field(default_factory=dict)
    """The numbers that decided; what is not finite is text."""
    message: str
    cause: str = ""
    remedies: tuple[str, ...] = ()
    at: datetime | None = None
    stop: bool = False
    """Whether it ends the job."""


class RuleEvaluation(Saved):
    """How one rule stands."""

    name: str
    rule: str
    status: RuleStatus
    details: str = ""
    modified_at: datetime
    """When the status was last different."""


class Delivery(Saved):
    """A message about a finding to somebody."""

    name: str
    """Of the rule."""
    attempt: int
    host: str
    to: str
    """Where it goes, less what may be secret in an address."""
    delivered: bool
    tries: int
    error: str = ""
    """Why it did not arrive, so far or for good."""
    final: bool = False
    """Whether it is not tried again."""


class FindingsReport(Saved):
    """All that a job's debugger has to say."""

    job: str
    state: DebugState
    reason: str = ""
    """Why nothing, or not everything, is watched."""
    framework: str = ""
    steps: int | None = None
    """Steps of all optimizers that were watched; known when a process has ended."""
    findings: tuple[Finding, ...] = ()
    """In the order of attempts, hosts, and time."""
    notes: tuple[str, ...] = ()
    """What the hook remarked: tensors that it leaves out, expressions that match none, …"""
    left_out: int = 0
    """Findings that are too many to be listed."""
    ignored_lines: int = 0
    """Lines of the program that made no sense."""
    rules: tuple[RuleEvaluation, ...] = ()
    deliveries: tuple[Delivery, ...] = ()


class TraceFile(Saved):
    """A file with what was recorded of one process; it grows while the job trains."""

    name: str
    size_bytes: int
