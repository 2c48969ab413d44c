"""CloudWatch over a store in memory and a metrics file: no server, no job that runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.cloudwatch import CloudWatch
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.sagemaker_metrics import SageMakerMetrics
from orchestrator.scheduler.workspace import Workspace
from orchestrator.service.metrics import MetricService
from orchestrator.service.tokens import PageTokens
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.store_jobs import START, SetClock, started, submit, take_over

CALLER = Caller("key", "eu-west-1", "monitoring", "", None)
MINUTE = START.replace(second=0, microsecond=0)


class CloudWatchWorld:
    """The services, and jobs that have started."""

    def __init__(self, home: Path) -> None:
        self.clock = SetClock()
        self.store = MemoryStore(clock=self.clock)
        self.metrics = MetricService(home / "metrics.sqlite3", self.store, Workspace(home))
        self.cloudwatch = CloudWatch(self.metrics, PageTokens(self.store), self.clock)
        self.reported = SageMakerMetrics(self.metrics)

    def start(self, *names: str) -> None:
        """Make jobs that run."""
        jobs = [submit(self.store, name) for name in names]
        assert all(self.store.apply([started(job) for job in jobs], take_over(self.store)))

    def put(self, *data: dict[str, Any], namespace: str = "team") -> None:
        """Put values; those without a time are of the first minute."""
        timed = [{"Timestamp": MINUTE, **each} for each in data]
        self.cloudwatch.put_metric_data({"Namespace": namespace, "MetricData": timed}, CALLER)

    def statistics(self, metric: str = "m", **asked: Any) -> list[dict[str, Any]]:
        """Return the datapoints of a metric in the hour of the first minute."""
        given = {
            "Namespace": "team",
            "MetricName": metric,
            "Period": 60,
            "StartTime": MINUTE,
            "EndTime": MINUTE + timedelta(hours=1),
            "Statistics": ["Sum"],
            **asked,
        }
        found: list[dict[str, Any]]
        found = self.cloudwatch.get_metric_statistics(given, CALLER)["Datapoints"]
        return found

    def data(self, *queries: dict[str, Any], **asked: Any) -> dict[str, Any]:
        """Return the answer of GetMetricData for that hour, oldest first."""
        given = {
            "MetricDataQueries": list(queries),
            "StartTime": MINUTE,
            "EndTime": MINUTE + timedelta(hours=1),
            "ScanBy": "TimestampAscending",
            **asked,
        }
        return self.cloudwatch.get_metric_data(given, CALLER)

    def listed(self, **asked: Any) -> list[tuple[str, str, str]]:
        """Return namespace, name and values of dimensions of all pages of ListMetrics."""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            answer = self.cloudwatch.list_metrics({**asked, **token}, CALLER)
            found += answer["Metrics"]
            if "NextToken" not in answer:
                break
            token = {"NextToken": answer["NextToken"]}
        return [
            (m["Namespace"], m["MetricName"], ",".join(d["Value"] for d in m["Dimensions"]))
            for m in found
        ]


def of_job(name: str) -> list[dict[str, str]]:
    """The dimensions of a job's metrics."""
    return [{"Name": "TrainingJobName", "Value": name}]


def job_value(name: str, metric: str = "m", **more: Any) -> dict[str, Any]:
    """A datum for a job."""
    return {"MetricName": metric, "Dimensions": of_job(name), "Value": 1.0, **more}


def query(name: str, metric: str = "m", stat: str = "Sum", **more: Any) -> dict[str, Any]:
    """A query of GetMetricData."""
    wanted = {"Namespace": "team", "MetricName": metric}
    return {"Id": name, "MetricStat": {"Metric": wanted, "Period": 60, "Stat": stat, **more}}


def refused(call: Any, *given: Any, **more: Any) -> tuple[str, str]:
    """Return code and text of what a call is refused with."""
    with pytest.raises(AwsError) as caught:
        call(*given, **more)
    return caught.value.code, caught.value.message
