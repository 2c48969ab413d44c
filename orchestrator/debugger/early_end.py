"""Judges running jobs by what the store of metrics has of them, and says what is kept in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orchestrator.debugger.best_checkpoint import best_checkpoint
from orchestrator.debugger.checkpoint_files import entries_of
from orchestrator.debugger.early_stopping import Course, course_of
from orchestrator.metrics.run_values import Value, run_values
from orchestrator.spec.early import BestCheckpoint
from orchestrator.spec.state import SecondaryStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.metrics.points import MetricPoint
    from orchestrator.spec.early import EarlyStopping
    from orchestrator.spec.record import MetricValue, TrainingJobRecord

REST_SHARE = 10
"""After judging, so many times as long as it took, a job is not judged: of a metric with a
million values that would else be all that a driver does."""


class Metrics(Protocol):
    """Where the metrics are."""

    def series(self, job: TrainingJobRecord, metric: str) -> Sequence[MetricPoint]:
        """Return all points of one metric by attempt, source and order of arrival."""
        ...

    def last(self, job: TrainingJobRecord) -> Sequence[MetricValue]:
        """Return the last value of every metric of a job."""
        ...


class EarlyEnds:
    """Decides from what is stored alone, so that it decides the same after a restart.

    Args:
        metrics: What the jobs have reported.
        clock: Tells how long judging took.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._not_before: dict[int, float] = {}

    def ends(self, job: TrainingJobRecord) -> str | None:
        """Return why a running job shall end now, in words; None while it goes on.

        An attempt that has not said anything yet is not judged by those before it.
        """
        config = job.spec.early_stopping
        began = self._clock.monotonic()
        if config is None or began < self._not_before.get(job.number, began):
            return None
        points = self._metrics.series(job, config.metric)
        course = None
        if points and points[-1].source.attempt == job.attempt:
            course = self._course(job, config, run_values(points))
        ended = self._clock.monotonic()
        self._not_before[job.number] = ended + REST_SHARE * (ended - began)
        return course.ends if course is not None else None

    def best(
        self, job: TrainingJobRecord, checkpoints: Path, *, ended_early: bool
    ) -> BestCheckpoint | None:
        """Return what is to be said, and kept, of a job that has ended; None = nothing.

        Args:
            job: The job.
            checkpoints: Where they are on this machine.
            ended_early: Whether it was ended because it did not get better.
        """
        self._not_before.pop(job.number, None)
        config = job.spec.early_stopping
        if config is None:
            return None
        values = run_values(self._metrics.series(job, config.metric))
        if not values:
            return BestCheckpoint(why=self._unseen(job, config))
        course = self._course(job, config, values)
        if not ended_early or course.best is None:
            return None
        return _best(job, values, course.best, checkpoints)

    def _course(
        self, job: TrainingJobRecord, config: EarlyStopping, values: Sequence[Value]
    ) -> Course:
        training: list[Value] = []
        if config.train_metric is not None:
            training = run_values(self._metrics.series(job, config.train_metric))
        return course_of(values, config, training)

    def _unseen(self, job: TrainingJobRecord, config: EarlyStopping) -> str:
        known = ", ".join(sorted(value.name for value in self._metrics.last(job))[:20])
        return (
            f"the job was not judged: it must report {config.metric!r}, it reported "
            f"{known or 'no metric'}; name one that it reports"
        )


def _best(
    job: TrainingJobRecord, values: Sequence[Value], best: int, checkpoints: Path
) -> BestCheckpoint:
    config = job.spec.early_stopping
    if config is None or not config.keep_best:
        return BestCheckpoint(
            why="keep_best is off: the model artifact is what the program saved, if anything"
        )
    value = values[best]
    step = f" at step {value.step}" if value.step is not None else ""
    of = f"the best {config.metric} ({value.value:.6g}{step})"
    choice = best_checkpoint(entries_of(checkpoints, _began(job)), values, best)
    if choice is None:
        return BestCheckpoint(
            why=f"no checkpoint of {of} was found: the model artifact is what the program saved, "
            "if anything; let it write one per value to its directory of checkpoints"
        )
    return BestCheckpoint(
        names=choice.names,
        why=f"the model artifact is the checkpoint of {of}, {_named(choice.names)}: {choice.why}",
    )


def _began(job: TrainingJobRecord) -> float:
    """Return since when what lies among the checkpoints is of this job."""
    training = SecondaryStatus.TRAINING
    times = (step.started_at for step in job.transitions if step.status is training)
    return min(times, default=job.created_at).timestamp()


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
