"""What is submitted for one training job of a tuning job. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.spec.job import CheckpointConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.spec.job import TrainingJobSpec
    from orchestrator.spec.tuned import TunedJob
    from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec


def job_spec(
    spec: TuningJobSpec, job: TunedJob, first_name: str, checkpoints_of: Callable[[str], str]
) -> TrainingJobSpec:
    """Return what is submitted for one training job of a tuning job.

    Args:
        spec: Of the tuning job.
        job: The training job.
        first_name: Name of the one that began with its values; its own, if it did.
        checkpoints_of: Where a training job's checkpoints are if nobody says where to keep them.
    """
    definition = next(d for d in spec.definitions if d.definition_name == job.definition_name)
    return definition.job.model_copy(
        update={
            "training_job_name": job.job_name,
            "hyper_parameters": {
                **definition.job.hyper_parameters,
                **_resource(definition, job),
                **job.values,
            },
            "checkpoint_config": _checkpoints(definition, job, first_name, checkpoints_of),
        }
    )


def secrets_of(spec: TrainingJobSpec, secrets: Mapping[str, str]) -> dict[str, str]:
    """Return those of a tuning job's secrets that a training job of it names."""
    return {name: secrets[name] for name in spec.secrets if name in secrets}


def _resource(definition: TrainingJobDefinition, job: TunedJob) -> dict[str, str]:
    if job.resource is None or definition.epochs is None:
        return {}
    return {definition.epochs[0]: str(job.resource)}


def _checkpoints(
    definition: TrainingJobDefinition,
    job: TunedJob,
    first_name: str,
    checkpoints_of: Callable[[str], str],
) -> CheckpointConfig | None:
    """Return where the checkpoints are: each configuration has a place that no other one shares.

    As with SageMaker that is ``<given place>/<name of a training job>``; who goes on with a
    configuration finds there what the one before has left.
    """
    given = definition.job.checkpoint_config
    if given is not None and given.s3_uri is not None:
        between = "" if given.s3_uri.endswith("/") else "/"
        return given.model_copy(update={"s3_uri": f"{given.s3_uri}{between}{first_name}"})
    if job.job_name == first_name:
        return given
    config = given or CheckpointConfig()
    return config.model_copy(update={"s3_uri": checkpoints_of(first_name)})
