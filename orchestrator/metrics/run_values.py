"""The values by which a run is judged, out of all points of a metric: pure.

One teller counts: of several hosts, ranks or streams that report the same metric, the first. A
later attempt replaces what an earlier one said of the steps that it does again; where no steps
are told, it starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.metrics.points import MetricPoint


@dataclass(frozen=True)
class Value:
    """One value of a metric.

    Attributes:
        at: When it arrived, in epoch seconds.
        step: The step that the program said, if it did.
    """

    value: float
    at: float
    step: int | None = None


_STREAMS = ("records", "log", "put")


def run_values(points: Sequence[MetricPoint]) -> list[Value]:
    """Return what a run has said of one metric.

    Args:
        points: By attempt; those of one stream in order of arrival.
    """
    told: list[Value] = []
    for _, of_attempt in groupby(points, key=lambda point: point.source.attempt):
        values = [
            Value(point.value, point.time_us / 1e6, point.step)
            for point in _of_one(list(of_attempt))
        ]
        told = [*_before(told, values[0].step), *values]
    return told


def _of_one(points: Sequence[MetricPoint]) -> list[MetricPoint]:
    first = min(map(_teller, points))
    return [point for point in points if _teller(point) == first]


def _teller(point: MetricPoint) -> tuple[int, int, str, int]:
    """Return who says this, in order of preference: algo-2 comes before algo-10."""
    _, host, stream = point.source
    return (_STREAMS.index(stream), len(host), host, point.rank or 0)


def _before(told: Sequence[Value], step: int | None) -> list[Value]:
    if step is None or any(value.step is None for value in told):
        return []
    return [value for value in told if value.step is not None and value.step < step]
