"""What is searched: the hyperparameters of a tuning job and the values that they may take.

Names and limits are those of CreateHyperParameterTuningJob (``ParameterRanges``). ``step`` and
``when`` are not SageMaker's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from orchestrator.spec.base import Spec
from orchestrator.spec.job import HyperParameterKey

ScalingType = Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]
ParameterName = Annotated[HyperParameterKey, StringConstraints(min_length=1)]
Value = Annotated[str, StringConstraints(max_length=256)]
MOST_VALUES = 1000
"""Of a categorical parameter; SageMaker takes 30."""
WIDE = 100.0
"""From which ratio of its ends a positive range is searched by its logarithm, if that is left open."""


class _Parameter(Spec):
    name: ParameterName
    when: dict[ParameterName, Annotated[tuple[Value, ...], Field(min_length=1)]] = Field(
        default_factory=dict, max_length=30
    )
    """Values of categorical parameters with which this one counts: ``{"optimizer": ("sgd",)}``.
    Otherwise it is not given to the job. Several must all hold. Not a SageMaker member."""


class _Numbers(_Parameter):
    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        raise NotImplementedError

    def _check(self, scaling: ScalingType, step: float | None) -> None:
        low, high = self.ends
        if low > high:
            raise ValueError(
                f"min_value must not be above max_value, got {low:g} and {high:g} for "
                f"{self.name!r}; exchange them"
            )
        if scaling == "Logarithmic" and low <= 0:
            raise ValueError(
                f"a Logarithmic range must be above 0, got min_value {low:g} for {self.name!r}; "
                "raise it, or use Linear"
            )
        if step is not None and scaling == "Logarithmic":
            raise ValueError(
                f"a range with a step must be Linear, got Logarithmic for {self.name!r}; leave "
                "one of them out"
            )


class IntegerParameter(_Numbers):
    """Whole numbers from one to another, both included."""

    type: Literal["Integer"] = "Integer"
    min_value: int
    max_value: int
    scaling_type: Literal["Auto", "Linear", "Logarithmic"] = "Auto"
    step: int = Field(default=1, ge=1)
    """Distance of the values that are tried, from ``min_value`` on."""

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return self.min_value, self.max_value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check(self.scaling_type, None if self.step == 1 else self.step)
        return self

    @property
    def scaling(self) -> ScalingType:
        """How it is searched."""
        if self.scaling_type != "Auto":
            return self.scaling_type
        return "Logarithmic" if self.step == 1 and _is_wide(self.ends) else "Linear"

    @property
    def size(self) -> int:
        """How many values it has."""
        return (self.max_value - self.min_value) // self.step + 1

    def refusal(self, text: str) -> str | None:
        """Return why a value cannot be one of these, None if it can."""
        try:
            value = int(text)
        except ValueError:
            return "must be a whole number"
        if not self.min_value <= value <= self.max_value:
            return f"must be from {self.min_value} to {self.max_value}"
        if (value - self.min_value) % self.step:
            return f"must be {self.min_value} and a multiple of {self.step}"
        return None


class ContinuousParameter(_Numbers):
    """Real numbers from one to another, both included."""

    type: Literal["Continuous"] = "Continuous"
    min_value: float = Field(allow_inf_nan=False)
    max_value: float = Field(allow_inf_nan=False)
    scaling_type: ScalingType = "Auto"
    step: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Distance of the values that are tried, from ``min_value`` on; None = any."""

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return self.min_value, self.max_value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check(self.scaling_type, self.step)
        if self.scaling_type == "ReverseLogarithmic":
            if self.min_value < 0 or self.max_value >= 1:
                raise ValueError(
                    f"a ReverseLogarithmic range must be from 0 to below 1, got {self.min_value:g} "
                    f"to {self.max_value:g} for {self.name!r}; use another scale"
                )
            if self.step is not None:
                raise ValueError(
                    f"a range with a step must be Linear, got ReverseLogarithmic for "
                    f"{self.name!r}; leave one of them out"
                )
        return self

    @property
    def scaling(self) -> ScalingType:
        """How it is searched."""
        if self.scaling_type != "Auto":
            return self.scaling_type
        return "Logarithmic" if self.step is None and _is_wide(self.ends) else "Linear"

    @property
    def size(self) -> float:
        """How many values it has."""
        if self.min_value == self.max_value:
            return 1
        if self.step is None:
            return math.inf
        return math.floor((self.max_value - self.min_value) / self.step * (1 + 1e-12)) + 1

    def refusal(self, text: str) -> str | None:
        """Return why a value cannot be one of these, None if it can."""
        try:
            value = float(text)
        except ValueError:
            return "must be a number"
        if not self.min_value <= value <= self.max_value:
            return f"must be from {self.min_value:g} to {self.max_value:g}"
        return None


class CategoricalParameter(_Parameter):
    """One of some values, which have no order."""

    type: Literal["Categorical"] = "Categorical"
    values: tuple[Value, ...] = Field(min_length=1, max_length=MOST_VALUES)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        twice = sorted({value for value in self.values if self.values.count(value) > 1})
        if twice:
            raise ValueError(
                f"values must be different, got {twice[0]!r} twice for {self.name!r}; drop one"
            )
        return self

    @property
    def size(self) -> int:
        """How many values it has."""
        return len(self.values)

    def refusal(self, text: str) -> str | None:
        """Return why a value cannot be one of these, None if it can."""
        return None if text in self.values else f"must be one of {', '.join(self.values)}"


Parameter = Annotated[
    IntegerParameter | ContinuousParameter | CategoricalParameter, Field(discriminator="type")
]


def _is_wide(ends: tuple[float, float]) -> bool:
    low, high = ends
    return low > 0 and high / low >= WIDE


def counts(parameter: Parameter, values: Mapping[str, str]) -> bool:
    """Return whether a parameter is one of a training job with these values."""
    return all(values.get(name) in allowed for name, allowed in parameter.when.items())
