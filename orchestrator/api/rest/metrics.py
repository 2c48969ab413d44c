"""Metrics: names with last values, curves, export."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from orchestrator.api.context import Context
from orchestrator.api.download import TAR, Download, export_blocks
from orchestrator.api.rest.common import ONCE, Name, file_content, problems
from orchestrator.api.rest.jobs import JOB
from orchestrator.api.views import MetricCurve, Metrics, last_metrics, response
from orchestrator.service.metrics import MetricService
from orchestrator.spec.record import MetricValue

METRICS = JOB + "/metrics"
EXPORTS = {
    "csv": ("text/csv", "csv"),
    "parquet": ("application/vnd.apache.parquet", "parquet"),
    "tensorboard": (TAR, "tar"),
}
"""Formats: media type and suffix."""


class MetricRoutes:
    """The routes of metrics.

    Args:
        context: The use cases.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def _metrics(self) -> MetricService:
        return self._context.service.metrics

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["metrics"], dependencies=ONCE)
        router.add_api_route(
            METRICS,
            self.last,
            methods=["GET"],
            operation_id="list_metrics",
            response_model=Metrics,
            responses=problems(404),
        )
        router.add_api_route(
            METRICS + "/curve",
            self.curve,
            methods=["GET"],
            operation_id="read_metric_curve",
            response_model=MetricCurve,
            responses=problems(404),
        )
        exported = file_content("All points, as a file.", *(kind for kind, _ in EXPORTS.values()))
        router.add_api_route(
            METRICS + "/export",
            self.export,
            methods=["GET"],
            operation_id="export_metrics",
            response_class=Response,
            responses=problems(404) | {200: exported},
        )
        return router

    async def last(self, name: Name) -> Response:
        """List the metrics that a training job has reported so far, with their last values."""
        values = await self._context.reads.run(self._last, name)
        return response(Metrics(metrics=last_metrics(values)))

    def _last(self, name: str) -> tuple[MetricValue, ...]:
        return self._metrics.last(self._context.service.jobs.describe(name))

    async def curve(
        self,
        name: Name,
        metric: Annotated[
            str,
            Query(
                min_length=1,
                max_length=255,
                description="Name of the metric.",
                examples=["train:loss"],
            ),
        ],
        max_points: Annotated[int, Query(ge=10, le=100_000)] = 2000,
    ) -> Response:
        """Read one metric over time, thinned out; first, last and extreme points are kept."""
        curve = await self._context.files.run(
            self._metrics.curve, name, metric, max_points=max_points
        )
        return response(MetricCurve.model_construct(**curve))

    async def export(
        self,
        name: Name,
        file_format: Annotated[
            Literal["csv", "parquet", "tensorboard"],
            Query(alias="format", description="Kind of file."),
        ] = "csv",
    ) -> Response:
        """Download all points of all metrics of a training job; TensorBoard's files as one tar."""
        media_type, suffix = EXPORTS[file_format]
        points = await self._context.files.run(self._metrics.points, name)
        return await Download.prepare(
            self._context,
            export_blocks(points.iterate(name), file_format, self._context),
            media_type=media_type,
            filename=f"{name}-metrics.{suffix}",
        )
