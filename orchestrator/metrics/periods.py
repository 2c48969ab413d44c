"""A metric by periods of time: sums made by the database, or the values themselves in order."""

from __future__ import annotations

import sqlite3
from array import array
from itertools import groupby
from typing import Any, NamedTuple

LARGEST = 2.0**360
"""Values beyond this on either side are left out, as are NaN and infinite ones.

CloudWatch takes no others; with counts of the same range no sum of them is beyond a float.
"""
_CONDITION = """FROM series v JOIN points p ON p.series = v.id
    WHERE v.run = :run AND v.name = :name AND p.time_us >= :start AND p.time_us < :end
    AND p.value BETWEEN -:largest AND :largest"""
_SUMS = f"""SELECT p.time_us / :length * :length, p.unit, sum(ifnull(p.count, 1)),
    sum(p.value * ifnull(p.count, 1)), min(p.value), max(p.value)
    {_CONDITION} GROUP BY 1, 2 ORDER BY 1, 2"""
_VALUES = f"""SELECT p.time_us / :length * :length, p.unit, p.value, ifnull(p.count, 1)
    {_CONDITION} ORDER BY 1, 2, 3"""


class Window(NamedTuple):
    """What is wanted of a metric; times in microseconds."""

    run: str
    name: str
    start_us: int
    end_us: int
    """The first moment that is not wanted any more."""
    period_us: int


class Sums(NamedTuple):
    """What the values of one unit in one period add up to; each value weighs its count."""

    begin_us: int
    unit: str | None
    samples: float
    total: float
    minimum: float
    maximum: float


class Values(NamedTuple):
    """The values of one unit in one period."""

    begin_us: int
    unit: str | None
    values: array[float]
    """In order of size."""
    counts: array[float]
    """How many times each occurred."""


def sums(connection: sqlite3.Connection, window: Window) -> list[Sums]:
    """Return each period that has values, in order of time, then of unit."""
    return [Sums(*row) for row in connection.execute(_SUMS, _parameters(window))]


def values(connection: sqlite3.Connection, window: Window) -> list[Values]:
    """Return the values of each period that has some, in order of time, then of unit."""
    found = []
    rows = connection.execute(_VALUES, _parameters(window))
    for (begin_us, unit), group in groupby(rows, lambda row: (row[0], row[1])):
        period = Values(begin_us, unit, array("d"), array("d"))
        for _, _, value, count in group:
            period.values.append(value)
            period.counts.append(count)
        found.append(period)
    return found


def _parameters(window: Window) -> dict[str, Any]:
    return {
        "run": window.run,
        "name": window.name,
        "start": window.start_us,
        "end": window.end_us,
        "length": window.period_us,
        "largest": LARGEST,
    }
