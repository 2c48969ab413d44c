"""``HyperparameterTuner``: search the hyperparameters of a trainer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchestrator import ids
from orchestrator.errors import InvalidSpec, InvalidState
from orchestrator.sdk import given
from orchestrator.sdk.ranges import Range, parameters_of
from orchestrator.sdk.transport import connect
from orchestrator.sdk.tuning_job import TuningAnalytics, TuningJob
from orchestrator.spec.job import Tag
from orchestrator.spec.tuned import TuningOverview
from orchestrator.spec.tuning import (
    ONLY_DEFINITION,
    Asha,
    CompletionCriteria,
    MetricConstraint,
    Strategy,
    TrainingJobDefinition,
    TuningJobNamed,
    TuningJobSpec,
    TuningLimits,
    TuningObjective,
    WarmStart,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.sdk.jobs import TrainingJob
    from orchestrator.sdk.trainer import Channels, ModelTrainer
    from orchestrator.sdk.transport import Transport
    from orchestrator.spec.job import MetricDefinition
    from orchestrator.spec.ranges import Parameter

Goal = Literal["Maximize", "Minimize"]


class Kind(NamedTuple):
    """One kind of training job, and what is varied of it."""

    trainer: ModelTrainer
    parameters: tuple[Parameter, ...]
    metric_definitions: tuple[MetricDefinition, ...]


class HyperparameterTuner:
    """Searches hyperparameters by training jobs.

    Nouns and argument names follow ``sagemaker.train.tuner.HyperparameterTuner`` where the idea
    is the same.

    Args:
        model_trainer: What is trained; ranges win over its hyperparameters of the same name.
        objective_metric_name: The metric that is to become large or small.
        hyperparameter_ranges: What is varied.
        metric_definitions: Replace the trainer's of the same name.
        objective_type: What is better.
        strategy: ``Bayesian``, ``Random``, ``Hyperband`` or ``Grid``.
        max_jobs: Training jobs in all; of a grid by default all combinations.
        max_parallel_jobs: Training jobs at once.
        max_runtime_in_seconds: Of the whole search.
        max_epochs: Values of the objective that all training jobs report together.
        early_stopping_type: ``Auto`` ends training jobs that are worse than the median.
        asha: End all but the best at each of several levels (successive halving), or with
            ``promote`` let all end at their level and continue the best from their checkpoints.
        completion_criteria: When a further training job is not worth while.
        other_objectives: ``{metric: "Maximize" | "Minimize"}``, beside the first.
        constraints: Bounds of other metrics that the best training job must keep.
        first_points: Values that are tried first; what one leaves out is chosen.
        sampler: ``module:function`` that makes an Optuna sampler from a seed.
        random_seed: The same seed and results give the same values.
        warm_start: Names of earlier tuning jobs whose results count, or a ``WarmStart``.
        base_tuning_job_name: Beginning of the tuning jobs' names.
        tags: ``{name: value}``.
        transport: How the service is reached; by default see ``connect``.
    """

    def __init__(
        self,
        model_trainer: ModelTrainer,
        objective_metric_name: str,
        hyperparameter_ranges: Mapping[str, Range],
        metric_definitions: Sequence[MetricDefinition | Mapping[str, str]] = (),
        strategy: Strategy = "Bayesian",
        objective_type: Goal = "Maximize",
        max_jobs: int | None = None,
        max_parallel_jobs: int = 1,
        *,
        max_runtime_in_seconds: int | None = None,
        max_epochs: int | None = None,
        early_stopping_type: Literal["Off", "Auto"] = "Off",
        asha: Asha | Mapping[str, Any] | None = None,
        completion_criteria: CompletionCriteria | Mapping[str, Any] | None = None,
        other_objectives: Mapping[str, Goal] | None = None,
        constraints: Sequence[MetricConstraint | Mapping[str, Any]] = (),
        first_points: Sequence[Mapping[str, Any]] = (),
        sampler: str | None = None,
        random_seed: int | None = None,
        warm_start: Sequence[str] | WarmStart | Mapping[str, Any] = (),
        base_tuning_job_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.kinds = {
            ONLY_DEFINITION: Kind(
                model_trainer,
                parameters_of(hyperparameter_ranges),
                given.metric_definitions(metric_definitions),
            )
        }
        self.joint = False
        objectives = {objective_metric_name: objective_type, **(other_objectives or {})}
        self.objectives = tuple(
            TuningObjective.parse({"metric_name": name, "type": goal})
            for name, goal in objectives.items()
        )
        self.strategy = strategy
        self.limits = TuningLimits.parse(
            {
                "max_number_of_training_jobs": max_jobs,
                "max_parallel_training_jobs": max_parallel_jobs,
                "max_runtime_in_seconds": max_runtime_in_seconds,
                "max_epochs": max_epochs,
            }
        )
        self.early_stopping_type = early_stopping_type
        self.asha = given.optional(Asha, asha, "asha")
        self.completion = given.value(
            CompletionCriteria, completion_criteria or {}, "completion_criteria"
        )
        self.constraints = tuple(
            given.value(MetricConstraint, each, "constraints") for each in constraints
        )
        self.first_points = tuple(given.hyperparameters(point) for point in first_points)
        self.sampler = sampler
        self.random_seed = random_seed
        self.warm_start = _warm_start(warm_start)
        self.base_tuning_job_name = base_tuning_job_name or model_trainer.base_job_name
        self.tags = given.mapping(tags, "tags")
        self._transport = transport or model_trainer.transport
        self._latest: TuningJob | None = None

    @classmethod
    def create(
        cls,
        model_trainer_dict: Mapping[str, ModelTrainer],
        objective_metric_name: str,
        hyperparameter_ranges_dict: Mapping[str, Mapping[str, Range]],
        metric_definitions_dict: Mapping[
            str, Sequence[MetricDefinition | Mapping[str, str]]
        ] = MappingProxyType({}),
        *,
        joint: bool = False,
        **more: Any,
    ) -> HyperparameterTuner:
        """Return a tuner of several trainers, which are compared by one objective.

        Args:
            model_trainer_dict: What is trained, by a name of yours.
            objective_metric_name: The metric that is to become large or small.
            hyperparameter_ranges_dict: What is varied, by the same names.
            metric_definitions_dict: Replace a trainer's of the same name.
            joint: Search them as one space, so that the better ones get more training jobs,
                instead of in turns.
            more: As for one trainer.

        Raises:
            InvalidSpec: A trainer has no ranges, or a rule is broken.
        """
        if not model_trainer_dict or set(model_trainer_dict) != set(hyperparameter_ranges_dict):
            raise InvalidSpec(
                "every trainer needs ranges and the other way round, got trainers "
                f"{sorted(model_trainer_dict)} and ranges {sorted(hyperparameter_ranges_dict)}; "
                "use the same names"
            )
        first = next(iter(model_trainer_dict))
        ranges = hyperparameter_ranges_dict[first]
        made = cls(model_trainer_dict[first], objective_metric_name, ranges, **more)
        made.kinds = {
            name: Kind(
                trainer,
                parameters_of(hyperparameter_ranges_dict[name]),
                given.metric_definitions(metric_definitions_dict.get(name, ())),
            )
            for name, trainer in model_trainer_dict.items()
        }
        made.joint = joint
        return made

    def tune(
        self,
        input_data_config: Channels | None = None,
        *,
        wait: bool = True,
        job_name: str | None = None,
        on_change: Callable[[TuningOverview], None] | None = None,
    ) -> TuningJob:
        """Begin a tuning job and return its handle.

        Args:
            input_data_config: Channels; replaces the trainer's own of the same name.
            wait: Return when the tuning job has ended. Interrupting detaches; it goes on.
            job_name: Its name; by default base name and time.
            on_change: While waiting, gets the state at every change.

        Raises:
            InvalidSpec: A rule is broken; nothing was started.
        """
        transport = self._transport or connect()
        secrets: dict[str, str] = {}
        for kind in self.kinds.values():
            secrets |= kind.trainer.secret_values()
        spec = self._spec(job_name, transport, input_data_config)
        overview = transport.tunings.create(
            sent(spec), secrets=secrets, idempotency_key=uuid.uuid4().hex
        )
        self._latest = TuningJob(TuningOverview.model_validate(overview), transport)
        if wait:
            self._latest.wait(on_change=on_change)
        return self._latest

    @property
    def latest_tuning_job(self) -> TuningJob:
        """The tuning job that ``tune`` began last.

        Raises:
            InvalidState: It began none.
        """
        if self._latest is None:
            raise InvalidState("tune() must be called first, it was not; call it")
        return self._latest

    def best_training_job(self) -> TrainingJob:
        """Return the training job with the best objective of the latest tuning job so far.

        Raises:
            InvalidState: ``tune`` was not called.
            NotFound: None has a result yet.
        """
        return self.latest_tuning_job.best_training_job()

    def analytics(self) -> TuningAnalytics:
        """Return the training jobs of the latest tuning job as a table.

        Raises:
            InvalidState: ``tune`` was not called.
        """
        return self.latest_tuning_job.analytics()

    def _spec(
        self, job_name: str | None, transport: Transport, channels: Channels | None
    ) -> TuningJobSpec:
        name = job_name or ids.unique_tuning_job_name(self.base_tuning_job_name, datetime.now(UTC))
        TuningJobNamed.parse({"tuning_job_name": name})  # a training job's may be longer
        if not any(kind.parameters for kind in self.kinds.values()):
            raise InvalidSpec(
                "hyperparameter_ranges ([tuning.ranges] of a job file) must hold at least one range, "
                "got none: all training jobs would be the same; add one, or call train()"
            )
        return TuningJobSpec.parse(
            {
                "tuning_job_name": name,
                "definitions": tuple(
                    TrainingJobDefinition.parse(
                        {
                            "definition_name": kind_name,
                            "job": kind.trainer.specification(
                                transport,
                                job_name=name,
                                input_data_config=channels,
                                without=[parameter.name for parameter in kind.parameters],
                                metric_definitions=kind.metric_definitions,
                            ),
                            "parameters": kind.parameters,
                        }
                    )
                    for kind_name, kind in self.kinds.items()
                ),
                "joint": self.joint,
                "objectives": self.objectives,
                "strategy": self.strategy,
                "limits": self.limits,
                "early_stopping_type": self.early_stopping_type,
                "asha": self.asha,
                "completion": self.completion,
                "random_seed": self.random_seed,
                "warm_start": self.warm_start,
                "constraints": self.constraints,
                "first_points": self.first_points,
                "sampler": self.sampler,
                "tags": [Tag(key=key, value=value) for key, value in self.tags.items()],
            }
        )


def _warm_start(asked: Sequence[str] | WarmStart | Mapping[str, Any]) -> WarmStart | None:
    if isinstance(asked, WarmStart | Mapping):
        return given.value(WarmStart, asked, "warm_start")
    parents = given.names(asked, "warm_start")
    # Whoever names them by hand knows what they are worth: image and data may differ.
    return WarmStart.parse({"parents": parents, "type": "TransferLearning"}) if parents else None


def sent(spec: TuningJobSpec) -> dict[str, Any]:
    """Return a specification as it is sent: only what somebody asked for, and kinds of ranges."""
    body = spec.model_dump(mode="json", exclude_defaults=True)
    for members, definition in zip(body["definitions"], spec.definitions, strict=True):
        members["parameters"] = [
            {"type": each.type, **each.model_dump(mode="json", exclude_defaults=True)}
            for each in definition.parameters
        ]
    return body
