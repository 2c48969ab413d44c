"""Tuning jobs over SageMaker's API: each operation as its use case, in AWS's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import AwsError, validation_error
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.operations import Handler
from orchestrator.api.aws.sagemaker.jobs import FILTERS
from orchestrator.api.aws.sagemaker.names import in_wire_words
from orchestrator.api.aws.sagemaker.tuning_create import tuning_specification
from orchestrator.api.aws.sagemaker.tuning_describe import (
    tuned_summary,
    tuning_description,
    tuning_summary,
)
from orchestrator.api.aws.shapes import Shape
from orchestrator.errors import AlreadyExists, InvalidSpec, InvalidState, NotFound
from orchestrator.service.placement import Placement
from orchestrator.service.tunings import TuningService
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store.base import ListQuery, SortBy
from orchestrator.store.tuning import TunedQuery, TunedSortBy

TAKEN = (
    "Hyper parameter tuning job names must be unique within an AWS account and region, and a "
    "tuning job with this name already exists"
)
MISSING = "Amazon SageMaker can't find a tuning job with the name {}."
NEVER = frozenset({"Deleting", "DeleteFailed"})
"""Statuses that no tuning job has here."""


class TuningJobs:
    """The operations of tuning jobs.

    Args:
        tunings: The use cases.
        shape: Of CreateTrainingJob's input.
        placement: Gives what stands on this machine for an image.
        access: How jobs reach this service.
    """

    def __init__(
        self,
        tunings: TuningService,
        shape: Callable[[], Shape],
        placement: Callable[[], Placement],
        access: JobAccess,
    ) -> None:
        self._tunings = tunings
        self._shape = shape
        self._placement = placement
        self._access = access

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {
            "CreateHyperParameterTuningJob": self.create,
            "DescribeHyperParameterTuningJob": self.describe,
            "ListHyperParameterTuningJobs": self.list,
            "ListTrainingJobsForHyperParameterTuningJob": self.list_training_jobs,
            "StopHyperParameterTuningJob": self.stop,
            "DeleteHyperParameterTuningJob": self.delete,
        }

    def create(self, asked: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Accept a tuning job; durable on return."""

        def place(spec: TrainingJobSpec) -> TrainingJobSpec:
            placed = self._placement().placed(spec)
            return self._access.given(placed, caller.region)

        try:
            record = self._tunings.create(tuning_specification(asked, self._shape(), place))
        except InvalidSpec as error:
            raise validation_error(in_wire_words(error.message, self._shape())) from error
        except (InvalidState, NotFound) as error:  # of a tuning job to start from
            raise validation_error(error.message) from error
        except AlreadyExists as error:
            raise AwsError("ResourceInUse", TAKEN) from error
        return {"HyperParameterTuningJobArn": record.arn}

    def describe(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return all that is known of a tuning job."""
        name = asked["HyperParameterTuningJobName"]
        try:
            seen = self._tunings.describe(name)
            parents = self._tunings.parents(seen.record)
            jobs = self._tunings.all_jobs(seen.record)
            return tuning_description(seen, jobs, self._shape(), parents)
        except NotFound as error:
            raise _missing(name) from error

    def list(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return one page of summaries."""
        status = asked.get("StatusEquals")
        if status in NEVER:
            return {"HyperParameterTuningJobSummaries": []}
        page = self._tunings.list(
            ListQuery(
                status_equals=None if status is None else TrainingJobStatus(status),
                sort_by=SortBy(asked.get("SortBy", "CreationTime")),
                descending=asked.get("SortOrder") == "Descending",
                limit=asked.get("MaxResults", 10),
                **{ours: asked.get(name) for name, ours in FILTERS.items()},
            )
        )
        shown = [tuning_summary(self._tunings.overview(record)) for record in page.jobs]
        answer: dict[str, Any] = {"HyperParameterTuningJobSummaries": shown}
        return answer if page.next_cursor is None else answer | {"NextToken": page.next_cursor}

    def list_training_jobs(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return one page of the training jobs of a tuning job."""
        name, status = asked["HyperParameterTuningJobName"], asked.get("StatusEquals")
        try:
            record = self._tunings.describe(name).record
            page = self._tunings.jobs(
                name,
                TunedQuery(
                    status_equals=None if status is None else TrainingJobStatus(status),
                    sort_by=TunedSortBy(asked.get("SortBy", "Name")),
                    descending=asked.get("SortOrder") == "Descending",
                    limit=asked.get("MaxResults", 10),
                    cursor=asked.get("NextToken"),
                ),
            )
        except NotFound as error:
            raise _missing(name) from error
        answer: dict[str, Any] = {
            "TrainingJobSummaries": [tuned_summary(record, job) for job in page.jobs]
        }
        return answer if page.next_cursor is None else answer | {"NextToken": page.next_cursor}

    def stop(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Ask a tuning job and its training jobs to stop."""
        name = asked["HyperParameterTuningJobName"]
        try:
            before = self._tunings.describe(name).record.status
            if before.is_terminal:
                raise validation_error(
                    "The request was rejected because the hyperparameter tuning job is in status "
                    f"{before.value}."
                )
            self._tunings.stop(name)
        except NotFound as error:
            raise _missing(name) from error
        return {}

    def delete(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Forget an ended tuning job; its training jobs stay."""
        name = asked["HyperParameterTuningJobName"]
        try:
            self._tunings.delete(name)
        except NotFound as error:
            raise _missing(name) from error
        except InvalidState as error:
            raise AwsError("ResourceInUse", error.message) from error
        return {}


def _missing(name: str) -> AwsError:
    return AwsError("ResourceNotFound", MISSING.format(name))
