"""Statuses, end reasons and which may follow which.

A job is InProgress until it ends; its secondary status tells where it is:

Pending -> Starting -> Downloading -> Training -> Uploading -> Completed | Failed | Stopped | MaxRuntimeExceeded | ...
   ^           |             |            |            |
   +-----------+-- Restarting (new attempt after an infrastructure fault) ---+

Every terminal status has exactly one ``EndReason``; the mappings below are total.
"""

from __future__ import annotations

from enum import StrEnum


class TrainingJobStatus(StrEnum):
    """The status of a job (SageMaker ``TrainingJobStatus``)."""

    IN_PROGRESS = "InProgress"
    STOPPING = "Stopping"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"

    @property
    def is_terminal(self) -> bool:
        """Whether the status never changes again."""
        return self in {self.COMPLETED, self.FAILED, self.STOPPED}


class SecondaryStatus(StrEnum):
    """Where in its status a job is (the part of SageMaker's ``SecondaryStatus`` used here)."""

    PENDING = "Pending"
    STARTING = "Starting"
    DOWNLOADING = "Downloading"
    TRAINING = "Training"
    UPLOADING = "Uploading"
    STOPPING = "Stopping"
    INTERRUPTED = "Interrupted"
    RESTARTING = "Restarting"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"
    MAX_WAIT_TIME_EXCEEDED = "MaxWaitTimeExceeded"


class EndReason(StrEnum):
    """The one cause of a terminal status."""

    COMPLETED = "completed"
    USER_STOP = "user_stop"
    RULE_STOP = "rule_stop"
    EARLY_STOPPED = "early_stopped"
    MAX_RUNTIME = "max_runtime"
    MAX_WAIT = "max_wait"
    MAX_PENDING = "max_pending"
    EXIT_CODE = "exit_code"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_QUOTA = "disk_quota"
    IMAGE_ERROR = "image_error"
    INPUT_ERROR = "input_error"
    CAPACITY = "capacity"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    INTERNAL = "internal"

    @property
    def status(self) -> TrainingJobStatus:
        """The terminal status this reason leads to."""
        return _STATUS[self]

    @property
    def secondary_status(self) -> SecondaryStatus:
        """The terminal secondary status this reason leads to."""
        return _SECONDARY[self]

    @property
    def is_infrastructure_fault(self) -> bool:
        """Whether the platform, not the program or the user, is the cause (so: retried)."""
        return _INFRASTRUCTURE[self]

    @property
    def failure_prefix(self) -> str | None:
        """Beginning of FailureReason in AWS's form; None for reasons that need no words there."""
        return _FAILURE_PREFIX[self]


_S = TrainingJobStatus
_STATUS: dict[EndReason, TrainingJobStatus] = {
    EndReason.COMPLETED: _S.COMPLETED,
    EndReason.USER_STOP: _S.STOPPED,
    EndReason.RULE_STOP: _S.STOPPED,
    EndReason.EARLY_STOPPED: _S.STOPPED,
    EndReason.MAX_RUNTIME: _S.STOPPED,
    EndReason.MAX_WAIT: _S.STOPPED,
    EndReason.MAX_PENDING: _S.STOPPED,
    EndReason.EXIT_CODE: _S.FAILED,
    EndReason.OUT_OF_MEMORY: _S.FAILED,
    EndReason.DISK_QUOTA: _S.FAILED,
    EndReason.IMAGE_ERROR: _S.FAILED,
    EndReason.INPUT_ERROR: _S.FAILED,
    EndReason.CAPACITY: _S.FAILED,
    EndReason.INTERRUPTED: _S.FAILED,
    EndReason.LOST: _S.FAILED,
    EndReason.INTERNAL: _S.FAILED,
}
_SECONDARY: dict[EndReason, SecondaryStatus] = {
    reason: {
        EndReason.MAX_RUNTIME: SecondaryStatus.MAX_RUNTIME_EXCEEDED,
        EndReason.MAX_WAIT: SecondaryStatus.MAX_WAIT_TIME_EXCEEDED,
    }.get(reason, SecondaryStatus(status.value))
    for reason, status in _STATUS.items()
}
_INFRASTRUCTURE: dict[EndReason, bool] = {
    reason: reason in {EndReason.INTERRUPTED, EndReason.LOST, EndReason.INTERNAL}
    for reason in EndReason
}
_FAILURE_PREFIX: dict[EndReason, str | None] = {
    EndReason.COMPLETED: None,
    EndReason.USER_STOP: None,
    EndReason.RULE_STOP: "RuleStop",
    EndReason.EARLY_STOPPED: "EarlyStopped",
    EndReason.MAX_RUNTIME: None,
    EndReason.MAX_WAIT: None,
    EndReason.MAX_PENDING: None,
    EndReason.EXIT_CODE: "AlgorithmError",
    EndReason.OUT_OF_MEMORY: "AlgorithmError",
    EndReason.DISK_QUOTA: "ClientError",
    EndReason.IMAGE_ERROR: "ClientError",
    EndReason.INPUT_ERROR: "ClientError",
    EndReason.CAPACITY: "CapacityError",
    EndReason.INTERRUPTED: "InternalServerError",
    EndReason.LOST: "InternalServerError",
    EndReason.INTERNAL: "InternalServerError",
}

_P = SecondaryStatus
_ENDS = frozenset(reason.secondary_status for reason in EndReason)
_NEXT: dict[SecondaryStatus, frozenset[SecondaryStatus]] = {
    _P.PENDING: frozenset({_P.STARTING, _P.STOPPING}) | _ENDS,
    _P.STARTING: frozenset(
        {_P.DOWNLOADING, _P.TRAINING, _P.UPLOADING, _P.STOPPING, _P.RESTARTING, _P.INTERRUPTED}
    )
    | _ENDS,
    _P.DOWNLOADING: frozenset(
        {_P.TRAINING, _P.UPLOADING, _P.STOPPING, _P.RESTARTING, _P.INTERRUPTED}
    )
    | _ENDS,
    _P.TRAINING: frozenset({_P.UPLOADING, _P.STOPPING, _P.RESTARTING, _P.INTERRUPTED}) | _ENDS,
    _P.STOPPING: frozenset({_P.UPLOADING}) | _ENDS,
    _P.UPLOADING: frozenset({_P.RESTARTING, _P.INTERRUPTED, _P.STOPPING}) | _ENDS,
    _P.RESTARTING: frozenset({_P.STARTING, _P.STOPPING}) | _ENDS,
    _P.INTERRUPTED: frozenset({_P.STARTING, _P.STOPPING}) | _ENDS,
} | {end: frozenset[SecondaryStatus]() for end in _ENDS}


def may_follow(before: SecondaryStatus, after: SecondaryStatus) -> bool:
    """Return whether ``after`` may directly follow ``before``; a status never follows itself."""
    return after in _NEXT[before]
