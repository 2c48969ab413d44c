"""Tuning jobs: create, list, describe, wait, stop, delete, analyse, and their training jobs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.context import Context
from orchestrator.api.rest.common import ONCE, file_content, problems
from orchestrator.api.rest.submit import EXAMPLE, IDEMPOTENCY, IDEMPOTENCY_KEY, Submit
from orchestrator.api.views import (
    TunedJobs,
    TuningImportance,
    TuningJob,
    TuningJobs,
    TuningRequest,
    response,
    tuning_response,
)
from orchestrator.errors import InvalidSpec
from orchestrator.service.requests import ListJobs, ListTunedJobs
from orchestrator.service.tunings import TuningService
from orchestrator.spec.redact import redacted_tuning
from orchestrator.spec.tuning import TuningJobName, TuningJobSpec
from orchestrator.store.base import ListQuery
from orchestrator.store.tuning import TunedQuery

JOBS = "/tuning-jobs"
JOB = JOBS + "/{name}"
HTML = "text/html"
EXAMPLE_TUNING_JOB: dict[str, Any] = {
    "spec": {
        "tuning_job_name": "digits-search",
        "objectives": [{"metric_name": "train:loss", "type": "Minimize"}],
        "limits": {"max_number_of_training_jobs": 10, "max_parallel_training_jobs": 2},
        "definitions": [
            {
                "job": EXAMPLE["spec"],
                "parameters": [
                    {"type": "Continuous", "name": "rate", "min_value": 0.001, "max_value": 0.1}
                ],
            }
        ],
    }
}
DOCUMENT: dict[str, Any] = {
    "parameters": [IDEMPOTENCY],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/TuningRequest"},
                "example": EXAMPLE_TUNING_JOB,
            }
        },
    },
}

Name = Annotated[
    TuningJobName, Path(description="The tuning job's name.", examples=["digits-search"])
]


class TuningRoutes:
    """The routes of tuning jobs.

    Args:
        context: The use cases.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._checks = Submit(context)

    @property
    def _tunings(self) -> TuningService:
        return self._context.service.tunings

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["tuning jobs"], dependencies=ONCE)
        router.add_api_route(
            JOBS,
            self.create,
            methods=["POST"],
            status_code=201,
            operation_id="create_tuning_job",
            summary="Search hyperparameters by training jobs",
            description="The tuning job is durable when the answer comes.",
            response_model=TuningJob,
            responses=problems(409, 413, 502, 507),
            openapi_extra=DOCUMENT,
        )
        router.add_api_route(
            JOBS,
            self.list,
            methods=["GET"],
            operation_id="list_tuning_jobs",
            response_model=TuningJobs,
            responses=problems(),
        )
        router.add_api_route(
            JOB,
            self.describe,
            methods=["GET"],
            operation_id="describe_tuning_job",
            response_model=TuningJob,
            responses=problems(404),
        )
        router.add_api_route(
            JOB,
            self.delete,
            methods=["DELETE"],
            status_code=204,
            operation_id="delete_tuning_job",
            response_class=Response,
            responses=problems(404, 409),
        )
        router.add_api_route(
            JOB + "/stop",
            self.stop,
            methods=["POST"],
            operation_id="stop_tuning_job",
            response_model=TuningJob,
            responses=problems(404),
        )
        router.add_api_route(
            JOB + "/training-jobs",
            self.training_jobs,
            methods=["GET"],
            operation_id="list_training_jobs_of_tuning_job",
            response_model=TunedJobs,
            responses=problems(404),
        )
        router.add_api_route(
            JOB + "/importance",
            self.importance,
            methods=["GET"],
            operation_id="get_importance_of_tuning_job",
            summary="Which hyperparameters matter",
            response_model=TuningImportance,
            responses=problems(404, 409, 507),
        )
        router.add_api_route(
            JOB + "/report",
            self.report,
            methods=["GET"],
            operation_id="get_report_of_tuning_job",
            summary="All about a tuning job on one page",
            response_class=Response,
            responses=problems(404, 409, 507)
            | {200: file_content("HTML that needs nothing else.", HTML)},
        )
        return router

    async def create(self, request: Request) -> Response:
        """Accept a tuning job; see ``DOCUMENT``."""
        asked = self._checks.read(TuningRequest, await request.body())
        self._check_reach(asked.spec)
        key = request.headers.get(IDEMPOTENCY_KEY)
        record = await self._context.writes.run(
            self._tunings.create, asked.spec, secrets=asked.secrets, idempotency_key=key
        )
        seen = await self._context.reads.run(self._tunings.describe, record.name)
        return tuning_response(seen, 201, {"location": f"/api/v1{JOBS}/{record.name}"})

    def _check_reach(self, spec: TuningJobSpec) -> None:
        for definition in spec.definitions:
            self._checks.check_backend(definition.job)
        if spec.sampler is not None and self._context.refused_backends:
            raise InvalidSpec(
                f"sampler {spec.sampler!r} is a function of this machine, which a service that "
                "listens to other machines does not call; leave it out, or start the service "
                "with --allow-insecure-local"
            )

    async def list(self, query: Annotated[ListJobs, Query()]) -> Response:
        """List tuning jobs, one page at a time, as training jobs are listed."""
        page = await self._context.reads.run(self._tunings.list, ListQuery(**dict(query)))
        shown = tuple(map(redacted_tuning, page.jobs))
        return response(TuningJobs(jobs=shown, next_cursor=page.next_cursor))

    async def describe(
        self,
        name: Name,
        after_revision: Annotated[
            int | None,
            Query(ge=-1, lt=1 << 62, description="Wait until `revision` is above this."),
        ] = None,
        timeout_seconds: Annotated[
            float, Query(ge=0, le=60, description="Longest wait, with `after_revision`.")
        ] = 10,
    ) -> Response:
        """Describe a tuning job, now or as soon as it has changed (long poll)."""
        if after_revision is None:
            return tuning_response(await self._context.tuning(name))
        wait = min(timeout_seconds, self._context.limits.wait_seconds)
        return tuning_response(await self._context.tuning_after(name, after_revision, wait))

    async def training_jobs(
        self, name: Name, query: Annotated[ListTunedJobs, Query()]
    ) -> Response:
        """List the training jobs of a tuning job, one page at a time."""
        asked = TunedQuery(**dict(query))
        page = await self._context.reads.run(self._tunings.jobs, name, asked)
        return response(TunedJobs(jobs=page.jobs, next_cursor=page.next_cursor))

    async def importance(
        self,
        name: Name,
        objective: Annotated[
            str | None,
            Query(min_length=1, max_length=255, description="Its metric; the first if left out."),
        ] = None,
    ) -> Response:
        """Say by how much each hyperparameter decides whether a result is good (PED-ANOVA)."""
        found = await self._context.analyses.run(
            self._context.service.tuning_analysis.importance, name, objective
        )
        return response(TuningImportance(**asdict(found)))

    async def report(self, name: Name) -> Response:
        """Draw the history, parallel coordinates, slices and importance of a tuning job."""
        page = await self._context.analyses.run(self._context.service.tuning_analysis.report, name)
        return Response(page, media_type=HTML)

    async def stop(self, name: Name) -> Response:
        """Ask a tuning job and its training jobs to stop. Idempotent."""
        await self._context.writes.run(self._tunings.stop, name)
        return tuning_response(await self._context.tuning(name))

    async def delete(self, name: Name) -> Response:
        """Forget an ended tuning job; its training jobs stay."""
        await self._context.writes.run(self._tunings.delete, name)
        return Response(status_code=204)
