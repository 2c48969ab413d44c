"""Training jobs: list, describe, wait, stop, delete, tags."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from orchestrator.api.context import Context
from orchestrator.api.rest.common import ONCE, Name, problems
from orchestrator.api.rest.submit import DOCUMENT, Submit
from orchestrator.api.views import (
    StopRequest,
    Tags,
    TagsRequest,
    TrainingJob,
    job_response,
    page_response,
    response,
)
from orchestrator.service.requests import ListJobs
from orchestrator.store.base import ListQuery, Page

JOBS = "/training-jobs"
JOB = JOBS + "/{name}"


class JobRoutes:
    """The routes of jobs.

    Args:
        context: The use cases.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._jobs = context.service.jobs
        self.submit = Submit(context)

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["training jobs"], dependencies=ONCE)
        router.add_api_route(
            JOBS,
            self.submit.__call__,
            methods=["POST"],
            status_code=201,
            operation_id="submit_training_job",
            summary="Run a training job",
            description="The job is durable when the answer comes.",
            response_model=TrainingJob,
            responses=problems(409, 413, 502, 507),
            openapi_extra=DOCUMENT,
        )
        router.add_api_route(
            JOBS,
            self.list_jobs,
            methods=["GET"],
            operation_id="list_training_jobs",
            response_model=Page,
            responses=problems(),
        )
        router.add_api_route(
            JOB,
            self.describe,
            methods=["GET"],
            operation_id="describe_training_job",
            response_model=TrainingJob,
            responses=problems(404),
        )
        router.add_api_route(
            JOB,
            self.delete,
            methods=["DELETE"],
            status_code=204,
            operation_id="delete_training_job",
            response_class=Response,
            responses=problems(404, 409),
        )
        router.add_api_route(
            JOB + "/stop",
            self.stop,
            methods=["POST"],
            operation_id="stop_training_job",
            response_model=TrainingJob,
            responses=problems(404, 409, 413),
        )
        self._add_tags(router)
        return router

    def _add_tags(self, router: APIRouter) -> None:
        path = JOB + "/tags"
        router.add_api_route(
            path,
            self.tags,
            methods=["GET"],
            operation_id="list_tags",
            response_model=Tags,
            responses=problems(404),
        )
        router.add_api_route(
            path,
            self.put_tags,
            methods=["PUT"],
            operation_id="put_tags",
            response_model=Tags,
            responses=problems(404, 413, 507),
        )
        router.add_api_route(
            path,
            self.delete_tags,
            methods=["DELETE"],
            operation_id="delete_tags",
            response_model=Tags,
            responses=problems(404),
        )

    async def list_jobs(self, query: Annotated[ListJobs, Query()]) -> Response:
        """List training jobs, one page at a time.

        The next page has the same filters and order and the page's `next_cursor` as `cursor`;
        jobs that are submitted meanwhile neither double nor hide others.
        """
        asked = ListQuery(**dict(query))
        return page_response(await self._context.reads.run(self._jobs.list, asked))

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
        """Describe a training job, now or as soon as it has changed (long poll)."""
        if after_revision is None:
            return job_response(await self._context.job(name))
        wait = min(timeout_seconds, self._context.limits.wait_seconds)
        return job_response(await self._context.job_after(name, after_revision, wait))

    async def stop(self, name: Name, body: StopRequest | None = None) -> Response:
        """Ask a training job to stop gracefully; what it has saved is kept. Idempotent."""
        record = await self._context.writes.run(
            self._jobs.stop, name, grace_seconds=body.grace_seconds if body else None
        )
        return job_response(record)

    async def delete(self, name: Name) -> Response:
        """Forget an ended training job and remove its files in the home directory."""
        await self._context.writes.run(self._jobs.delete, name)
        return Response(status_code=204)

    async def tags(self, name: Name) -> Response:
        """List the tags of a training job."""
        return response(Tags(tags=await self._context.reads.run(self._jobs.tags, name)))

    async def put_tags(self, name: Name, body: TagsRequest) -> Response:
        """Add, replace and remove tags in one step; the answer has all."""
        tags = await self._context.writes.run(
            self._jobs.set_tags, name, put=body.tags, remove=body.remove
        )
        return response(Tags(tags=tags))

    async def delete_tags(
        self,
        name: Name,
        key: Annotated[list[Annotated[str, Query(max_length=128)]], Query(max_length=50)],
    ) -> Response:
        """Remove tags; the answer has those that are left. Unknown keys are no error."""
        tags = await self._context.writes.run(self._jobs.set_tags, name, remove=key)
        return response(Tags(tags=tags))
