"""Use cases of metrics, and their gathering while jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime import contract

from orchestrator.errors import NotFound
from orchestrator.metrics.collector import MetricCollector
from orchestrator.metrics.store import MetricStore
from orchestrator.spec.record import MetricValue, TrainingJobRecord

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.backends.base import AttemptContext
    from orchestrator.scheduler.workspace import Workspace
    from orchestrator.store.base import Store


class MetricService:
    """Metrics of jobs.

    Args:
        path: The metrics' SQLite file.
        store: The state.
        workspace: The jobs' files.
    """

    def __init__(self, path: Path, store: Store, workspace: Workspace) -> None:
        self._points = MetricStore(path)
        self._store = store
        self._workspace = workspace

    # -- gathering (the driver) ------------------------------------------------------------

    def gather(self, context: AttemptContext, *, finished: bool) -> None:
        """Read what is new of all hosts of an attempt. Idempotent."""
        definitions = context.spec.algorithm_specification.metric_definitions
        for member in context.hosts:
            directory = context.host_directory(member.host)
            records = directory / contract.RECORDS_FILE
            if not definitions and not (records.exists() and records.stat().st_size):
                continue
            collector = MetricCollector(
                self._points,
                context.spec.training_job_name,
                directory,
                definitions,
                attempt=context.attempt,
                host=member.host,
            )
            collector.collect(finished=finished)

    def last(self, job: TrainingJobRecord) -> tuple[MetricValue, ...]:
        """Return the last value of every metric of a job."""
        return tuple(
            MetricValue(name=name, value=point.value, step=point.step, at=point.time)
            for name, point in self._points.last(job.name).items()
        )

    # -- reading (clients) -----------------------------------------------------------------

    def names(self, name: str) -> tuple[str, ...]:
        """Return the names of the metrics a job has reported so far.

        Raises:
            NotFound: There is no such job.
        """
        job = self._store.get_job(name)
        if not job.attempt:  # what there is comes from a job of this name that was forgotten
            return ()
        return tuple(self._points.names(job.name))

    def curve(self, name: str, metric: str, *, max_points: int = 2000) -> dict[str, Any]:
        """Return one curve as columns.

        Raises:
            NotFound: There is no such job or metric.
        """
        curve = self._points.curve(self._store.get_job(name).name, metric, max_points)
        if not curve.points:
            known = ", ".join(self.names(name)) or "none yet"
            raise NotFound(f"metric must be one of the job's ({known}), got {metric!r}")
        return {
            "name": metric,
            "total_points": curve.count,
            "has_steps": curve.has_steps,
            "steps": list(curve.x),
            "times": [point.time_us / 1e6 for point in curve.points],
            "values": [point.value for point in curve.points],
        }

    def points(self, name: str) -> MetricStore:
        """Return the store of points, for exports.

        Raises:
            NotFound: There is no such job.
        """
        self._store.get_job(name)
        return self._points

    def delete(self, name: str) -> None:
        """Forget the metrics of a job."""
        self._points.delete(name)

    def close(self) -> None:
        """Close the file."""
        self._points.close()
