"""CreateHyperParameterTuningJob as a specification. Pure: members get the names they have here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.api.aws.sagemaker.create import specification
from orchestrator.errors import InvalidSpec
from orchestrator.spec.tuning import ONLY_DEFINITION, TuningJobSpec
from orchestrator.tuner.auto import parameter_around

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.api.aws.shapes import Shape
    from orchestrator.spec.job import TrainingJobSpec

OBJECTIVE = "_tuning_objective_metric"
"""Hyperparameter by which SageMaker tells a training job its objective."""
SAME_NAMES = (
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "VpcConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "RetryStrategy",
    "Environment",
)
"""Members of a definition that CreateTrainingJob has too."""
AUTOTUNE_JOBS = 100
"""Training jobs of a request with ``Autotune`` that does not say how many."""
AUTOTUNE_END: Mapping[str, Any] = {"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}
_RANGES = {
    "IntegerParameterRanges": "Integer",
    "ContinuousParameterRanges": "Continuous",
    "CategoricalParameterRanges": "Categorical",
}


@dataclass(frozen=True)
class _Definition:
    """One definition of a request, with what it takes from the whole."""

    given: Mapping[str, Any]
    ranges: Mapping[str, Any]
    objective: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.given.get("DefinitionName", ONLY_DEFINITION))


def tuning_specification(
    request: Mapping[str, Any], shape: Shape, place: Callable[[TrainingJobSpec], TrainingJobSpec]
) -> TuningJobSpec:
    """Return what a request asks for; the request itself is kept with it, to be echoed.

    Args:
        request: Valid by the model.
        shape: Of CreateTrainingJob's input, whose members a definition has.
        place: Says where the training jobs of a definition run.

    Raises:
        InvalidSpec: A member cannot be served here, or breaks a rule that the model does not say.
    """
    config = request["HyperParameterTuningJobConfig"]
    is_auto = request.get("Autotune", {}).get("Mode") == "Enabled"
    definitions = list(_definitions(request, config))
    name = request["HyperParameterTuningJobName"]
    several = len(definitions) > 1
    fields: dict[str, Any] = {
        "tuning_job_name": name,
        "definitions": [
            {
                "definition_name": each.name,
                "job": place(_training_job(each, name, shape)),
                "parameters": list(_parameters(each.ranges)),
                "objective": _objective(each.objective) if several else None,
            }
            for each in definitions
        ],
        "objectives": [_objective(definitions[0].objective)],
        "strategy": config["Strategy"],
        "limits": _limits(config["ResourceLimits"], AUTOTUNE_JOBS if is_auto else None),
        "early_stopping_type": config.get("TrainingJobEarlyStoppingType")
        or ("Auto" if is_auto and config["Strategy"] != "Hyperband" else "Off"),
        "asha": _halving(config),
        "completion": _completion(
            config.get("TuningJobCompletionCriteria", AUTOTUNE_END if is_auto else {})
        ),
        "random_seed": config.get("RandomSeed"),
        "warm_start": _warm_start(request.get("WarmStartConfig")),
        "tags": [{"key": t["Key"], "value": t["Value"]} for t in request.get("Tags", ())],
        "create_request": json.dumps(request, ensure_ascii=False, separators=(",", ":")),
    }
    return TuningJobSpec.parse(fields)


def _definitions(request: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[_Definition]:
    one, several = request.get("TrainingJobDefinition"), request.get("TrainingJobDefinitions")
    if (one is None) == (not several):
        raise InvalidSpec(
            "You must specify either TrainingJobDefinition or TrainingJobDefinitions"
        )
    general = config.get("HyperParameterTuningJobObjective")
    for given in [one] if one is not None else several or ():
        objective = given.get("TuningObjective", general)
        ranges = given.get("HyperParameterRanges", config.get("ParameterRanges"))
        if objective is None:
            raise InvalidSpec(
                "a tuning job needs a HyperParameterTuningJobObjective, or each definition a "
                "TuningObjective, got neither; give one"
            )
        yield _Definition(given, ranges or {}, objective)


def _training_job(definition: _Definition, name: str, shape: Shape) -> TrainingJobSpec:
    """Return one of a definition's training jobs, but for what is varied."""
    given = definition.given
    request = {member: given[member] for member in SAME_NAMES if member in given}
    if "ResourceConfig" not in request:
        request["ResourceConfig"] = _resources(given)
    request["TrainingJobName"] = name
    request["HyperParameters"] = {
        **given.get("StaticHyperParameters", {}),
        OBJECTIVE: definition.objective["MetricName"],
    }
    return specification(request, shape)


def _resources(given: Mapping[str, Any]) -> dict[str, Any]:
    config = dict(given.get("HyperParameterTuningResourceConfig", {}))
    instances = config.pop("InstanceConfigs", ())
    config.pop("AllocationStrategy", None)
    if instances:  # all of these are this machine: the first one, which is preferred, always fits
        config = instances[0] | {k: v for k, v in config.items() if k == "VolumeKmsKeyId"}
    if not config:
        raise InvalidSpec(
            "a definition needs a ResourceConfig or a HyperParameterTuningResourceConfig, got "
            "neither; give one"
        )
    return {"VolumeSizeInGB": 1, **config}


def _parameters(ranges: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for member, kind in _RANGES.items():
        for given in ranges.get(member, ()):
            parameter: dict[str, Any] = {"type": kind, "name": given["Name"]}
            if kind == "Categorical":
                yield parameter | {"values": given["Values"]}
                continue
            ends = {
                "min_value": _number(given, "MinValue", kind),
                "max_value": _number(given, "MaxValue", kind),
            }
            scaling = given.get("ScalingType", "Auto")
            yield parameter | ends | {"scaling_type": scaling}
    for given in ranges.get("AutoParameters", ()):
        yield parameter_around(given["Name"], given["ValueHint"]).model_dump()


def _number(given: Mapping[str, Any], member: str, kind: str) -> float:
    try:
        return int(given[member]) if kind == "Integer" else float(given[member])
    except ValueError as error:
        what = "a whole number" if kind == "Integer" else "a number"
        raise InvalidSpec(
            f"{member} of {given['Name']!r} must be {what}, got {given[member]!r}; correct it"
        ) from error


def _objective(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"metric_name": given["MetricName"], "type": given["Type"]}


def _limits(given: Mapping[str, Any], most_jobs: int | None) -> dict[str, Any]:
    return {
        "max_number_of_training_jobs": given.get("MaxNumberOfTrainingJobs", most_jobs),
        "max_parallel_training_jobs": given["MaxParallelTrainingJobs"],
        "max_runtime_in_seconds": given.get("MaxRuntimeInSeconds"),
    }


def _halving(config: Mapping[str, Any]) -> dict[str, Any] | None:
    given = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig")
    if given is None or config["Strategy"] != "Hyperband":
        return None
    return {"min_resource": given.get("MinResource", 1), "max_resource": given.get("MaxResource")}


def _completion(given: Mapping[str, Any]) -> dict[str, Any]:
    improving = given.get("BestObjectiveNotImproving", {})
    convergence = given.get("ConvergenceDetected", {}).get("CompleteOnConvergence")
    return {
        "target_objective_metric_value": given.get("TargetObjectiveMetricValue"),
        "max_number_of_training_jobs_not_improving": improving.get(
            "MaxNumberOfTrainingJobsNotImproving"
        ),
        "complete_on_convergence": convergence == "Enabled",
    }


def _warm_start(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    parents = [
        each["HyperParameterTuningJobName"] for each in given["ParentHyperParameterTuningJobs"]
    ]
    return {"parents": parents, "type": given["WarmStartType"]}
