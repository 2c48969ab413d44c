"""Use cases of metrics, and their gathering while jobs run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator_runtime import contract

from orchestrator.errors import NotFound
from orchestrator.metrics.collector import MetricCollector
from orchestrator.metrics.points import MetricPoint, Source
from orchestrator.metrics.store import MetricStore
from orchestrator.spec.record import MetricValue, TrainingJobRecord

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.backends.base import AttemptContext
    from orchestrator.scheduler.workspace import Workspace
    from orchestrator.store.base import Store


OTHERS = "cloudwatch:"
"""Beginning of the runs that are other namespaces; no job has such a name."""


class GivenValue(NamedTuple):
    """A value that came by a call, not out of a job."""

    metric: str
    value: float
    time_us: int
    step: int | None = None


class OtherMetrics:
    """Metrics of other namespaces than jobs', kept beside them.

    Args:
        points: Where.
    """

    def __init__(self, points: MetricStore) -> None:
        self._points = points

    def put(self, namespace: str, values: Iterable[GivenValue]) -> None:
        """Keep some values."""
        self._points.append(OTHERS + namespace, _points(values, 0))

    def namespaces(self) -> list[str]:
        """Return all namespaces."""
        return [run.removeprefix(OTHERS) for run in self._points.runs(OTHERS)]

    def names(self, namespace: str) -> list[str]:
        """Return the metrics of one."""
        return self._points.names(OTHERS + namespace)

    def series(self, namespace: str, metric: str, start_us: int, end_us: int) -> list[MetricPoint]:
        """Return all points of a metric between two times, in microseconds."""
        return self._points.series(OTHERS + namespace, metric, start_us, end_us)


def _points(values: Iterable[GivenValue], attempt: int) -> list[MetricPoint]:
    """Return values as points; those of later calls lie behind those of earlier ones."""
    source, begin = Source(attempt, "api", "put"), time.time_ns()
    return [
        MetricPoint(each.metric, each.value, each.time_us, each.step, None, source, begin + place)
        for place, each in enumerate(values)
    ]


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

    def series(self, name: str, metric: str, start_us: int, end_us: int) -> list[MetricPoint]:
        """Return all points of a job's metric between two times, in microseconds."""
        return self._points.series(self._store.get_job(name).name, metric, start_us, end_us)

    def put(self, name: str, values: Iterable[GivenValue]) -> None:
        """Keep values that somebody says a job has reached.

        Raises:
            NotFound: There is no such job.
        """
        job = self._store.get_job(name)
        self._points.append(job.name, _points(values, job.attempt))

    @property
    def elsewhere(self) -> OtherMetrics:
        """Metrics that belong to no job."""
        return OtherMetrics(self._points)

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
