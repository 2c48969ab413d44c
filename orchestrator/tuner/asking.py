"""What the search is asked next for a tuning job. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.tuning import grid_size
from orchestrator.tuner.points import Point, Question
from orchestrator.tuner.settle import objectives_of
from orchestrator.tuner.warm_start import is_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.spec.tuned import TunedJob, TuningJobRecord
    from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec


@dataclass(frozen=True)
class Wanted:
    """Values that are needed for the next training job of a definition."""

    definition_name: str
    question: Question

    @property
    def results(self) -> int:
        """How many results the question knows of."""
        return sum(point.losses is not None for point in self.question.points)

    def differs_in_results_only(self, other: Wanted) -> bool:
        """Return whether two want the same, after the same choices, and know more or less."""
        return self._without_results() == other._without_results()

    def _without_results(self) -> tuple[object, ...]:
        question = self.question
        chosen = [dict(point.values) for point in question.points]
        return (self.definition_name, question.index, chosen, question.fixed)


def wanted(record: TuningJobRecord, jobs: Sequence[TunedJob]) -> Wanted | None:
    """Return what is needed for the next training job; None when a grid has no more to give.

    Definitions take turns. A training job that repeats another one's values counts in its place.

    Args:
        record: The tuning job.
        jobs: All of its training jobs, in order of choice.
    """
    repeated = {job.continues for job in jobs if job.continues is not None}
    present = [job for job in jobs if job.index not in repeated]
    definition = _whose_turn(record.spec, present)
    if definition is None:
        return None
    mine = [job for job in present if job.definition_name == definition.definition_name]
    points = (
        *_inherited(record, definition),
        *(_point(record.spec, job) for job in mine),
    )
    fixed = _first_points(record.spec, definition)
    return Wanted(
        definition.definition_name,
        Question(
            strategy=record.spec.strategy,
            parameters=definition.parameters,
            objectives=1 if definition.objective is not None else len(record.spec.objectives),
            seed=_seed(record, definition),
            index=len(mine),
            points=_as_needed(record.spec, points),
            fixed=fixed[len(mine)] if len(mine) < len(fixed) else None,
            sampler=record.spec.sampler,
        ),
    )


def _whose_turn(spec: TuningJobSpec, present: Sequence[TunedJob]) -> TrainingJobDefinition | None:
    counts = {
        each.definition_name: sum(job.definition_name == each.definition_name for job in present)
        for each in spec.definitions
    }
    open_ones = [
        each
        for each in spec.definitions
        if spec.strategy != "Grid" or counts[each.definition_name] < grid_size(each.parameters)
    ]
    return min(open_ones, key=lambda each: counts[each.definition_name], default=None)


def _inherited(record: TuningJobRecord, definition: TrainingJobDefinition) -> list[Point]:
    """Return what earlier tuning jobs say of a definition."""
    objectives = record.spec.objectives
    return [
        Point(
            each.values,
            tuple(o.as_loss(v) for o, v in zip(objectives, each.objectives, strict=True)),
            (0.0,) if record.spec.constraints else (),
        )
        for each in record.inherited
        if is_of(each, definition)
    ]


def _point(spec: TuningJobSpec, job: TunedJob) -> Point:
    losses = tuple(
        objective.as_loss(value)
        for objective, value in zip(objectives_of(spec, job), job.told, strict=False)
    )
    excess = (0.0 if job.is_feasible else 1.0,) if spec.constraints and losses else ()
    return Point(job.values, losses or None, excess)


def _as_needed(spec: TuningJobSpec, points: Sequence[Point]) -> tuple[Point, ...]:
    """Leave out what the answer does not depend on, so that one asked ahead stays right."""
    if spec.sampler is not None or spec.strategy == "Bayesian":
        return tuple(points)
    if spec.strategy == "Grid":
        return tuple(Point(point.values) for point in points)
    return ()


def _first_points(
    spec: TuningJobSpec, definition: TrainingJobDefinition
) -> list[Mapping[str, str]]:
    names = {parameter.name for parameter in definition.parameters}
    return [point for point in spec.first_points if names.issuperset(point)]


def _seed(record: TuningJobRecord, definition: TrainingJobDefinition) -> int:
    """Return the seed of a definition's search: the same after a restart."""
    given = record.spec.random_seed
    of_job = str(given) if given is not None else f"{record.arn} {record.created_at.isoformat()}"
    text = f"{of_job} {definition.definition_name}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
