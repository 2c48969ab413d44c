"""Use cases that look at a tuning job as a whole: importance of hyperparameters, a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.redact import redacted_tuning
from orchestrator.tuner.results import check_importance, results_for

if TYPE_CHECKING:
    from orchestrator.store.tuning import TuningStore
    from orchestrator.tuner.analyst import Analyst


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


class TuningAnalysis:
    """Looks at tuning jobs.

    Args:
        store: The state of tuning jobs.
        analyst: Who does what takes Optuna.
    """

    def __init__(self, store: TuningStore, analyst: Analyst) -> None:
        self._store = store
        self._analyst = analyst

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
        shares = self._analyst.importance(record, jobs, metric)
        return Importance(metric, len(results.whole), shares)

    def report(self, name: str) -> str:
        """Return a page about a tuning job, running or ended.

        Raises:
            NotFound: There is no such tuning job.
            InvalidState: What draws plots is not installed.
            LimitExceeded: It takes too long.
        """
        record = self._store.get(name)
        return self._analyst.report(redacted_tuning(record), self._store.jobs_of(record.number))
