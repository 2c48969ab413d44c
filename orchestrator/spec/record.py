"""What the system knows: append-only facts and the present view of a job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from orchestrator.spec.base import Saved
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus


class Transition(Saved):
    """One secondary status with its time and message (SageMaker ``SecondaryStatusTransition``)."""

    status: SecondaryStatus
    started_at: datetime
    ended_at: datetime | None = None
    message: str = ""
    attempt: int = 0


class Artifact(Saved):
    """A published output of a job."""

    uri: str
    bytes: int
    files: int


class MetricValue(Saved):
    """The last value of a metric (SageMaker ``MetricData``)."""

    name: str
    value: float
    step: int | None = None
    at: datetime


class Explanation(Saved):
    """Why a job failed, ready to be shown: never a bare exit code."""

    reason: EndReason
    summary: str
    """One plain sentence."""
    host: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    exception_type: str | None = None
    exception_message: str | None = None
    user_frame: str | None = None
    """Last frame in the user's code: ``train.py:12 in step``."""
    log_tail: tuple[str, ...] = ()
    """The last 20 log lines of the failing host."""
    hint: str | None = None


class HostRecord(Saved):
    """One host of an attempt."""

    host: str
    rank: int
    instance_group: str
    instance_type: str
    engine: str | None = None
    handle: dict[str, Any] | None = None
    gpus: tuple[int, ...] = ()
    outcome: str | None = None
    exit_code: int | None = None


class TrainingJobRecord(Saved):
    """The present state of one job."""

    number: int
    """Creation order, unique in the store."""
    spec: TrainingJobSpec
    arn: str
    status: TrainingJobStatus
    secondary_status: SecondaryStatus
    end_reason: EndReason | None = None
    failure_reason: str | None = None
    """AWS's form, at most 1,024 characters."""
    message: str = ""
    """What the job waits for, or the last status message."""
    attempt: int = 0
    """0 while it has never been placed; then 1, 2, …"""
    revision: int = 0
    """Grows with every change; wait for the next with ``wait(name, after=revision)``."""
    stop_intent: EndReason | None = None
    stop_requested_at: datetime | None = None
    stop_grace_seconds: float | None = None
    """Grace of the stop that was asked for; None = the specification's."""
    created_at: datetime
    modified_at: datetime
    training_started_at: datetime | None = None
    training_ended_at: datetime | None = None
    ended_at: datetime | None = None
    hosts: tuple[HostRecord, ...] = ()
    transitions: tuple[Transition, ...] = ()
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    final_metrics: tuple[MetricValue, ...] = ()
    explanation: Explanation | None = None
    notes: dict[str, str] = Field(default_factory=dict)
    """What the back end says of how it runs the job: sandbox, limits_by, warnings."""

    @property
    def name(self) -> str:
        """The training job's name."""
        return self.spec.training_job_name
