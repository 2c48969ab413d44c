"""The part of the space where the best results lie. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.spec.ranges import CategoricalParameter, ContinuousParameter, IntegerParameter
from orchestrator.tuner.points import real_at, share_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.spec.ranges import Parameter
    from orchestrator.tuner.points import Point, Question

PART = 0.25
"""How many of the results are the best ones."""
FEWEST = 6
"""Of which there are at least so many."""
MARGIN = 0.25
"""By how much the region is wider on each side than what it was made of, as a part of its width."""
NARROWEST = 0.005
"""Of the range, on each side."""
ALIKE = 1e-3
"""Of the range: values that are nearer to each other than that train alike."""


def around_best(question: Question) -> Question:
    """Return the same question within the smallest box that holds the best results, and a margin.

    What is known outside is left out. Ranges of categories stay.

    Args:
        question: One with at least one result, with one objective, without conditions.
    """
    done = [point for point in question.points if point.losses is not None]
    count = max(FEWEST, math.ceil(len(done) * PART))
    best = sorted(done, key=_merit)[:count]
    parameters = tuple(_around(parameter, best) for parameter in question.parameters)
    inside = tuple(point for point in question.points if _is_inside(parameters, point))
    return replace(question, parameters=parameters, points=inside)


def is_known(question: Question, values: Mapping[str, str]) -> bool:
    """Return whether these values, or such that train alike, were chosen before."""
    return any(_are_alike(question.parameters, values, point.values) for point in question.points)


def _merit(point: Point) -> tuple[float, float]:
    broken = sum(max(excess, 0.0) for excess in point.excess)
    return broken, point.losses[0] if point.losses else math.inf


def _around(parameter: Parameter, best: Sequence[Point]) -> Parameter:
    if isinstance(parameter, CategoricalParameter):
        return parameter
    shares = [share_of(parameter, point.values[parameter.name]) for point in best]
    low, high = min(shares), max(shares)
    margin = max((high - low) * MARGIN, NARROWEST)
    return _between(parameter, max(low - margin, 0.0), min(high + margin, 1.0))


def _between(
    parameter: IntegerParameter | ContinuousParameter, low: float, high: float
) -> Parameter:
    """Return the part of a range between two shares; of a range with steps, what encloses it."""
    first, last = real_at(parameter, low), real_at(parameter, high)
    if parameter.step is not None:
        start, most = parameter.ends[0], int(parameter.size) - 1
        first = start + math.floor((first - start) / parameter.step) * parameter.step
        last = start + min(math.ceil((last - start) / parameter.step), most) * parameter.step
    kind = int if isinstance(parameter, IntegerParameter) else float
    return parameter.model_copy(
        update={
            "min_value": kind(first),
            "max_value": kind(last),
            "scaling_type": parameter.scaling,
        }
    )


def _is_inside(parameters: Sequence[Parameter], point: Point) -> bool:
    return all(parameter.refusal(point.values[parameter.name]) is None for parameter in parameters)


def _are_alike(
    parameters: Sequence[Parameter], values: Mapping[str, str], others: Mapping[str, str]
) -> bool:
    for parameter in parameters:
        mine, other = values.get(parameter.name), others.get(parameter.name)
        if mine == other:
            continue
        if mine is None or other is None or isinstance(parameter, CategoricalParameter):
            return False
        if abs(share_of(parameter, mine) - share_of(parameter, other)) > ALIKE:
            return False
    return True
