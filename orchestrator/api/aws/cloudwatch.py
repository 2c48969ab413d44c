"""CloudWatch over metrics: those of jobs, in SageMaker's namespace, and those that anybody puts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.operations import Handler
from orchestrator.api.aws.statistics import periods, statistic
from orchestrator.clock import Clock, from_epoch
from orchestrator.errors import InvalidSpec, NotFound
from orchestrator.metrics.points import MetricPoint
from orchestrator.service.jobs import JobService
from orchestrator.service.metrics import GivenValue, MetricService
from orchestrator.store.base import ListQuery, SortBy

JOBS = "/aws/sagemaker/TrainingJobs"
DIMENSION = "TrainingJobName"
_MOST_LISTED = 500


class CloudWatch:
    """The operations of CloudWatch that are served.

    Args:
        jobs: Use cases of training jobs.
        metrics: Use cases of metrics.
        clock: The time of values that come without one.
    """

    def __init__(self, jobs: JobService, metrics: MetricService, clock: Clock) -> None:
        self._jobs = jobs
        self._metrics = metrics
        self._clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {
            "GetMetricStatistics": self.get_metric_statistics,
            "GetMetricData": self.get_metric_data,
            "ListMetrics": self.list_metrics,
            "PutMetricData": self.put_metric_data,
        }

    def get_metric_statistics(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return a metric by periods; those without values are left out."""
        plain, extended = asked.get("Statistics", []), asked.get("ExtendedStatistics", [])
        if not plain and not extended:
            raise AwsError(
                "MissingParameter", "At least one of Statistics and ExtendedStatistics is needed."
            )
        functions = {name: _statistic(name) for name in (*plain, *extended)}
        points = self._series(asked, asked["StartTime"], asked["EndTime"])
        given = []
        for begin, values in periods(points, asked["Period"]):
            datapoint: dict[str, Any] = {"Timestamp": from_epoch(begin), "Unit": "None"}
            datapoint |= {name: functions[name](values) for name in plain}
            if extended:
                datapoint["ExtendedStatistics"] = {n: functions[n](values) for n in extended}
            given.append(datapoint)
        return {"Label": asked["MetricName"], "Datapoints": given}

    def get_metric_data(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return several metrics by periods."""
        newest_first = asked.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        results = []
        for query in asked["MetricDataQueries"]:
            if "MetricStat" not in query:
                raise _invalid(
                    f"query {query['Id']!r} must have a MetricStat; expressions are not served"
                )
            if not query.get("ReturnData", True):
                continue
            wanted = query["MetricStat"]
            if not {"Namespace", "MetricName"} <= set(wanted["Metric"]):
                raise _invalid(f"query {query['Id']!r} must have a Namespace and a MetricName.")
            points = self._series(wanted["Metric"], asked["StartTime"], asked["EndTime"])
            function = _statistic(wanted["Stat"])
            found = [(from_epoch(at), function(v)) for at, v in periods(points, wanted["Period"])]
            if newest_first:
                found.reverse()
            results.append(
                {
                    "Id": query["Id"],
                    "Label": query.get("Label", wanted["Metric"]["MetricName"]),
                    "Timestamps": [at for at, _ in found],
                    "Values": [value for _, value in found],
                    "StatusCode": "Complete",
                }
            )
        return {"MetricDataResults": results}

    def list_metrics(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return which metrics there are: of other namespaces first, then of jobs by name."""
        after = asked.get("NextToken")
        found = (each for each in self._all(asked) if _fits(each, asked))
        if after is not None:
            found = (each for each in found if _key(each) > after)
        page = list(islice(found, _MOST_LISTED + 1))
        answer: dict[str, Any] = {"Metrics": page[:_MOST_LISTED]}
        if len(page) > _MOST_LISTED:
            answer["NextToken"] = _key(page[_MOST_LISTED - 1])
        return answer

    def put_metric_data(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Keep values."""
        namespace = asked["Namespace"]
        if namespace.startswith("AWS/"):
            raise _invalid("The value AWS/ for parameter Namespace is invalid.")
        if "EntityMetricData" in asked:
            raise _invalid("EntityMetricData is not served; give MetricData.")
        values = [value for datum in asked.get("MetricData", []) for value in self._given(datum)]
        if namespace != JOBS:
            self._metrics.elsewhere.put(namespace, [value for _, value in values])
            return {}
        for dimensions, value in values:
            name = dimensions.get(DIMENSION, "")
            metric = json.loads(value.metric)[0]
            self._put(name, value._replace(metric=metric))
        return {}

    def _put(self, name: str, value: GivenValue) -> None:
        try:
            self._metrics.put(name, [value])
        except NotFound as error:
            raise _invalid(
                f"Metrics of {JOBS} need the dimension {DIMENSION} of a job that exists, got {name!r}."
            ) from error

    def _given(self, datum: dict[str, Any]) -> Iterator[tuple[dict[str, str], GivenValue]]:
        """Yield the values of one datum with their dimensions."""
        dimensions = {each["Name"]: each["Value"] for each in datum.get("Dimensions", [])}
        time_us = int(datum.get("Timestamp", self._clock.now()).timestamp() * 1_000_000)
        values = datum.get("Values")
        if values is None:
            values = [datum["Value"]] if "Value" in datum else None
        if values is None:
            raise _invalid("A datum needs Value or Values; StatisticValues are not served.")
        counts = datum.get("Counts", [1.0] * len(values))
        if len(counts) != len(values):
            raise _invalid("The parameters Values and Counts must have the same length.")
        if not all(math.isfinite(number) for number in (*values, *counts)):
            raise _invalid("Special values (NaN, +Infinity, -Infinity) are not supported.")
        name = _name(datum["MetricName"], dimensions)
        for value, count in zip(values, counts, strict=True):
            for _ in range(min(int(count), 1000)):
                yield dimensions, GivenValue(name, float(value), time_us)

    def _series(
        self, metric: Mapping[str, Any], start: datetime, end: datetime
    ) -> list[MetricPoint]:
        between = int(start.timestamp() * 1_000_000), int(end.timestamp() * 1_000_000)
        dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions", [])}
        if metric["Namespace"] != JOBS:
            name = _name(metric["MetricName"], dimensions)
            return self._metrics.elsewhere.series(metric["Namespace"], name, *between)
        if set(dimensions) != {DIMENSION}:
            return []
        try:
            return self._metrics.series(dimensions[DIMENSION], metric["MetricName"], *between)
        except NotFound:
            return []

    def _all(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        namespace = asked.get("Namespace")
        others = self._metrics.elsewhere
        for each in others.namespaces():
            if namespace in {None, each}:
                yield from (_other(each, name) for name in others.names(each))
        if namespace in {None, JOBS}:
            for job in self._named(asked):
                yield from (_of_job(job, name) for name in self._names(job))

    def _named(self, asked: dict[str, Any]) -> Iterator[str]:
        """Yield the jobs that are asked for, by name."""
        wanted = {each["Name"]: each.get("Value") for each in asked.get("Dimensions", [])}
        if wanted.get(DIMENSION) is not None:
            yield wanted[DIMENSION]
            return
        query = ListQuery(sort_by=SortBy.NAME, descending=False, limit=1000)
        while True:
            page = self._jobs.list(query)
            yield from (job.name for job in page.jobs)
            if page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)

    def _names(self, job: str) -> tuple[str, ...]:
        try:
            return self._metrics.names(job)
        except NotFound:
            return ()


def _name(metric: str, dimensions: Mapping[str, str]) -> str:
    """Return the one name under which values of a metric with dimensions are kept."""
    return json.dumps([metric, sorted(dimensions.items())])


def _other(namespace: str, name: str) -> dict[str, Any]:
    metric, dimensions = json.loads(name)
    return {
        "Namespace": namespace,
        "MetricName": metric,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions],
    }


def _of_job(job: str, metric: str) -> dict[str, Any]:
    dimensions = [{"Name": DIMENSION, "Value": job}]
    return {"Namespace": JOBS, "MetricName": metric, "Dimensions": dimensions}


def _fits(metric: dict[str, Any], asked: dict[str, Any]) -> bool:
    if asked.get("MetricName") not in {None, metric["MetricName"]}:
        return False
    has = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
    return all(
        each["Name"] in has and each.get("Value") in {None, has[each["Name"]]}
        for each in asked.get("Dimensions", [])
    )


def _key(metric: dict[str, Any]) -> str:
    """Return what metrics are listed in the order of."""
    kind = "1" if metric["Namespace"] == JOBS else "0"
    place = metric["Dimensions"][0]["Value"].lower() if kind == "1" else metric["Namespace"]
    return json.dumps([kind, place, metric["MetricName"], metric["Dimensions"]])


def _statistic(name: str) -> Callable[[list[float]], float]:
    try:
        return statistic(name)
    except InvalidSpec as error:
        raise _invalid(error.message) from error


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterValue", message)
