"""Use cases that look at a tuning job as a whole: importance of hyperparameters, a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator.spec.redact import redacted_tuning
from orchestrator.tuner.analysis import page_of
from orchestrator.tuner.results import check_importance, results_for, results_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.clock import Clock
    from orchestrator.spec.tuned import TunedJob, TuningJobRecord
    from orchestrator.tuner.analyst import Analyst

MOST_KNOWN = 100
"""Answers that are kept."""


@dataclass(frozen=True)
class Importance:
    """By how much each hyperparameter decides whether a result is good.

    Attributes:
        objective: Name of the metric of the results.
        training_jobs: How many results were compared.
        shares: By hyperparameter; they sum to 1, the largest first.
    """

    objective: str
    training_jobs: int
    shares: dict[str, float]


class KnownTunings(Protocol):
    """What is read of the store of tuning jobs."""

    def get(self, name: str) -> TuningJobRecord:
        """Return a tuning job."""
        ...

    def jobs_of(self, number: int) -> Sequence[TunedJob]:
        """Return all its training jobs, in order of choice."""
        ...


class TuningAnalysis:
    """Looks at tuning jobs.

    Args:
        store: The state of tuning jobs.
        analyst: Who does what takes Optuna.
        clock: The time.
    """

    def __init__(self, store: KnownTunings, analyst: Analyst, clock: Clock) -> None:
        self._store = store
        self._analyst = analyst
        self._clock = clock
        self._known: dict[tuple[int, int, str], dict[str, float]] = {}

    def importance(self, name: str, objective: str | None = None) -> Importance:
        """Return which hyperparameters matter.

        Args:
            name: Of the tuning job.
            objective: Name of its metric; None = the first one.

        Raises:
            NotFound: There is no such tuning job.
            InvalidSpec: It has no such objective.
            InvalidState: It has too few results, or they do not differ.
            LimitExceeded: It takes too long.
        """
        record = self._store.get(name)
        jobs = self._store.jobs_of(record.number)
        results, place = results_for(record.spec, jobs, objective)
        check_importance(results, place)
        metric = results.objectives[place].metric_name
        # Nothing of a tuning job changes without its revision.
        key = (record.number, record.revision, metric)
        shares = self._known.get(key)
        if shares is None:
            shares = self._analyst.importance(record, jobs, metric)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = shares
        return Importance(metric, len(results.whole), shares)

    def report(self, name: str) -> str:
        """Return a page about a tuning job, running or ended.

        Raises:
            NotFound: There is no such tuning job.
            InvalidState: What draws plots is not installed.
            LimitExceeded: It takes too long.
        """
        record = redacted_tuning(self._store.get(name))
        jobs = self._store.jobs_of(record.number)
        if not any(each.whole for each in results_of(record.spec, jobs)):
            return page_of(record, jobs, self._clock.now())  # there is nothing to draw
        return self._analyst.report(record, jobs)
