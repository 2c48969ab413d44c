"""What is searched, in the words of SageMaker's SDK: a range of values for each hyperparameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec
from orchestrator.sdk import given
from orchestrator.spec import ranges as spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class ContinuousParameter:
    """Real numbers from one to another, both included.

    Attributes:
        min_value: The smallest.
        max_value: The largest.
        scaling_type: ``Auto``, ``Linear``, ``Logarithmic`` or ``ReverseLogarithmic``.
        step: Distance of the values that are tried; None = any.
        when: Values of categorical hyperparameters with which this one counts.
    """

    min_value: float
    max_value: float
    scaling_type: str = "Auto"
    step: float | None = None
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class IntegerParameter:
    """Whole numbers from one to another, both included; see `ContinuousParameter`."""

    min_value: int
    max_value: int
    scaling_type: str = "Auto"
    step: int = 1
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class CategoricalParameter:
    """One of some values, which have no order; see `ContinuousParameter`."""

    values: Sequence[Any]
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict)


Range = ContinuousParameter | IntegerParameter | CategoricalParameter


def parameters_of(ranges: Mapping[str, Range]) -> tuple[spec.Parameter, ...]:
    """Return ranges as a specification has them.

    Args:
        ranges: By hyperparameter.

    Raises:
        InvalidSpec: One is no range, or breaks a rule.
    """
    return tuple(_named(name, each) for name, each in ranges.items())


def _named(name: str, each: Range) -> spec.Parameter:
    try:
        return _parameter(name, each)
    except InvalidSpec as error:
        raise InvalidSpec(f"range of {name!r}: {error.message}") from error


def _parameter(name: str, each: Range) -> spec.Parameter:
    when = {
        parent: tuple(_texts(allowed)) for parent, allowed in getattr(each, "when", {}).items()
    }
    if isinstance(each, CategoricalParameter):
        members: dict[str, Any] = {"values": tuple(_texts(each.values))}
        return spec.CategoricalParameter.parse({"name": name, "when": when, **members})
    if not isinstance(each, ContinuousParameter | IntegerParameter):
        raise InvalidSpec(
            "must be a ContinuousParameter, IntegerParameter or CategoricalParameter, got "
            f"{each!r:.80}; wrap its values in one of these"
        )
    members = {
        "min_value": each.min_value,
        "max_value": each.max_value,
        "scaling_type": each.scaling_type,
        "step": each.step,
    }
    kind = (
        spec.IntegerParameter if isinstance(each, IntegerParameter) else spec.ContinuousParameter
    )
    return kind.parse({"name": name, "when": when, **members})


def _texts(values: Sequence[Any]) -> list[str]:
    """Return values as a training job gets them."""
    named = given.hyperparameters({str(place): value for place, value in enumerate(values)})
    return list(named.values())
