"""Training jobs of a tuning job that are judged alike, and what can be said of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import InvalidSpec, InvalidState
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus
from orchestrator.tuner.settle import objectives_of
from orchestrator.tuner.space import Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.spec.tuned import TunedJob
    from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec, TuningObjective

LEAST_RESULTS = 11
"""Results from which importance is told. It compares the best tenth with all: from here on these
are two and more. Of one alone it says no more than chance (see README.md)."""


@dataclass(frozen=True)
class Results:
    """Training jobs that are judged by the same objectives.

    Attributes:
        spec: Of the tuning job.
        objectives: By what they are judged, in order.
        space: What was searched for them.
        jobs: In order of choice; those that have not ended too.
    """

    spec: TuningJobSpec
    objectives: tuple[TuningObjective, ...]
    space: Space
    jobs: tuple[TunedJob, ...]

    @property
    def whole(self) -> tuple[TunedJob, ...]:
        """Those that have a result after training to their end."""
        return tuple(job for job in self.jobs if self.is_whole(job))

    def is_whole(self, job: TunedJob) -> bool:
        """Return whether a training job has a result, and was not ended before its time.

        One whose own early stopping ended it has trained to its end, unless the tuning job ends
        training jobs early, too: which of them it was is not written down.
        """
        if job.objective_status is not ObjectiveStatus.SUCCEEDED or _is_cut(self.spec, job):
            return False
        return job.status is TrainingJobStatus.COMPLETED or (
            _ends_itself(self.spec, job) and not _ends_early(self.spec)
        )

    def best_first(self, place: int) -> tuple[TunedJob, ...]:
        """Return those that have a result, the best first; those that break a constraint last.

        Args:
            place: Of the objective that counts.
        """
        objective = self.objectives[place]
        return tuple(
            sorted(
                (job for job in self.jobs if job.objectives),
                key=lambda job: (not job.is_feasible, objective.as_loss(job.objectives[place])),
            )
        )


def results_of(spec: TuningJobSpec, jobs: Sequence[TunedJob]) -> tuple[Results, ...]:
    """Return the training jobs of a tuning job, parted by their objectives.

    Args:
        spec: Of the tuning job.
        jobs: All of its training jobs.
    """
    judged = {
        definition.definition_name: _judges(spec, definition) for definition in spec.definitions
    }
    return tuple(
        Results(
            spec,
            objectives,
            Space(tuple(d for d in spec.definitions if judged[d.definition_name] == objectives)),
            tuple(job for job in jobs if tuple(objectives_of(spec, job)) == objectives),
        )
        for objectives in dict.fromkeys(judged.values())
    )


def results_for(
    spec: TuningJobSpec, jobs: Sequence[TunedJob], objective: str | None
) -> tuple[Results, int]:
    """Return the training jobs that an objective judges, and its place among their objectives.

    Args:
        spec: Of the tuning job.
        jobs: All of its training jobs.
        objective: Name of its metric; None = the first one.

    Raises:
        InvalidSpec: None of them is judged by it.
    """
    found = results_of(spec, jobs)
    names = [(each, place) for each in found for place in range(len(each.objectives))]
    for results, place in names:
        if objective is None or results.objectives[place].metric_name == objective:
            return results, place
    known = dict.fromkeys(each.objectives[place].metric_name for each, place in names)
    raise InvalidSpec(
        f"objective must be one of the tuning job's ({', '.join(known)}), got {objective!r}; name "
        "one of them, or leave it out"
    )


def check_importance(results: Results, place: int) -> None:
    """Refuse to tell importance where there is nothing to tell it from.

    Args:
        results: The training jobs.
        place: Of the objective.

    Raises:
        InvalidState: Nothing is searched, too few have a result, or all results are the same.
    """
    name = results.spec.tuning_job_name
    if not results.space.parameters:
        raise InvalidState(
            f"importance compares hyperparameters that are searched, {name!r} has no ranges; begin "
            "one that has"
        )
    values = [job.objectives[place] for job in results.whole]
    if len(values) < LEAST_RESULTS:
        raise InvalidState(
            f"importance needs {LEAST_RESULTS} training jobs that trained to their end and have a "
            f"result, {name!r} has {len(values)}; wait for more, or begin one with a higher "
            "max_number_of_training_jobs"
        )
    if len(set(values)) == 1:
        raise InvalidState(
            f"importance compares results that differ, all {len(values)} of {name!r} have "
            f"{results.objectives[place].metric_name} {values[0]:g}; check what the program reports"
        )


def _judges(spec: TuningJobSpec, definition: TrainingJobDefinition) -> tuple[TuningObjective, ...]:
    return (definition.objective,) if definition.objective is not None else spec.objectives


def _is_cut(spec: TuningJobSpec, job: TunedJob) -> bool:
    """Return whether a training job was given fewer epochs than a whole training has."""
    if job.resource is None or spec.asha is None:
        return False
    whole = spec.asha.max_resource
    for definition in spec.definitions:
        if whole is None and definition.definition_name == job.definition_name:
            whole = definition.epochs[1] if definition.epochs else None
    return whole is not None and job.resource < whole


def _ends_itself(spec: TuningJobSpec, job: TunedJob) -> bool:
    return any(
        each.definition_name == job.definition_name and each.job.early_stopping is not None
        for each in spec.definitions
    )


def _ends_early(spec: TuningJobSpec) -> bool:
    return (
        spec.early_stopping_type == "Auto" or spec.asha is not None or spec.strategy == "Hyperband"
    )
