"""The values that metrics are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from orchestrator.clock import from_epoch

MAX_NAMES = 10_000
"""A run has at most this many metrics; values of further names are rejected."""


class Source(NamedTuple):
    """A stream that points come from; byte offsets in it are their positions."""

    attempt: int
    host: str
    stream: str
    """``log`` (metric definitions) or ``records`` (what the program reported itself)."""


class MetricPoint(NamedTuple):
    """One measured value. (source, position, name) is its identity in a run."""

    name: str
    value: float
    """May be NaN or infinite."""
    time_us: int
    """Microseconds since the epoch."""
    step: int | None
    rank: int | None
    source: Source
    position: int
    """Where in the source it was found; grows with the order of arrival."""
    samples: float = 1.0
    """How many times it was measured."""
    unit: str | None = None

    @property
    def time(self) -> datetime:
        """When it was measured, aware, in UTC."""
        return from_epoch(self.time_us / 1_000_000)


class GivenValue(NamedTuple):
    """A value that came by a call, not out of a file."""

    metric: str
    value: float
    time_us: int
    step: int | None = None
    samples: float = 1.0
    """How many times it occurred."""
    unit: str | None = None


class Batch(NamedTuple):
    """Values for one run that came by one call."""

    run: str
    attempt: int
    values: Sequence[GivenValue]

    @property
    def source(self) -> Source:
        """The stream that all such values of an attempt are from."""
        return Source(self.attempt, "api", "put")


class Cursor(NamedTuple):
    """How far a source has been read, and what was seen on the way."""

    source: Source
    offset: int
    """The next byte to read."""
    lines: int = 0
    rejected: int = 0
    """Lines that looked like metrics but had no usable value."""


@dataclass(frozen=True)
class Curve:
    """One metric over time, thinned out for drawing."""

    name: str
    count: int
    """The number of points before thinning out."""
    points: tuple[MetricPoint, ...]
    """By attempt, then in the order of arrival."""
    indices: tuple[int, ...]
    """The place of each in the whole curve, from 0."""

    @property
    def has_steps(self) -> bool:
        """Whether every point has a step, so that steps can be the x axis."""
        return bool(self.points) and all(point.step is not None for point in self.points)

    @property
    def x(self) -> tuple[int, ...]:
        """The x axis: steps where every point has one, else places in the curve."""
        if self.has_steps:
            return tuple(point.step or 0 for point in self.points)
        return self.indices
