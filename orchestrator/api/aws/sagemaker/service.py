"""SageMaker as it is served here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.api.aws.operations import Handler
from orchestrator.api.aws.sagemaker.jobs import TrainingJobs
from orchestrator.api.aws.sagemaker.search import Search
from orchestrator.api.aws.sagemaker.shapes import JobShapes, job_shapes
from orchestrator.api.aws.sagemaker.tags import Tags
from orchestrator.api.aws.sagemaker.tuning import TuningJobs

if TYPE_CHECKING:
    from orchestrator.api.aws.job_access import JobAccess
    from orchestrator.service.assemble import Service


class SageMaker:
    """The operations of SageMaker that are served.

    Args:
        service: The use cases.
        access: How jobs reach this service.
    """

    def __init__(self, service: Service, access: JobAccess) -> None:
        self._jobs = TrainingJobs(
            service.jobs,
            lambda: self._shapes.request,
            lambda: service.placement,
            service.home / "jobs",
            access,
            service.findings.report_of,
            service.tunings.arn_for,
        )
        self._tunings = TuningJobs(
            service.tunings, lambda: self._shapes.request, lambda: service.placement, access
        )
        self._tags = Tags(service.jobs, service.tunings)
        self._search = Search(
            service.jobs, lambda: self._shapes, service.tokens, service.home / "jobs"
        )

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        parts = (self._jobs, self._tunings, self._tags, self._search)
        return {name: each for part in parts for name, each in part.handlers().items()}

    @cached_property
    def _shapes(self) -> JobShapes:
        return job_shapes()
