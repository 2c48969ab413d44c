"""SageMaker's metrics service: values that a program reports by a call instead of its log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.operations import Handler
from orchestrator.errors import NotFound
from orchestrator.service.metrics import GivenValue, MetricService

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
        """Keep values of a job; a job that does not exist is an error for each of them."""
        name = asked["TrialComponentName"].removesuffix(_OF_JOB)
        values = [
            GivenValue(
                each["MetricName"],
                each["Value"],
                int(each["Timestamp"].timestamp() * 1_000_000),
                each.get("Step"),
            )
            for each in asked["MetricData"]
        ]
        try:
            self._metrics.put(name, values)
        except NotFound:
            return {
                "Errors": [
                    {"Code": "VALIDATION_ERROR", "MetricIndex": place}
                    for place in range(len(values))
                ]
            }
        return {}
