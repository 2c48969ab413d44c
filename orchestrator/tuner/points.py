"""What a search is asked, and what it knows: pure values, in words that any sampler understands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.ranges import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    counts,
)
from orchestrator.spec.tuning import in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.spec.ranges import Parameter


@dataclass(frozen=True)
class Point:
    """Values that were chosen, and what came of them.

    Attributes:
        values: By hyperparameter, as the training job gets them.
        losses: One for each objective, the smaller the better; None while it is not known.
        excess: Of each constraint, by how much it is broken; 0 or less where it is kept.
    """

    values: Mapping[str, str]
    losses: tuple[float, ...] | None = None
    excess: tuple[float, ...] = ()


@dataclass(frozen=True)
class Question:
    """Which values come next?

    Attributes:
        strategy: ``Bayesian``, ``Random``, ``Hyperband`` or ``Grid``.
        parameters: What is searched.
        objectives: How many there are.
        seed: Of the search.
        index: How many values were chosen before.
        points: What is known, in order of choice; those of running training jobs too.
        fixed: Values that are given.
        sampler: ``module:function`` of the user's, in place of the strategy.
    """

    strategy: str
    parameters: tuple[Parameter, ...]
    objectives: int
    seed: int
    index: int
    points: tuple[Point, ...] = ()
    fixed: Mapping[str, str] | None = None
    sampler: str | None = None


def text_of(parameter: Parameter, value: object) -> str:
    """Return a value as a training job gets it.

    Args:
        parameter: Whose it is.
        value: A number, or one of the texts of a category.
    """
    if isinstance(parameter, IntegerParameter):
        return str(int(value))  # type: ignore[call-overload]
    if isinstance(parameter, ContinuousParameter):
        return repr(float(value))  # type: ignore[arg-type]
    return str(value)


def at(parameter: Parameter, share: float) -> str:
    """Return the value at a share of the range, 0 to below 1, by the parameter's scale."""
    if isinstance(parameter, CategoricalParameter):
        return parameter.values[int(share * len(parameter.values))]
    if isinstance(parameter, IntegerParameter):
        return text_of(parameter, _whole_at(parameter, share))
    if parameter.step is not None:
        low, high = parameter.ends
        steps = int(share * parameter.size)
        return text_of(parameter, min(low + steps * parameter.step, high))
    return text_of(parameter, real_at(parameter, share))


def real_at(parameter: IntegerParameter | ContinuousParameter, share: float) -> float:
    """Return the real number at a share of a range, 0 to 1, by its scale, whatever its steps."""
    low, high = parameter.ends
    if parameter.scaling == "Logarithmic":
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    elif parameter.scaling == "ReverseLogarithmic":
        near, far = math.log1p(-low), math.log1p(-high)
        value = -math.expm1(near + share * (far - near))
    else:
        value = low + share * (high - low)
    return min(max(value, low), high)


def _whole_at(parameter: IntegerParameter, share: float) -> int:
    if parameter.scaling == "Logarithmic":
        low, high = math.log(parameter.min_value), math.log(parameter.max_value + 1)
        value = int(math.exp(low + share * (high - low)))  # exp(log(44)) is a little less than 44
        return min(max(value, parameter.min_value), parameter.max_value)
    return parameter.min_value + int(share * parameter.size) * parameter.step


def share_of(parameter: Parameter, text: str) -> float:
    """Return where in a range of numbers a value lies, 0 to 1, by the parameter's scale."""
    assert not isinstance(parameter, CategoricalParameter)
    low, high = (_on_scale(parameter, end) for end in parameter.ends)
    if low == high:
        return 0.5
    return (_on_scale(parameter, float(text)) - low) / (high - low)


def _on_scale(parameter: IntegerParameter | ContinuousParameter, value: float) -> float:
    match parameter.scaling:
        case "Logarithmic":
            return math.log(value)
        case "ReverseLogarithmic":
            return -math.log1p(-value)
        case _:
            return value


def point_at(parameters: Sequence[Parameter], shares: Sequence[float]) -> dict[str, str]:
    """Return a point of the space; parameters that do not count there are left out.

    Args:
        parameters: All of the space.
        shares: One for each, in the order of ``in_order``.
    """
    values: dict[str, str] = {}
    for parameter, share in zip(in_order(parameters), shares, strict=True):
        if counts(parameter, values):
            values[parameter.name] = at(parameter, share)
    return values


def grid(parameters: Sequence[Parameter]) -> Iterator[dict[str, str]]:
    """Yield all combinations of values, each once; the last parameter changes fastest.

    There may be more of them than memory holds.
    """
    return _combinations(in_order(parameters), {})


def _combinations(
    left: Sequence[Parameter], chosen: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    if not left:
        yield dict(chosen)
        return
    first, rest = left[0], left[1:]
    if not counts(first, chosen):
        yield from _combinations(rest, chosen)
        return
    for place in range(int(first.size)):
        yield from _combinations(rest, {**chosen, first.name: _choice(first, place)})


def _choice(parameter: Parameter, place: int) -> str:
    """Return one of the values that can be counted; no scale leaves any of them out."""
    if isinstance(parameter, CategoricalParameter):
        return parameter.values[place]
    low, high = parameter.ends
    return text_of(parameter, min(low + place * (parameter.step or 0), high))


def is_conditional(parameters: Sequence[Parameter]) -> bool:
    """Return whether some parameters count only with values of others."""
    return any(parameter.when for parameter in parameters)
