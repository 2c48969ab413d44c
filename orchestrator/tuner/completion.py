"""When a tuning job has found enough: SageMaker's completion criteria. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.spec.tuning import CompletionCriteria, TuningObjective

IMPROVEMENT = 0.01
"""Share of the best value by which a training job must be better to count as an improvement."""
LEAST_JOBS = 20
"""Training jobs without improvement before the search can count as converged."""
PATIENCE = 2
"""The same, as a multiple of the training jobs that led to the last improvement."""


@dataclass(frozen=True)
class Course:
    """How the best value has developed over the training jobs that have ended, in order of their end.

    Attributes:
        best: The best value; None while there is none.
        not_improving: Training jobs since the last improvement of 1 %.
        leading: Training jobs up to that improvement.
    """

    best: float | None = None
    not_improving: int = 0
    leading: int = 0

    @property
    def has_converged(self) -> bool:
        """Whether a further improvement is unlikely.

        If training jobs were drawn at random, ``n`` of them after the one that was the best of
        ``m`` would bring a better one with probability ``n / (n + m)``: not to see it in twice as
        many says that there is little left, and searches are better than chance.
        """
        return self.not_improving >= max(LEAST_JOBS, PATIENCE * self.leading)


def course_of(values: Iterable[float | None], objective: TuningObjective) -> Course:
    """Return the course of a tuning job.

    Args:
        values: The final objective of each training job that has ended; None where it has none.
        objective: What is better.
    """
    best: float | None = None
    mark: float | None = None  # of the last improvement that counts
    not_improving = leading = 0
    for number, value in enumerate(values, 1):
        not_improving += 1
        if value is None or not math.isfinite(value):
            continue
        if best is None or objective.is_better(value, best):
            best = value
        if mark is None or _improves(objective.as_loss(value), objective.as_loss(mark)):
            mark, not_improving, leading = value, 0, number
    return Course(best, not_improving, leading)


def why_complete(
    course: Course, criteria: CompletionCriteria, objective: TuningObjective
) -> str | None:
    """Return why no further training job is worth while, None if one is."""
    target = criteria.target_objective_metric_value
    best = course.best
    if best is None:
        return None
    if target is not None and not objective.is_better(target, best):
        return f"the objective has reached its target {target:g} with {best:g}"
    most = criteria.max_number_of_training_jobs_not_improving
    if most is not None and course.not_improving >= most:
        return (
            f"{course.not_improving} training jobs in a row have not improved the objective by "
            f"{IMPROVEMENT:.0%}; it is {best:g}"
        )
    if criteria.complete_on_convergence and course.has_converged:
        return (
            f"the search has converged: {course.not_improving} training jobs brought no "
            f"improvement of {IMPROVEMENT:.0%} after the first {course.leading}"
        )
    return None


def _improves(loss: float, mark: float) -> bool:
    return mark - loss >= IMPROVEMENT * abs(mark) and loss < mark
