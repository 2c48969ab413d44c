"""The values in a request of PutMetricData, checked as CloudWatch checks them. Pure.

Source: ``MetricDatum`` in CloudWatch's API reference. A value with a count is kept as one row,
whatever the count; so a request costs what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from orchestrator.api.aws.cloudwatch_names import dimensions_of
from orchestrator.api.aws.errors import AwsError
from orchestrator.metrics.periods import LARGEST
from orchestrator.metrics.points import GivenValue

MOST_DATUMS = 1000
MOST_VALUES = 150
NO_UNIT = "None"


class Datum(NamedTuple):
    """One datum of a request."""

    dimensions: dict[str, str]
    values: list[GivenValue]
    """Named by the metric alone."""


def datums(asked: Mapping[str, Any], now: datetime) -> list[Datum]:
    """Return what a request gives.

    Args:
        asked: The input of PutMetricData.
        now: The time of values that come without one.

    Raises:
        AwsError: CloudWatch would not take it.
    """
    if asked["Namespace"].startswith("AWS/"):
        raise invalid("The value AWS/ for parameter Namespace is invalid.")
    if "EntityMetricData" in asked:
        raise invalid("EntityMetricData is not served; give MetricData.")
    given = asked.get("MetricData", [])
    if len(given) > MOST_DATUMS:
        raise invalid(
            f"The collection MetricData must not have a size greater than {MOST_DATUMS}."
        )
    return [_datum(each, now, f"MetricData.member.{place}") for place, each in enumerate(given, 1)]


def invalid(message: str) -> AwsError:
    """Return the error for a value that is out of range."""
    return AwsError("InvalidParameterValue", message)


def _datum(given: Mapping[str, Any], now: datetime, place: str) -> Datum:
    values, counts = _values(given, place)
    time_us = int(given.get("Timestamp", now).timestamp() * 1_000_000)
    if time_us < 0:
        raise invalid(f"The parameter {place}.Timestamp must not be before 1970.")
    unit = given.get("Unit", NO_UNIT)
    return Datum(
        dimensions_of(given),
        [
            GivenValue(
                given["MetricName"],
                float(value),
                time_us,
                samples=float(count),
                unit=None if unit == NO_UNIT else unit,
            )
            for value, count in zip(values, counts, strict=True)
        ],
    )


def _values(given: Mapping[str, Any], place: str) -> tuple[list[float], list[float]]:
    """Return the values of a datum, and how many times each occurred."""
    if "Value" in given and "Values" in given:
        raise AwsError(
            "InvalidParameterCombination",
            f"The parameters {place}.Value and {place}.Values are mutually exclusive and you have "
            "specified both.",
        )
    if "Value" not in given and "Values" not in given:
        raise invalid("A datum needs Value or Values; StatisticValues are not served.")
    values = given["Values"] if "Values" in given else [given["Value"]]
    if len(values) > MOST_VALUES:
        raise invalid(
            f"The collection {place}.Values must not have a size greater than {MOST_VALUES}."
        )
    counts = given.get("Counts", [1.0] * len(values))
    if len(counts) != len(values):
        raise invalid("The parameters Values and Counts must have the same length.")
    for problem in _problems(values, counts, place):
        raise invalid(problem)
    return values, counts


def _problems(values: list[float], counts: list[float], place: str) -> Iterator[str]:
    if not all(math.isfinite(number) for number in (*values, *counts)):
        yield "Special values (NaN, +Infinity, -Infinity) are not supported."
    for value in values:
        if abs(value) > LARGEST:
            yield f"The value {value} in {place} must be in the range of -2^360 to 2^360."
    for count in counts:
        if not 0 < count <= LARGEST:
            yield f"The value {count} in {place}.Counts must be above 0 and at most 2^360."
