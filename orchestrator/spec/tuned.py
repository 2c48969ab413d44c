"""What the system knows of a tuning job and of each training job that it began."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import ConfigDict, Field

from orchestrator.spec.base import Saved
from orchestrator.spec.job import Tag
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuning import TuningJobSpec


class ObjectiveStatus(StrEnum):
    """Whether a training job's objective is known (SageMaker ``ObjectiveStatus``)."""

    PENDING = "Pending"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class _Result(Saved):
    """A saved value with numbers that may be NaN, which JSON has no word for."""

    model_config = ConfigDict(ser_json_inf_nan="strings")


class TunedRung(_Result):
    """What successive halving has decided of a training job at one level; see ``Asha``."""

    level: int
    """Epochs."""
    value: float
    """The (first) objective there, as a number that is the smaller the better."""
    goes_on: bool
    """Whether it is among the best. With ``Asha.promote`` it waits while it is not: that may change."""


class TunedJob(_Result):
    """One training job of a tuning job, from the choice of its values on."""

    index: int
    """1-based, in order of choice."""
    definition_name: str
    values: dict[str, str]
    """Of the hyperparameters that are tuned; those that do not count are absent."""
    job_name: str
    created_at: datetime
    status: TrainingJobStatus | None = None
    """The training job's as last seen; None = it may not have been submitted yet."""
    started_at: datetime | None = None
    """When it began to train."""
    ended_at: datetime | None = None
    objective_status: ObjectiveStatus = ObjectiveStatus.PENDING
    objectives: tuple[float, ...] = ()
    """Final values, in the order of the tuning job's objectives; empty = it has none."""
    told: tuple[float, ...] = ()
    """What the search has learnt of it, in the same order: of one that failed the worst so far."""
    is_feasible: bool = True
    """Whether it kept the constraints."""
    epochs: int = 0
    """Values of the objective that it has reported."""
    rungs: tuple[TunedRung, ...] = ()
    failure_reason: str | None = None
    is_retryable: bool = False
    """Whether the platform failed it: the same values are tried again, and nothing is learnt."""
    reported: tuple[float, ...] = ()
    """Last values of one that failed, in the order of the objectives: no result, unless whoever goes
    on with its checkpoints has nothing left to report."""
    continues: int | None = None
    """Index of the one whose values, and checkpoints, it goes on with."""
    resource: int | None = None
    """Epochs that it was given; None = as many as its definition says."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it changes any more."""
        return self.ended_at is not None


class Inherited(_Result):
    """A result of an earlier tuning job from which this one learns."""

    tuning_job_name: str
    job_name: str
    values: dict[str, str]
    objectives: tuple[float, ...]


class TuningJobRecord(_Result):
    """The present state of one tuning job."""

    number: int
    """Creation order, unique in the store."""
    spec: TuningJobSpec
    arn: str
    status: TrainingJobStatus
    revision: int = 0
    """Grows with every change of it or of one of its training jobs."""
    message: str = ""
    """Why no further training job is begun, or what it waits for."""
    failure_reason: str | None = None
    created_at: datetime
    modified_at: datetime
    ended_at: datetime | None = None
    stop_requested_at: datetime | None = None
    converged_at: datetime | None = None
    inherited: tuple[Inherited, ...] = ()
    tags: tuple[Tag, ...] = Field(default=(), max_length=50)

    @property
    def name(self) -> str:
        """The tuning job's name."""
        return self.spec.tuning_job_name


class StatusCounts(Saved):
    """How many training jobs are how far (SageMaker ``TrainingJobStatusCounters``)."""

    completed: int = 0
    in_progress: int = 0
    retryable_error: int = 0
    """Failed by the platform; the same values are tried again."""
    non_retryable_error: int = 0
    stopped: int = 0


class TuningOverview(_Result):
    """A tuning job, and what its training jobs have come to."""

    record: TuningJobRecord
    status_counts: StatusCounts
    objective_counts: dict[ObjectiveStatus, int]
    best: TunedJob | None = None
    """The training job with the best (first) objective."""
    front: tuple[TunedJob, ...] = ()
    """With several objectives: those that no other one beats in all of them."""
    training_seconds: float = 0.0
    """How long its training jobs that have ended trained, added up."""
