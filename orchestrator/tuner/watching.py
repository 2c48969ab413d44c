"""Looks at the training jobs of tuning jobs, and reads no more than has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator.metrics.run_values import run_values
from orchestrator.tuner.settle import SHOWN_LINES, Refusal, Seen, objectives_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.clock import Clock
    from orchestrator.metrics.points import MetricPoint
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.tuned import TunedJob
    from orchestrator.spec.tuning import TuningJobSpec

LOOK_SECONDS = 1.0
"""How often what a training job reports is looked at while it runs."""
REST_SHARE = 10
"""So many times as long as it took, what a training job has reported is not read again."""


class Metrics(Protocol):
    """Where the metrics are."""

    def series(self, job: TrainingJobRecord, metric: str) -> Sequence[MetricPoint]:
        """Return all points of one metric by attempt, source and order of arrival."""
        ...


class Logs(Protocol):
    """Where what training jobs print is."""

    def last_lines(self, job: TrainingJobRecord, count: int) -> Sequence[str]:
        """Return the last lines of a job that has ended, safe to be shown."""
        ...


class Jobs(Protocol):
    """Where the training jobs are."""

    def describe_many(
        self, names: Iterable[str], *, history: bool = True
    ) -> dict[str, TrainingJobRecord]:
        """Return the present states of those of these jobs that exist, by name."""
        ...


@dataclass(frozen=True)
class _Look:
    seen: Seen
    revision: int
    not_before: float


class Watcher:
    """Sees training jobs.

    Args:
        jobs: Where they are.
        metrics: What they report.
        logs: What they print.
        clock: The time.
    """

    def __init__(self, jobs: Jobs, metrics: Metrics, logs: Logs, clock: Clock) -> None:
        self._jobs = jobs
        self._metrics = metrics
        self._logs = logs
        self._clock = clock
        self._looks: dict[str, _Look] = {}
        self._refusals: dict[str, Refusal] = {}

    def refused(self, job: TunedJob, why: str) -> None:
        """Remember that a training job was not accepted, and never will be."""
        self._refusals[job.job_name] = Refusal(why, self._clock.now())

    def see(self, spec: TuningJobSpec, known: Sequence[TunedJob]) -> dict[str, Seen]:
        """Return what is seen of those training jobs that matter, by name.

        Args:
            spec: Of the tuning job.
            known: All of its training jobs.
        """
        compared = spec.early_stopping_type == "Auto"
        wanted = [job for job in known if not job.has_ended or (compared and job.objectives)]
        unread = [job.job_name for job in wanted if not self._is_final(job)]
        records = self._jobs.describe_many(unread, history=False) if unread else {}
        return {job.job_name: self._look(spec, job, records) for job in wanted}

    def forget(self, names: Iterable[str]) -> None:
        """Forget training jobs."""
        for name in names:
            self._looks.pop(name, None)
            self._refusals.pop(name, None)

    def _is_final(self, job: TunedJob) -> bool:
        look = self._looks.get(job.job_name)
        return look is not None and look.seen.job is not None and look.seen.job.status.is_terminal

    def _look(
        self, spec: TuningJobSpec, job: TunedJob, records: Mapping[str, TrainingJobRecord]
    ) -> Seen:
        if self._is_final(job):
            return self._looks[job.job_name].seen
        record = records.get(job.job_name)
        if record is None:
            return Seen(None, {}, self._refusals.get(job.job_name))
        look, began = self._looks.get(job.job_name), self._clock.monotonic()
        if look is not None and record.revision == look.revision and began < look.not_before:
            return look.seen
        metrics = {objective.metric_name for objective in objectives_of(spec, job)}
        metrics |= {constraint.metric_name for constraint in spec.constraints}
        values = {name: self._values(record, name) for name in sorted(metrics)}
        took = self._clock.monotonic() - began
        not_before = began + max(LOOK_SECONDS, REST_SHARE * took)
        lacks = record.status.is_terminal and not all(values.values())
        seen = Seen(record, values, printed=self._printed(record) if lacks else ())
        self._looks[job.job_name] = _Look(seen, record.revision, not_before)
        return seen

    def _printed(self, record: TrainingJobRecord) -> Sequence[str]:
        return self._logs.last_lines(record, SHOWN_LINES) if record.training_started_at else ()

    def _values(self, record: TrainingJobRecord, metric: str) -> tuple[float, ...]:
        if record.training_started_at is None:
            return ()
        return tuple(value.value for value in run_values(self._metrics.series(record, metric)))
