"""CloudWatch over metrics: those of jobs, in SageMaker's namespace, and those that anybody puts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.cloudwatch_data import Datum, datums, invalid
from orchestrator.api.aws.cloudwatch_names import (
    DIMENSION,
    JOBS,
    fits,
    kept_name,
    metric_of,
    wanted,
)
from orchestrator.api.aws.cloudwatch_read import MetricReader
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.operations import Handler
from orchestrator.clock import Clock
from orchestrator.errors import InvalidSpec, LimitExceeded, NotFound
from orchestrator.metrics.points import GivenValue
from orchestrator.service.metrics import MetricService
from orchestrator.service.tokens import PageTokens

_MOST_LISTED = 500
_RECENT = timedelta(hours=3)


class CloudWatch:
    """The operations of CloudWatch that are served.

    Args:
        metrics: Use cases of metrics.
        tokens: Makes page tokens.
        clock: The time of values that come without one.
    """

    def __init__(self, metrics: MetricService, tokens: PageTokens, clock: Clock) -> None:
        self._metrics = metrics
        self._tokens = tokens
        self._clock = clock
        self._reader = MetricReader(metrics, tokens)

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {
            "GetMetricStatistics": self.get_metric_statistics,
            "GetMetricData": self.get_metric_data,
            "ListMetrics": self.list_metrics,
            "PutMetricData": self.put_metric_data,
        }

    def get_metric_statistics(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return a metric by periods."""
        return self._reader.statistics(asked)

    def get_metric_data(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return several metrics by periods."""
        return self._reader.data(asked)

    def list_metrics(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return one page of the metrics there are, in the order in which they are kept."""
        query = {"ListMetrics": {n: v for n, v in asked.items() if n != "NextToken"}}
        places: list[tuple[str, str]] = []
        for place in self._listed(asked, self._opened(query, asked.get("NextToken"))):
            places.append(place)
            if len(places) > _MOST_LISTED:
                break
        page = places[:_MOST_LISTED]
        answer: dict[str, Any] = {"Metrics": [metric_of(*place) for place in page]}
        if len(places) > _MOST_LISTED:
            answer["NextToken"] = self._tokens.seal(query, list(page[-1]))
        return answer

    def put_metric_data(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Keep values: all that a request has, or none."""
        given = datums(asked, self._clock.now())
        if asked["Namespace"] == JOBS:
            self._put_to_jobs(given)
        else:
            values = [
                value._replace(metric=kept_name(value.metric, datum.dimensions))
                for datum in given
                for value in datum.values
            ]
            self._metrics.elsewhere.put(asked["Namespace"], values)
        return {}

    def _put_to_jobs(self, given: list[Datum]) -> None:
        by_job: dict[str, list[GivenValue]] = {}
        for datum in given:
            if set(datum.dimensions) != {DIMENSION}:
                names = ", ".join(sorted(datum.dimensions)) or "none"
                raise invalid(f"Metrics of {JOBS} need the dimension {DIMENSION}, got {names}.")
            by_job.setdefault(datum.dimensions[DIMENSION], []).extend(datum.values)
        try:
            self._metrics.put(by_job)
        except NotFound as error:
            raise invalid(
                f"Metrics of {JOBS} need the {DIMENSION} of a job that exists: {error.message}"
            ) from error
        except LimitExceeded as error:
            raise AwsError("LimitExceeded", error.message) from error

    def _opened(self, query: Any, token: str | None) -> tuple[str, str] | None:
        if token is None:
            return None
        try:
            run, name = self._tokens.open(query, token)
        except InvalidSpec as error:
            raise invalid(f"The parameter NextToken is invalid: {error.message}") from error
        return run, name

    def _listed(
        self, asked: dict[str, Any], after: tuple[str, str] | None
    ) -> Iterator[tuple[str, str]]:
        """Yield the places of all metrics that are asked for, behind one."""
        since_us = None
        if "RecentlyActive" in asked:
            since_us = int((self._clock.now() - _RECENT).timestamp() * 1_000_000)
        narrowed = wanted(asked, since_us)
        while True:
            block = self._metrics.listed(narrowed, after, _MOST_LISTED + 1)
            found = [place for place in block if fits(metric_of(*place), asked)]
            there = self._metrics.there({run for run, _ in found})
            yield from (place for place in found if place[0] in there)
            if len(block) <= _MOST_LISTED:
                return
            after = block[-1]
