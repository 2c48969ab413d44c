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
    min_value: float = Field(allow_inf_nan=False)
    max_value: float = Field(allow_inf_nan=False)
    scaling_type: ScalingType = "Auto"

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return self.min_value, self.max_value

    @property
    def is_stepped(self) -> bool:
        """Whether values are left out between the ends."""
        return False

    @property
    def scaling(self) -> ScalingType:
        """How it is searched."""
        if self.scaling_type != "Auto":
            return self.scaling_type
        low, high = self.ends
        is_wide = not self.is_stepped and low > 0 and high / low >= WIDE
        return "Logarithmic" if is_wide else "Linear"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        (low, high), scaling = self.ends, self.scaling_type
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
        if scaling == "ReverseLogarithmic" and (low < 0 or high >= 1):
            raise ValueError(
                f"a ReverseLogarithmic range must be from 0 to below 1, got {low:g} to {high:g} "
                f"for {self.name!r}; use another scale"
            )
        if self.is_stepped and scaling not in {"Auto", "Linear"}:
            raise ValueError(
                f"a range with a step must be Linear, got {scaling} for {self.name!r}; leave one "
                "of them out"
            )
        return self


class IntegerParameter(_Numbers):
    """Whole numbers from one to another, both included."""

    type: Literal["Integer"] = "Integer"
    min_value: int
    max_value: int
    scaling_type: Literal["Auto", "Linear", "Logarithmic"] = "Auto"
    step: int = Field(default=1, ge=1)
    """Distance of the values that are tried, from ``min_value`` on."""

    @property
    def is_stepped(self) -> bool:
        """Whether values are left out between the ends."""
        return self.step > 1

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
    step: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Distance of the values that are tried, from ``min_value`` on; None = any."""

    @property
    def is_stepped(self) -> bool:
        """Whether values are left out between the ends."""
        return self.step is not None

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


def counts(parameter: Parameter, values: Mapping[str, str]) -> bool:
    """Return whether a parameter is one of a training job with these values."""
    return all(values.get(name) in allowed for name, allowed in parameter.when.items())
