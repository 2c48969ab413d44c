"""Tags over SageMaker's API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import AwsError, validation_error
from orchestrator.api.aws.operations import Handler
from orchestrator.api.aws.sagemaker.rules import AWS_TAG, any_of_aws
from orchestrator.errors import NotFound
from orchestrator.service.jobs import JobService
from orchestrator.service.tunings import TuningService
from orchestrator.spec.job import Tag


class Tags:
    """The operations of tags; training jobs and tuning jobs have some.

    Of an ARN only kind and name count: whatever region and account a client is in, there is one home.

    Args:
        jobs: The use cases of training jobs.
        tunings: Those of tuning jobs.
    """

    def __init__(self, jobs: JobService, tunings: TuningService) -> None:
        self._tagged: dict[str, JobService | TuningService] = {
            "training-job": jobs,
            "hyper-parameter-tuning-job": tunings,
        }

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {
            "AddTags": self.add_tags,
            "ListTags": self.list_tags,
            "DeleteTags": self.delete_tags,
        }

    def add_tags(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Add tags, or replace those of the same key."""
        if any_of_aws(tag["Key"] for tag in asked["Tags"]):
            raise validation_error(AWS_TAG)
        put = [Tag(key=tag["Key"], value=tag["Value"]) for tag in asked["Tags"]]
        return {"Tags": self._changed(asked["ResourceArn"], put=put)}

    def list_tags(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return all tags; a job's fit one page."""
        return {"Tags": self._changed(asked["ResourceArn"])}

    def delete_tags(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Remove tags by key; those that are not there are no fault."""
        self._changed(asked["ResourceArn"], remove=asked["TagKeys"])
        return {}

    def _changed(
        self, arn: str, *, put: Sequence[Tag] = (), remove: Sequence[str] = ()
    ) -> list[dict[str, str]]:
        kind, _, name = arn.rpartition(":")[2].partition("/")
        tagged = self._tagged.get(kind)
        if tagged is None:
            raise _missing(arn)
        try:
            change = put or remove
            tags = tagged.set_tags(name, put=put, remove=remove) if change else tagged.tags(name)
        except NotFound as error:
            raise _missing(arn) from error
        return [{"Key": tag.key, "Value": tag.value} for tag in tags]


def _missing(arn: str) -> AwsError:
    return validation_error(f"Resource with ARN {arn} does not exist.")
