"""What a tuning job learns from earlier ones (SageMaker ``WarmStartConfig``). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import InvalidSpec, InvalidState
from orchestrator.spec.ranges import counts
from orchestrator.spec.tuned import Inherited
from orchestrator.spec.tuning import in_order
from orchestrator.tuner.configuration import configurations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.spec.tuned import TunedJob, TuningJobRecord
    from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec

Parent = tuple["TuningJobRecord", "Sequence[TunedJob]"]
"""An earlier tuning job and all of its training jobs."""


def inherited_from(spec: TuningJobSpec, parents: Sequence[Parent]) -> tuple[Inherited, ...]:
    """Return the results of earlier tuning jobs that say something of a new one.

    A result counts where the new ranges allow all of its values; what is searched now and was
    static then has its static value.

    Args:
        spec: Of the new tuning job.
        parents: The earlier ones that it names.

    Raises:
        InvalidState: One of them has not ended.
        InvalidSpec: One of them cannot be learnt from.
    """
    for record, _ in parents:
        _check(spec, record)
    found = [
        Inherited(
            tuning_job_name=record.name,
            job_name=job.job_name,
            values=values,
            objectives=job.objectives,
        )
        for record, jobs in parents
        for job in _results(jobs)
        if (values := _values(spec, record, job)) is not None
    ]
    if not found:
        names = ", ".join(record.name for record, _ in parents)
        raise InvalidSpec(
            f"warm_start: of {names} no result lies within the ranges that are searched now; widen "
            "these, or leave warm_start out"
        )
    return tuple(found)


def _results(jobs: Sequence[TunedJob]) -> list[TunedJob]:
    """Return the training jobs with results; of those with the same values the longest one."""
    found = [configuration.result for configuration in configurations(jobs)]
    return [job for job in found if job is not None]


def is_of(inherited: Inherited, definition: TrainingJobDefinition) -> bool:
    """Return whether a result says something of a definition: has its values, in its ranges."""
    return _within(inherited.values, definition) == inherited.values


def _check(spec: TuningJobSpec, parent: TuningJobRecord) -> None:
    if not parent.status.is_terminal:
        raise InvalidState(
            f"warm_start learns from tuning jobs that have ended, {parent.name!r} is "
            f"{parent.status}; wait for its end, or stop it"
        )
    if parent.spec.objectives != spec.objectives:
        raise InvalidSpec(
            f"warm_start: {parent.name!r} must have the same objectives, it has "
            f"{_objectives(parent.spec)} and not {_objectives(spec)}; leave it out"
        )
    ours, theirs = spec.definitions[0].job, parent.spec.definitions[0].job
    if spec.warm_start is not None and spec.warm_start.type == "IdenticalDataAndAlgorithm":
        images = [job.algorithm_specification.training_image for job in (ours, theirs)]
        if images[0] != images[1] or ours.input_data_config != theirs.input_data_config:
            raise InvalidSpec(
                f"warm_start: {parent.name!r} must have the same image and input data with "
                "IdenticalDataAndAlgorithm, it has others; use TransferLearning"
            )
    if spec.create_request is not None and _size(spec) != _size(parent.spec):
        raise InvalidSpec(
            f"warm_start: {parent.name!r} must have as many static and tuned hyperparameters, it "
            f"has {_size(parent.spec)} and not {_size(spec)}; make one of them static instead of "
            "leaving it out"
        )


def _objectives(spec: TuningJobSpec) -> str:
    return ", ".join(f"{each.metric_name} ({each.type})" for each in spec.objectives)


def _size(spec: TuningJobSpec) -> int:
    first = spec.definitions[0]
    return len(first.parameters) + len(first.job.hyper_parameters)


def _values(spec: TuningJobSpec, record: TuningJobRecord, job: TunedJob) -> dict[str, str] | None:
    """Return a training job's values of what is searched now; None if it is out of all ranges."""
    theirs = next(
        each for each in record.spec.definitions if each.definition_name == job.definition_name
    )
    known = {**theirs.job.hyper_parameters, **job.values}
    for definition in spec.definitions:
        values = _within(known, definition)
        if values is not None:
            return values
    return None


def _within(known: Mapping[str, str], definition: TrainingJobDefinition) -> dict[str, str] | None:
    """Return the values of a definition's parameters; None if one is missing or not allowed."""
    values: dict[str, str] = {}
    for parameter in in_order(definition.parameters):
        if not counts(parameter, values):
            continue
        value = known.get(parameter.name)
        if value is None or parameter.refusal(value) is not None:
            return None
        values[parameter.name] = value
    return values
