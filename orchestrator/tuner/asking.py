"""What the search is asked next for a tuning job. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.tuning import grid_size
from orchestrator.tuner.configuration import configurations
from orchestrator.tuner.points import Point, Question
from orchestrator.tuner.settle import objectives_of
from orchestrator.tuner.space import Space
from orchestrator.tuner.warm_start import is_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.spec.tuned import TunedJob, TuningJobRecord
    from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec


@dataclass(frozen=True)
class Wanted:
    """Values that are needed for the next training job."""

    space: Space
    question: Question

    def lacking(self, asked: Wanted) -> int:
        """Return how many results are known now that were not when something else was asked."""
        pairs = zip(self.question.points, asked.question.points, strict=False)
        return sum(now.losses != then.losses for now, then in pairs)

    def differs_in_results_only(self, other: Wanted) -> bool:
        """Return whether two want the same, after the same choices, and know more or less."""
        return self._without_results() == other._without_results()

    def _without_results(self) -> tuple[object, ...]:
        question = self.question
        chosen = [dict(point.values) for point in question.points]
        return (self.space, question.index, chosen, question.fixed)


def wanted(record: TuningJobRecord, jobs: Sequence[TunedJob]) -> Wanted | None:
    """Return what is needed for the next training job; None when a grid has no more to give.

    Definitions take turns, unless they are one space. Training jobs of the same values count once:
    with what came of the longest training, or of the crash that ended it.

    Args:
        record: The tuning job.
        jobs: All of its training jobs, in order of choice.
    """
    present = [configuration.teaches for configuration in configurations(jobs)]
    space = _whose_turn(record.spec, present)
    if space is None:
        return None
    first = space.definitions[0]
    names = {each.definition_name for each in space.definitions}
    mine = [job for job in present if job.definition_name in names]
    points = (*_inherited(record, space), *(_point(record.spec, space, job) for job in mine))
    fixed = _first_points(record.spec, space)
    return Wanted(
        space,
        Question(
            strategy=record.spec.strategy,
            parameters=space.parameters,
            objectives=1 if first.objective is not None else len(record.spec.objectives),
            seed=_seed(record, first),
            index=len(mine),
            points=_as_needed(record.spec, points),
            fixed=fixed[len(mine)] if len(mine) < len(fixed) else None,
            sampler=record.spec.sampler,
        ),
    )


def _whose_turn(spec: TuningJobSpec, present: Sequence[TunedJob]) -> Space | None:
    if spec.joint:
        size = sum(grid_size(each.parameters) for each in spec.definitions)
        is_left = spec.strategy != "Grid" or len(present) < size
        return Space(spec.definitions) if is_left else None
    counts = {
        each.definition_name: sum(job.definition_name == each.definition_name for job in present)
        for each in spec.definitions
    }
    open_ones = [
        each
        for each in spec.definitions
        if spec.strategy != "Grid" or counts[each.definition_name] < grid_size(each.parameters)
    ]
    least = min(open_ones, key=lambda each: counts[each.definition_name], default=None)
    return None if least is None else Space((least,))


def _inherited(record: TuningJobRecord, space: Space) -> list[Point]:
    """Return what earlier tuning jobs say of a space."""
    objectives = record.spec.objectives
    return [
        Point(
            space.point(definition.definition_name, each.values),
            tuple(o.as_loss(v) for o, v in zip(objectives, each.objectives, strict=True)),
            (0.0,) if record.spec.constraints else (),
        )
        for each in record.inherited
        for definition in space.definitions
        if is_of(each, definition)
    ]


def _point(spec: TuningJobSpec, space: Space, job: TunedJob) -> Point:
    losses = tuple(
        objective.as_loss(value)
        for objective, value in zip(objectives_of(spec, job), job.told, strict=False)
    )
    excess = (0.0 if job.is_feasible else 1.0,) if spec.constraints and losses else ()
    return Point(space.point(job.definition_name, job.values), losses or None, excess)


def _as_needed(spec: TuningJobSpec, points: Sequence[Point]) -> tuple[Point, ...]:
    """Leave out what the answer does not depend on, so that one asked ahead stays right."""
    if spec.sampler is not None or spec.strategy == "Bayesian":
        return tuple(points)
    if spec.strategy == "Grid":
        return tuple(Point(point.values) for point in points)
    return ()


def _first_points(spec: TuningJobSpec, space: Space) -> list[Mapping[str, str]]:
    """Return the points that are tried first; one of several definitions is of the first it fits."""
    found: list[Mapping[str, str]] = []
    for point in spec.first_points:
        for definition in space.definitions:
            if {parameter.name for parameter in definition.parameters}.issuperset(point):
                found.append(space.point(definition.definition_name, point))
                break
    return found


def _seed(record: TuningJobRecord, definition: TrainingJobDefinition) -> int:
    """Return the seed of a definition's search: the same after a restart."""
    given = record.spec.random_seed
    of_job = str(given) if given is not None else f"{record.arn} {record.created_at.isoformat()}"
    text = f"{of_job} {definition.definition_name}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
