"""SageMaker's metrics service: values that a program reports by a call instead of its log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.operations import Handler
from orchestrator.errors import NotFound
from orchestrator.metrics.points import GivenValue
from orchestrator.service.metrics import MetricService

_OF_JOB = "-aws-training-job"
"""What AWS puts behind a job's name to name its trial component."""


class SageMakerMetrics:
    """The one operation of the service.

    Args:
        metrics: Use cases of metrics.
    """

    def __init__(self, metrics: MetricService) -> None:
        self._metrics = metrics

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {"BatchPutMetrics": self.batch_put_metrics}

    def batch_put_metrics(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Keep values of a job; those that cannot be kept are told one by one."""
        given = [_value(each) for each in asked["MetricData"]]
        kept = [place for place, value in enumerate(given) if value.time_us >= 0]
        errors = dict.fromkeys(set(range(len(given))) - set(kept), "VALIDATION_ERROR")
        name = asked["TrialComponentName"].removesuffix(_OF_JOB)
        try:
            refused = self._metrics.put_where_room(name, [given[place] for place in kept])
        except NotFound:
            errors = dict.fromkeys(range(len(given)), "VALIDATION_ERROR")
        else:
            errors |= {kept[place]: "METRIC_LIMIT_EXCEEDED" for place in refused}
        if not errors:
            return {}
        return {
            "Errors": [{"Code": errors[place], "MetricIndex": place} for place in sorted(errors)]
        }


def _value(given: Mapping[str, Any]) -> GivenValue:
    time_us = int(given["Timestamp"].timestamp() * 1_000_000)
    return GivenValue(given["MetricName"], given["Value"], time_us, given.get("Step"))
