"""Use cases of metrics, and their gathering while jobs run."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator_runtime import contract

from orchestrator.errors import NotFound
from orchestrator.metrics.collector import MetricCollector
from orchestrator.metrics.points import MAX_NAMES, Batch
from orchestrator.metrics.store import MetricStore
from orchestrator.service.other_metrics import OTHERS, OtherMetrics
from orchestrator.spec.record import MetricValue, TrainingJobRecord
from orchestrator.store.rules import no_such_job

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from orchestrator.backends.base import AttemptContext
    from orchestrator.metrics.periods import Sums, Values, Window
    from orchestrator.metrics.points import GivenValue, MetricPoint
    from orchestrator.metrics.series import Wanted
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

    def series(self, job: TrainingJobRecord, metric: str) -> list[MetricPoint]:
        """Return all points of one metric by attempt, source and order of arrival."""
        return self._points.series(job.name, metric)

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

    def run(self, name: str) -> str:
        """Return the run under which the metrics of a job are kept.

        Raises:
            NotFound: There is no such job.
        """
        return self._store.get_job(name).name

    def sums(self, window: Window) -> list[Sums]:
        """Return what the values of a run's metric add up to in each period."""
        return self._points.sums(window)

    def values(self, window: Window) -> list[Values]:
        """Return the values of a run's metric in each period."""
        return self._points.values(window)

    def listed(
        self, wanted: Wanted, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[str, str]]:
        """Return runs and names of metrics, of jobs and other namespaces, in one order.

        Args:
            wanted: Which ones.
            after: The last one given out.
            limit: At most so many.
        """
        return self._points.listed(wanted, after, limit)

    def there(self, runs: Collection[str]) -> set[str]:
        """Return the runs that are of another namespace or of a job that has run.

        Metrics of others come from a job of this name that was forgotten.
        """
        others = {run for run in runs if run.startswith(OTHERS)}
        jobs = self._store.get_jobs(set(runs) - others, history=False)
        return others | {run for run, job in jobs.items() if job.attempt}

    # -- values that come by a call -----------------------------------------------------------

    def put(self, values: Mapping[str, Sequence[GivenValue]]) -> None:
        """Keep values that somebody says some jobs have reached: all of them or none.

        Raises:
            NotFound: One of the jobs does not exist.
            LimitExceeded: One of them would have too many metrics.
        """
        jobs = self._store.get_jobs(values, history=False)
        for name in values:
            if name not in jobs:
                raise NotFound(no_such_job(name))
        self._points.put(
            [Batch(jobs[name].name, jobs[name].attempt, given) for name, given in values.items()],
            most_names=MAX_NAMES,
        )

    def put_where_room(self, name: str, values: Sequence[GivenValue]) -> list[int]:
        """Keep values that somebody says a job has reached, as far as there is room.

        Returns:
            The places of those for whose metrics there was none.

        Raises:
            NotFound: There is no such job.
        """
        job = self._store.get_job(name)
        batch = Batch(job.name, job.attempt, values)
        return self._points.put_where_room(batch, most_names=MAX_NAMES)

    @cached_property
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
