"""The part ``[tuning]`` of a job file: what ``orchestrator tune`` searches, and how."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from orchestrator.sdk.ranges import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Range,
)
from orchestrator.spec.base import Spec
from orchestrator.spec.tuning import Asha, CompletionCriteria, MetricConstraint, Strategy


class RangeTable(Spec):
    """The values that a hyperparameter may take: ``values``, or a smallest and a largest one.

    Whole numbers on both ends mean whole numbers in between.
    """

    values: tuple[JsonValue, ...] | None = None
    min_value: int | float | None = None
    max_value: int | float | None = None
    scaling_type: str = "Auto"
    step: int | float | None = None
    when: dict[str, tuple[JsonValue, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _table(cls, given: Any) -> Any:
        if not isinstance(given, dict | cls):
            raise ValueError(  # noqa: TRY004 -- pydantic makes a broken rule of it
                f"a range is a table, got {given!r:.80}; write {{ values = [...] }}, or "
                "{ min_value = ..., max_value = ... }"
            )
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        has_ends = self.min_value is not None and self.max_value is not None
        if (self.values is not None) == has_ends:
            raise ValueError(
                "a range has values = [...], or min_value and max_value, and not both; give one"
            )
        return self

    @property
    def range(self) -> Range:
        """The range as the SDK has it."""
        if self.values is not None:
            return CategoricalParameter(self.values, when=self.when)
        low, high, step = self.min_value, self.max_value, self.step
        assert low is not None
        assert high is not None
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
            return IntegerParameter(low, high, self.scaling_type, step or 1, when=self.when)
        return ContinuousParameter(low, high, self.scaling_type, step, when=self.when)


class TuningTable(Spec):
    """The keys of ``[tuning]``: the arguments of ``HyperparameterTuner``."""

    objective_metric_name: str
    objective_type: Literal["Maximize", "Minimize"] = "Maximize"
    strategy: Strategy = "Bayesian"
    max_jobs: int | None = None
    max_parallel_jobs: int = 1
    max_runtime_in_seconds: int | None = None
    max_epochs: int | None = None
    early_stopping_type: Literal["Off", "Auto"] = "Off"
    asha: Asha | None = None
    completion_criteria: CompletionCriteria | None = None
    other_objectives: dict[str, Literal["Maximize", "Minimize"]] = Field(default_factory=dict)
    constraints: tuple[MetricConstraint, ...] = ()
    first_points: tuple[dict[str, JsonValue], ...] = ()
    sampler: str | None = None
    random_seed: int | None = None
    warm_start: tuple[str, ...] = ()
    ranges: dict[str, RangeTable] = Field(min_length=1)
    """By hyperparameter."""
