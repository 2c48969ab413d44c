"""Training jobs over SageMaker's API: each operation as its use case, in AWS's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import AwsError, validation_error
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.operations import Answers, Gathered, Handler, Input
from orchestrator.api.aws.sagemaker.create import specification
from orchestrator.api.aws.sagemaker.describe import description, summary
from orchestrator.api.aws.sagemaker.names import in_wire_words
from orchestrator.api.aws.shapes import Shape
from orchestrator.errors import (
    AlreadyExists,
    CapacityUnavailable,
    InvalidSpec,
    InvalidState,
    NotFound,
    OrchestratorError,
)
from orchestrator.service.jobs import JobService, Submission
from orchestrator.service.placement import Placement
from orchestrator.service.script_mode import SUBMIT_DIRECTORY
from orchestrator.spec.findings import FindingsReport
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store.base import ListQuery, SortBy

T = TypeVar("T")
NOT_FOUND = "Requested resource not found."
TAKEN = (
    "Training job names must be unique within an AWS account and region, and a training job with "
    "this name already exists"
)
FILTERS = {
    "NameContains": "name_contains",
    "CreationTimeAfter": "created_after",
    "CreationTimeBefore": "created_before",
    "LastModifiedTimeAfter": "modified_after",
    "LastModifiedTimeBefore": "modified_before",
    "NextToken": "cursor",
}
_ELSEWHERE = ("WarmPoolStatusEquals", "TrainingPlanArnEquals")
"""Filters for what no job has here: they leave nothing."""


class TrainingJobs:
    """The operations of training jobs.

    Args:
        jobs: The use cases.
        shape: Of CreateTrainingJob's input.
        placement: Gives what stands on this machine for an image.
        directory: Where jobs are that name no place for their outputs.
        access: How jobs reach this service.
        report: Says what the debugger of a job has found.
        tuning_arn: Gives the tuning job that began a job, by its name; None where none did.
    """

    def __init__(
        self,
        jobs: JobService,
        shape: Callable[[], Shape],
        placement: Callable[[], Placement],
        directory: Path,
        access: JobAccess,
        report: Callable[[TrainingJobRecord], FindingsReport],
        tuning_arn: Callable[[str], str | None],
    ) -> None:
        self._jobs = jobs
        self._shape = shape
        self._placement = placement
        self._directory = directory
        self._access = access
        self._report = report
        self._tuning_arn = tuning_arn

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {
            "CreateTrainingJob": Gathered(self.create, self.create_many),
            "DescribeTrainingJob": self.describe,
            "ListTrainingJobs": self.list,
            "StopTrainingJob": self.stop,
            "UpdateTrainingJob": self.update,
            "DeleteTrainingJob": self.delete,
        }

    def create(self, asked: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Accept a job; durable on return."""
        spec = self._asked_for(asked)
        if SUBMIT_DIRECTORY in spec.hyper_parameters:  # no code is fetched for a name in use
            self._check_free(spec.training_job_name)
        placed = self._placed(spec, self._placement().placed)
        given = self._access.given(placed, caller.region)
        try:
            return {"TrainingJobArn": self._jobs.submit(given).arn}
        except OrchestratorError as error:
            raise self._refusal(spec, error) from error

    def create_many(self, inputs: Sequence[Input]) -> Answers:
        """Accept jobs in one commit; see ``Gathered.together``.

        Where code is to be fetched or an engine to be asked, a job is left to ``create``.
        """
        prepared = [self._prepared(asked, caller) for asked, caller in inputs]
        submissions = [one for one in prepared if isinstance(one, Submission)]
        accepted = iter(self._jobs.submit_many(submissions))
        return [
            self._outcome(one.spec, next(accepted)) if isinstance(one, Submission) else one
            for one in prepared
        ]

    def _prepared(self, asked: dict[str, Any], caller: Caller) -> Submission | Exception | None:
        """Return what to submit, why there is nothing, or None for what may take long."""
        try:
            spec = self._asked_for(asked)
            placed = self._placed(spec, self._placement().placed_at_once)
            if placed is None:
                return None
            return Submission(self._access.given(placed, caller.region))
        except Exception as error:  # noqa: BLE001  # of this call, not of those beside it
            return error

    def _outcome(
        self, spec: TrainingJobSpec, job: TrainingJobRecord | OrchestratorError
    ) -> dict[str, Any] | Exception:
        if isinstance(job, OrchestratorError):
            return self._refusal(spec, job)
        return {"TrainingJobArn": job.arn}

    def _asked_for(self, asked: dict[str, Any]) -> TrainingJobSpec:
        try:
            return specification(asked, self._shape())
        except InvalidSpec as error:
            raise self._invalid(error) from error

    def _placed(self, spec: TrainingJobSpec, place: Callable[[TrainingJobSpec], T]) -> T:
        try:
            return place(spec)
        except OrchestratorError as error:
            raise self._refusal(spec, error) from error

    def _refusal(self, spec: TrainingJobSpec, error: OrchestratorError) -> Exception:
        """Return why a job is not accepted, in AWS's words where it has some."""
        if isinstance(error, InvalidSpec):
            return self._invalid(error)
        if isinstance(error, AlreadyExists):
            return AwsError("ResourceInUse", TAKEN)
        if isinstance(error, CapacityUnavailable):
            return self._too_many(spec, error.message)
        return error

    def _invalid(self, error: InvalidSpec) -> AwsError:
        return validation_error(in_wire_words(error.message, self._shape()))

    def describe(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return all that is known of a job."""
        try:
            job = self._jobs.describe(asked["TrainingJobName"])
        except NotFound as error:
            raise validation_error(NOT_FOUND) from error
        answer = description(job, self._shape(), self._directory, self._report(job))
        tuning_arn = self._tuning_arn(job.name)
        return answer if tuning_arn is None else answer | {"TuningJobArn": tuning_arn}

    def list(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return one page of summaries."""
        status = asked.get("StatusEquals")
        if status == "Deleting" or any(name in asked for name in _ELSEWHERE):
            return {"TrainingJobSummaries": []}
        page = self._jobs.list(
            ListQuery(
                status_equals=None if status is None else TrainingJobStatus(status),
                sort_by=SortBy(asked.get("SortBy", "CreationTime")),
                descending=asked.get("SortOrder") == "Descending",
                limit=asked.get("MaxResults", 10),
                **{ours: asked.get(name) for name, ours in FILTERS.items()},
            )
        )
        answer: dict[str, Any] = {"TrainingJobSummaries": [summary(job) for job in page.jobs]}
        return answer if page.next_cursor is None else answer | {"NextToken": page.next_cursor}

    def stop(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Ask a job to stop."""
        name = asked["TrainingJobName"]
        try:
            self._jobs.stop(name)
        except NotFound as error:
            raise validation_error(NOT_FOUND) from error
        except InvalidState as error:
            raise self._rejected(name) from error
        return {}

    def update(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Change what may change of a running job, which is nothing here."""
        try:
            job = self._jobs.describe(asked["TrainingJobName"])
        except NotFound as error:
            raise validation_error(NOT_FOUND) from error
        if "ResourceConfig" in asked:
            raise validation_error(
                f"Training job {job.name} has no warm pool whose keep alive period could change."
            )
        if job.status.is_terminal:
            raise self._rejected(job.name)
        without_effect = sorted(set(asked) - {"TrainingJobName"})
        if without_effect:
            raise validation_error(
                f"{', '.join(without_effect)} cannot be changed: they have no effect here."
            )
        return {"TrainingJobArn": job.arn}

    def delete(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Forget an ended job."""
        name = asked["TrainingJobName"]
        try:
            self._jobs.delete(name)
        except NotFound as error:
            raise validation_error(NOT_FOUND) from error
        except InvalidState as error:
            raise AwsError("ResourceInUse", error.message) from error
        return {}

    def _check_free(self, name: str) -> None:
        try:
            self._jobs.describe(name)
        except NotFound:
            return
        raise AwsError("ResourceInUse", TAKEN)

    def _too_many(self, spec: TrainingJobSpec, why: str) -> AwsError:
        """Return AWS's words for a quota, which SDK v3 reads; then what is so here."""
        kinds = {kind for _, _, kind in spec.hosts}
        usage = f"{min(kinds)} for training job usage"
        return AwsError(
            "ResourceLimitExceeded",
            f"The account-level service limit '{usage}' is {self._jobs.hosts_possible(spec)} "
            "Instances, with current utilization of 0 Instances and a request delta of "
            f"{len(spec.hosts)} Instances. {why[:1].upper()}{why[1:]}.",
        )

    def _rejected(self, name: str) -> AwsError:
        status = self._jobs.describe(name).status.value
        return validation_error(
            f"The request was rejected because the training job is in status {status}."
        )
