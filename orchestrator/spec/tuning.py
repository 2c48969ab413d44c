"""What is asked for: the specification of one tuning job.

Names and limits are those of CreateHyperParameterTuningJob (botocore service model "sagemaker"),
in snake case. What SageMaker lacks (several objectives, constraints, first points, a joint space,
``early_stopping.Asha``, ``max_epochs``, ``sampler``) says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from orchestrator import ids
from orchestrator.spec.base import Spec
from orchestrator.spec.early import MetricName
from orchestrator.spec.job import CheckpointConfig, HyperParameterKey, Tag, TrainingJobSpec
from orchestrator.spec.places import MOST_PLACE
from orchestrator.spec.ranges import (
    CategoricalParameter,
    Parameter,
    Value,
    counts,
)

Strategy = Literal["Bayesian", "Random", "Hyperband", "Grid"]
TuningJobName = Annotated[
    str,
    StringConstraints(
        pattern=ids.TUNING_JOB_NAME_PATTERN, max_length=ids.TUNING_JOB_NAME_MAX_LENGTH
    ),
]
DefinitionName = Annotated[
    str, StringConstraints(pattern=ids.DEFINITION_NAME_PATTERN, min_length=1, max_length=64)
]
MOST_TUNED = 30
MOST_HYPER_PARAMETERS = 100
EPOCH_NAMES = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
"""Hyperparameters that tell a program for how long to train, in SageMaker's order."""
ONLY_DEFINITION = "training-job-definition"
"""How the only definition is called when it has no name, as the SageMaker SDK expects."""


class TuningObjective(Spec):
    """A metric of the training jobs that is to be made small or large."""

    metric_name: MetricName
    type: Literal["Maximize", "Minimize"] = "Minimize"

    def is_better(self, one: float, other: float) -> bool:
        """Return whether one value is better than another."""
        return one > other if self.type == "Maximize" else one < other

    def as_loss(self, value: float) -> float:
        """Return a number that is the smaller the better."""
        return -value if self.type == "Maximize" else value


class MetricConstraint(Spec):
    """Bounds of another metric that a training job must keep to count as the best."""

    metric_name: MetricName
    at_least: float | None = Field(default=None, allow_inf_nan=False)
    at_most: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError(
                f"a constraint needs at_least or at_most, got neither for {self.metric_name!r}; "
                "give one"
            )
        return self


class TuningLimits(Spec):
    """When no further training job is begun (SageMaker ``ResourceLimits``)."""

    max_number_of_training_jobs: int | None = Field(default=None, ge=1)
    """None = as many as a grid has, or until another limit."""
    max_parallel_training_jobs: int = Field(default=1, ge=1)
    max_runtime_in_seconds: int | None = Field(default=None, ge=1)
    """Of the tuning job; running training jobs are stopped then. SageMaker asks for 120 or more."""
    max_epochs: int | None = Field(default=None, ge=1)
    """Values of the objective that all training jobs report together. Not a SageMaker member."""


class CompletionCriteria(Spec):
    """When further training jobs are not worth while (``TuningJobCompletionCriteria``)."""

    target_objective_metric_value: float | None = Field(default=None, allow_inf_nan=False)
    max_number_of_training_jobs_not_improving: int | None = Field(default=None, ge=3)
    complete_on_convergence: bool = False


class Asha(Spec):
    """Successive halving, asynchronous: only the best of each rung train on.

    Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020. Not a SageMaker
    member, but what its Hyperband strategy is.
    """

    min_resource: int = Field(default=1, ge=1)
    """Values of the objective (epochs) before the first decision."""
    max_resource: int | None = Field(default=None, ge=1)
    """Values of a whole training; None = what the definition's number of epochs says."""
    reduction_factor: int = Field(default=3, ge=2)
    """One of so many trains on at each rung."""
    promote: bool = False
    """Let all end at their rung, and continue the best from their checkpoints as new training jobs.

    A program is told by its epochs (``epochs``, ``num_epochs``, …) up to which level it trains,
    counted from the first epoch of all; it has to save checkpoints and to go on from those that it
    finds. These are kept below the ``CheckpointConfig``, or with the first training job of the same
    values."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_resource is not None and self.max_resource < self.min_resource:
            raise ValueError(
                f"max_resource must not be below min_resource, got {self.max_resource} and "
                f"{self.min_resource}; exchange them"
            )
        return self


class WarmStart(Spec):
    """Earlier tuning jobs whose results count (SageMaker ``WarmStartConfig``)."""

    parents: tuple[TuningJobName, ...] = Field(min_length=1, max_length=5)
    type: Literal["IdenticalDataAndAlgorithm", "TransferLearning"] = "IdenticalDataAndAlgorithm"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_twice(self.parents, "parents")
        return self


class TrainingJobDefinition(Spec):
    """One kind of training job, and what is varied of it."""

    definition_name: DefinitionName = ONLY_DEFINITION
    job: TrainingJobSpec
    """Its training jobs but for names and tuned hyperparameters; its own are the static ones."""
    parameters: tuple[Parameter, ...] = Field(default=(), max_length=MOST_TUNED)
    objective: TuningObjective | None = None
    """None = that of the tuning job."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [parameter.name for parameter in self.parameters]
        _refuse_twice(names, "hyperparameters that are tuned")
        both = sorted(set(names) & set(self.job.hyper_parameters))
        if both:
            raise ValueError(
                f"a hyperparameter must be static or tuned, got {both[0]!r} as both; drop one"
            )
        if len(names) + len(self.job.hyper_parameters) > MOST_HYPER_PARAMETERS:
            raise ValueError(
                f"static and tuned hyperparameters must be at most {MOST_HYPER_PARAMETERS}, got "
                f"{len(names) + len(self.job.hyper_parameters)}; leave some out"
            )
        _check_conditions(self.parameters)
        _check_checkpoints(self.job.checkpoint_config)
        return self

    @property
    def epochs(self) -> tuple[str, int] | None:
        """Name and value of the hyperparameter that says for how long to train, if it is static."""
        for name in EPOCH_NAMES:
            value = self.job.hyper_parameters.get(name, "")
            if value.isdecimal() and int(value) > 0:
                return name, int(value)
        return None


class TuningJobNamed(Spec):
    """What a tuning job is called, to be checked before anything else of it is known."""

    tuning_job_name: TuningJobName


class TuningJobSpec(Spec):
    """One request to search hyperparameters by training jobs. Never changes after submit."""

    tuning_job_name: TuningJobName
    definitions: tuple[TrainingJobDefinition, ...] = Field(min_length=1, max_length=10)
    objectives: tuple[TuningObjective, ...] = Field(min_length=1, max_length=8)
    """One for SageMaker; of several the best are those that no other one beats in all."""
    strategy: Strategy = "Bayesian"
    limits: TuningLimits = TuningLimits()
    early_stopping_type: Literal["Off", "Auto"] = "Off"
    """Auto = SageMaker's median rule (``TrainingJobEarlyStoppingType``)."""
    asha: Asha | None = None
    """Of the Hyperband strategy, or beside another one."""
    completion: CompletionCriteria = CompletionCriteria()
    random_seed: int | None = Field(default=None, ge=0)
    warm_start: WarmStart | None = None
    constraints: tuple[MetricConstraint, ...] = Field(default=(), max_length=20)
    first_points: tuple[dict[HyperParameterKey, Value], ...] = Field(default=(), max_length=1000)
    """Values that are tried first; what one leaves out is chosen."""
    sampler: Annotated[str, StringConstraints(pattern=r"^[\w.]+:[\w.]+$")] | None = None
    """``module:function`` that makes an Optuna sampler from a seed, in place of the strategy's own."""
    joint: bool = False
    """Search all definitions as one space, and give more jobs to those that do better, instead of
    each by itself in turns."""
    tags: tuple[Tag, ...] = Field(default=(), max_length=50)
    create_request: Annotated[str, StringConstraints(max_length=1 << 22)] | None = None
    """JSON of the request of a tuning job that came over AWS's interface, to be echoed."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_twice((each.definition_name for each in self.definitions), "definition_name")
        _refuse_twice((each.metric_name for each in self.objectives), "objectives")
        _check_strategy(self)
        _check_promotion(self)
        _check_limits(self)
        _check_objectives(self)
        for number, point in enumerate(self.first_points, 1):
            _check_point(number, point, self.definitions)
        return self

    def objective_of(self, definition: TrainingJobDefinition) -> TuningObjective:
        """Return the (first) objective of a definition's training jobs."""
        return definition.objective or self.objectives[0]


def grid_size(parameters: Sequence[Parameter]) -> float:
    """Return how many combinations of values there are, conditions respected; may be infinite."""

    def size(left: Sequence[Parameter], chosen: Mapping[str, str]) -> float:
        if not left:
            return 1
        first, rest = left[0], left[1:]
        if not counts(first, chosen):
            return size(rest, chosen)
        if not isinstance(first, CategoricalParameter) or not _decides(first, rest):
            return first.size * size(rest, chosen)
        return sum(size(rest, {**chosen, first.name: value}) for value in first.values)

    return size(in_order(parameters), {})


def in_order(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Return parameters so that each comes behind those that it depends on."""
    ordered: list[Parameter] = []
    left = list(parameters)
    while left:
        known = {each.name for each in ordered}
        ready = [each for each in left if known.issuperset(each.when)]
        if not ready:
            break  # a circle; refused where definitions are checked
        ordered += ready
        left = [each for each in left if each not in ready]
    return tuple(ordered + left)


def _decides(parent: Parameter, others: Iterable[Parameter]) -> bool:
    return any(parent.name in other.when for other in others)


def _refuse_twice(names: Iterable[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what} must be different, got {twice[0]!r} twice; rename or drop one")


def _check_checkpoints(config: CheckpointConfig | None) -> None:
    """Check that there is room for a training job's name behind the place of checkpoints."""
    longest = MOST_PLACE - 1 - ids.JOB_NAME_MAX_LENGTH
    place = "" if config is None else config.s3_uri or ""
    if len(place) > longest:
        raise ValueError(
            "s3_uri of a tuning job's checkpoints, below which each training job has a place of "
            f"its own, must have at most {longest} characters, got {len(place)}; choose a shorter one"
        )


def _check_conditions(parameters: Sequence[Parameter]) -> None:
    categorical = {
        parameter.name: parameter
        for parameter in parameters
        if isinstance(parameter, CategoricalParameter)
    }
    for parameter in parameters:
        for parent_name, allowed in parameter.when.items():
            parent = categorical.get(parent_name)
            if parent is None:
                raise ValueError(
                    f"when must name a categorical parameter of the same definition, got "
                    f"{parent_name!r} for {parameter.name!r}; there are: {', '.join(categorical) or 'none'}"
                )
            unknown = [value for value in allowed if value not in parent.values]
            if unknown:
                raise ValueError(
                    f"when must name values of {parent_name!r}, got {unknown[0]!r} for "
                    f"{parameter.name!r}; they are: {', '.join(parent.values)}"
                )
    ordered = in_order(parameters)
    for place, parameter in enumerate(ordered):
        if not {each.name for each in ordered[:place]}.issuperset(parameter.when):
            raise ValueError(
                f"conditions must not go round in a circle, got one through {parameter.name!r}; "
                "drop one of them"
            )


def _check_strategy(spec: TuningJobSpec) -> None:
    if spec.strategy == "Hyperband" and spec.early_stopping_type == "Auto":
        raise ValueError(
            "early_stopping_type must be Off with the Hyperband strategy, which stops training "
            "jobs itself, got Auto; leave it out"
        )
    if spec.asha is not None and spec.early_stopping_type == "Auto":
        raise ValueError(
            "training jobs are stopped early by one rule, got early_stopping_type Auto and asha; "
            "leave one out"
        )
    if spec.strategy == "Grid":
        for definition in spec.definitions:
            endless = [each.name for each in definition.parameters if each.size == float("inf")]
            if endless:
                raise ValueError(
                    f"a grid needs values that can be counted, got a range for {endless[0]!r}; "
                    "list its values (CategoricalParameter), or give it a step"
                )
    if spec.strategy == "Hyperband" or spec.asha is not None:
        for definition in spec.definitions:
            if (spec.asha is None or spec.asha.max_resource is None) and not definition.epochs:
                raise ValueError(
                    "max_resource must be known to halve by it, got none and no static "
                    f"hyperparameter of {', '.join(EPOCH_NAMES)} in {definition.definition_name!r}; "
                    "give one of them"
                )


def _check_promotion(spec: TuningJobSpec) -> None:
    if spec.asha is None or not spec.asha.promote:
        return
    for definition in spec.definitions:
        if definition.epochs is None:
            tuned = [each.name for each in definition.parameters if each.name in EPOCH_NAMES]
            what = f"the tuned {tuned[0]!r}" if tuned else "none"
            raise ValueError(
                "asha.promote tells training jobs for how long to train by a static hyperparameter "
                f"of {', '.join(EPOCH_NAMES)}, got {what} in {definition.definition_name!r}; give "
                "one its number of epochs, or leave promote out to have training jobs stopped"
            )
        if definition.job.early_stopping is not None:
            raise ValueError(
                "with asha.promote training jobs train to their level, got early_stopping in "
                f"{definition.definition_name!r}, which ends them before; leave one out"
            )


def _check_limits(spec: TuningJobSpec) -> None:
    limits, completion = spec.limits, spec.completion
    ends = (
        limits.max_number_of_training_jobs,
        limits.max_runtime_in_seconds,
        limits.max_epochs,
        completion.target_objective_metric_value,
        completion.max_number_of_training_jobs_not_improving,
        completion.complete_on_convergence or None,
    )
    if spec.strategy == "Grid":
        size = sum(grid_size(each.parameters) for each in spec.definitions)
        wanted = limits.max_number_of_training_jobs or 0
        promotes = spec.asha is not None and spec.asha.promote  # several for one combination
        if size < wanted and not promotes:
            raise ValueError(
                f"a grid must have at least max_number_of_training_jobs combinations, got {size} "
                f"and {wanted}; leave the number out, or add values"
            )
    elif all(end is None for end in ends):
        raise ValueError(
            "a tuning job needs an end, got none; give limits.max_number_of_training_jobs "
            "(max_jobs), max_runtime_in_seconds, max_epochs or completion criteria"
        )


def _check_objectives(spec: TuningJobSpec) -> None:
    if spec.joint and any(
        spec.objective_of(each) != spec.objectives[0] for each in spec.definitions
    ):
        raise ValueError(
            "definitions that are searched as one space are compared by one objective, got one of "
            "its own for some; leave joint or these objectives out"
        )
    if len(spec.objectives) == 1:
        return
    if spec.completion != CompletionCriteria():
        raise ValueError(
            "completion criteria compare one objective, got "
            f"{len(spec.objectives)}; leave them out, or name one objective"
        )
    if spec.early_stopping_type == "Auto" or spec.asha or spec.strategy == "Hyperband":
        raise ValueError(
            "training jobs are stopped early by one objective, got "
            f"{len(spec.objectives)}; leave early stopping out, or name one objective"
        )
    if any(definition.objective is not None for definition in spec.definitions):
        raise ValueError(
            "several objectives hold for all definitions, got an objective of one definition; "
            "drop it"
        )


def _check_point(
    number: int, point: Mapping[str, str], definitions: Sequence[TrainingJobDefinition]
) -> None:
    refusals = [_refusal(point, definition.parameters) for definition in definitions]
    if all(refusals):
        raise ValueError(f"first_points: point {number}: {refusals[0]}")


def _refusal(point: Mapping[str, str], parameters: Sequence[Parameter]) -> str | None:
    by_name = {parameter.name: parameter for parameter in parameters}
    for name, text in point.items():
        if name not in by_name:
            return f"{name!r} is not tuned; there are: {', '.join(sorted(by_name)) or 'none'}"
        why = by_name[name].refusal(text)
        if why is not None:
            return f"{name} {why}, got {text!r}; correct it"
    return None
