"""Reading metrics by periods: GetMetricStatistics and GetMetricData.

Values that CloudWatch would not take (NaN, infinite ones, those beyond 2^360) are left out: a job
may print them, on AWS they would not arrive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from orchestrator.api.aws.cloudwatch_data import NO_UNIT
from orchestrator.api.aws.cloudwatch_names import DIMENSION, JOBS, dimensions_of, kept_name
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.statistics import Statistic, percentile, statistics
from orchestrator.clock import from_epoch
from orchestrator.errors import InvalidSpec, NotFound
from orchestrator.metrics.periods import Window
from orchestrator.service.metrics import MetricService
from orchestrator.service.tokens import PageTokens

MOST_STATISTICS = 1440
MOST_DATAPOINTS = 100_800
MOST_QUERIES = 500
_SHORT_PERIODS = (1, 5, 10, 20, 30)


@dataclass(frozen=True)
class Query:
    """One query of GetMetricData.

    Attributes:
        window: What it reads; None = nothing that is there.
        unit: Only values of this unit, by CloudWatch's name; None = of any.
    """

    name: str
    label: str
    window: Window | None
    statistic: str
    unit: str | None


class MetricReader:
    """Answers both operations.

    Args:
        metrics: Use cases of metrics.
        tokens: Makes page tokens.
    """

    def __init__(self, metrics: MetricService, tokens: PageTokens) -> None:
        self._metrics = metrics
        self._tokens = tokens

    def statistics(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return a metric by periods; those without values are left out."""
        plain, extended = asked.get("Statistics", []), asked.get("ExtendedStatistics", [])
        if not plain and not extended:
            raise AwsError(
                "MissingParameter", "At least one of Statistics and ExtendedStatistics is needed."
            )
        for name in (*plain, *extended):
            _check_statistic(name)
        start, end, period = asked["StartTime"], asked["EndTime"], asked["Period"]
        _check_period(period, "InvalidParameterValue")
        _check_times(start, end, "InvalidParameterValue")
        _check_count(math.ceil((end - start).total_seconds() / period))
        window = self._window(asked, start, end, period)
        found = self._read(window, [*plain, *extended])
        datapoints: dict[tuple[int, str], dict[str, Any]] = {}
        for name, values in found.items():
            for begin_us, unit, value in _of_unit(values, asked.get("Unit")):
                point = datapoints.setdefault(
                    (begin_us, unit or NO_UNIT),
                    {"Timestamp": _time(begin_us), "Unit": unit or NO_UNIT},
                )
                if name in plain:
                    point[name] = value
                if name in extended:
                    point.setdefault("ExtendedStatistics", {})[name] = value
        return {
            "Label": asked["MetricName"],
            "Datapoints": [datapoints[place] for place in sorted(datapoints)],
        }

    def data(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return one page of several metrics by periods, each read once."""
        queries = self._queries(asked)
        left = asked.get("MaxDatapoints", MOST_DATAPOINTS)
        if not 1 <= left <= MOST_DATAPOINTS:
            raise _invalid_data(
                f"The parameter MaxDatapoints must be from 1 to {MOST_DATAPOINTS}, got {left}."
            )
        newest_first = asked.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        first, after = self._opened(asked)
        found: dict[Window, dict[str, list[Statistic]]] = {}
        answer: dict[str, Any] = {"MetricDataResults": []}
        for place, query in enumerate(queries[first:], first):
            points = self._points(query, queries, found)
            points.sort(key=_place, reverse=newest_first)
            if after is not None:
                points = [p for p in points if _is_behind(p, after, newest_first)]
            shown = points[:left]
            left -= len(shown)
            is_complete = len(shown) == len(points)
            if shown or is_complete:
                answer["MetricDataResults"].append(_result(query, shown, is_complete))
            if not is_complete:
                last = _place(shown[-1]) if shown else after
                answer["NextToken"] = self._tokens.seal(_list_of(asked), [place, last])
                break
            after = None
        return answer

    def _opened(self, asked: Mapping[str, Any]) -> tuple[int, tuple[int, str] | None]:
        """Return at which query a page begins, and behind which place in it."""
        token = asked.get("NextToken")
        if token is None:
            return 0, None
        try:
            first, after = self._tokens.open(_list_of(asked), token)
        except InvalidSpec as error:
            raise AwsError("InvalidNextToken", error.message) from error
        return first, None if after is None else (after[0], after[1])

    def _queries(self, asked: Mapping[str, Any]) -> list[Query]:
        given = asked["MetricDataQueries"]
        if len(given) > MOST_QUERIES:
            raise _invalid_data(
                f"The collection MetricDataQueries must not have a size greater than {MOST_QUERIES}."
            )
        if len({query["Id"] for query in given}) < len(given):
            raise _invalid_data("The values for parameter id in MetricDataQueries must be unique.")
        _check_times(asked["StartTime"], asked["EndTime"], "ValidationError")
        queries = [(query, self._query(query, asked)) for query in given]
        return [query for raw, query in queries if raw.get("ReturnData", True)]

    def _query(self, query: Mapping[str, Any], asked: Mapping[str, Any]) -> Query:
        if "MetricStat" not in query:
            raise AwsError(
                "InvalidParameterValue",
                f"query {query['Id']!r} must have a MetricStat; expressions are not served",
            )
        wanted = query["MetricStat"]
        metric = wanted["Metric"]
        if not {"Namespace", "MetricName"} <= set(metric):
            raise AwsError(
                "InvalidParameterValue",
                f"query {query['Id']!r} must have a Namespace and a MetricName.",
            )
        _check_statistic(wanted["Stat"])
        _check_period(wanted["Period"], "ValidationError")
        return Query(
            query["Id"],
            query.get("Label", metric["MetricName"]),
            self._window(metric, asked["StartTime"], asked["EndTime"], wanted["Period"]),
            wanted["Stat"],
            wanted.get("Unit"),
        )

    def _points(
        self,
        query: Query,
        queries: Iterable[Query],
        found: dict[Window, dict[str, list[Statistic]]],
    ) -> list[Statistic]:
        """Return what a query asks for; what others ask of the same values is found with it."""
        window = query.window
        if window is None:
            return []
        if window not in found:
            names = {each.statistic for each in queries if each.window == window}
            found[window] = self._read(window, names)
        return _of_unit(found[window][query.statistic], query.unit)

    def _read(self, window: Window | None, names: Iterable[str]) -> dict[str, list[Statistic]]:
        if window is None:
            return {}
        return statistics(
            list(dict.fromkeys(names)),
            partial(self._metrics.sums, window),
            partial(self._metrics.values, window),
        )

    def _window(
        self, metric: Mapping[str, Any], start: datetime, end: datetime, period_seconds: int
    ) -> Window | None:
        dimensions, name = dimensions_of(metric), metric["MetricName"]
        if metric["Namespace"] != JOBS:
            run = self._metrics.elsewhere.run(metric["Namespace"])
            name = kept_name(name, dimensions)
        elif set(dimensions) != {DIMENSION}:
            return None
        else:
            try:
                run = self._metrics.run(dimensions[DIMENSION])
            except NotFound:
                return None
        return Window(run, name, _us(start), _us(end), period_seconds * 1_000_000)


def _result(query: Query, shown: list[Statistic], is_complete: bool) -> dict[str, Any]:
    return {
        "Id": query.name,
        "Label": query.label,
        "Timestamps": [_time(each.begin_us) for each in shown],
        "Values": [each.value for each in shown],
        "StatusCode": "Complete" if is_complete else "PartialData",
    }


def _list_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides which datapoints there are and in what order."""
    return {
        "GetMetricData": {
            name: value
            for name, value in asked.items()
            if name not in {"NextToken", "MaxDatapoints"}
        }
    }


def _of_unit(values: Iterable[Statistic], unit: str | None) -> list[Statistic]:
    """Return the values of a unit; nothing is converted."""
    return [each for each in values if unit is None or (each.unit or NO_UNIT) == unit]


def _place(point: Statistic) -> tuple[int, str]:
    return point.begin_us, point.unit or ""


def _is_behind(point: Statistic, after: tuple[int, str], newest_first: bool) -> bool:
    return _place(point) < after if newest_first else _place(point) > after


def _check_statistic(name: str) -> None:
    try:
        percentile(name)
    except InvalidSpec as error:
        raise AwsError("InvalidParameterValue", error.message) from error


def _check_period(seconds: int, code: str) -> None:
    if seconds not in _SHORT_PERIODS and (seconds < 60 or seconds % 60):
        short = ", ".join(str(each) for each in _SHORT_PERIODS)
        raise AwsError(code, f"The parameter Period must be {short} or a multiple of 60.")


def _check_times(start: datetime, end: datetime, code: str) -> None:
    if start > end:
        raise AwsError(code, "The parameter StartTime must be less than the parameter EndTime.")
    if start == end:
        raise AwsError(code, "The parameter StartTime must not equal parameter EndTime.")


def _check_count(count: int) -> None:
    if count > MOST_STATISTICS:
        raise AwsError(
            "InvalidParameterCombination",
            f"You have requested up to {count:,} datapoints, which exceeds the limit of "
            f"{MOST_STATISTICS:,}. You may reduce the datapoints requested by increasing Period, "
            "or decreasing the time range.",
        )


def _invalid_data(message: str) -> AwsError:
    return AwsError("ValidationError", message)


def _us(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)


def _time(us: int) -> datetime:
    return from_epoch(us / 1_000_000)
