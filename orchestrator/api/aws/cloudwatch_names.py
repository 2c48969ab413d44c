"""What CloudWatch calls metrics, and under which names they are kept. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.metrics.series import Wanted
from orchestrator.service.other_metrics import OTHERS

JOBS = "/aws/sagemaker/TrainingJobs"
DIMENSION = "TrainingJobName"


def kept_name(metric: str, dimensions: Mapping[str, str]) -> str:
    """Return the one name under which values of a metric with dimensions are kept."""
    return json.dumps([metric, sorted(dimensions.items())])


def dimensions_of(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the dimensions of a metric or a datum by name."""
    return {each["Name"]: each["Value"] for each in given.get("Dimensions", ())}


def metric_of(run: str, name: str) -> dict[str, Any]:
    """Return a metric as CloudWatch names it: one of a job, or of another namespace."""
    if not run.startswith(OTHERS):
        dimensions = [{"Name": DIMENSION, "Value": run}]
        return {"Namespace": JOBS, "MetricName": name, "Dimensions": dimensions}
    metric, pairs = json.loads(name)
    return {
        "Namespace": run.removeprefix(OTHERS),
        "MetricName": metric,
        "Dimensions": [{"Name": key, "Value": value} for key, value in pairs],
    }


def wanted(asked: Mapping[str, Any], since_us: int | None) -> Wanted:
    """Return what narrows a list of all metrics down, as far as kept names tell; ``fits`` decides.

    Args:
        asked: The input of ListMetrics.
        since_us: Only metrics with a value that is as new.
    """
    namespace, metric = asked.get("Namespace"), asked.get("MetricName")
    run = without = None
    if namespace == JOBS:
        values = {each["Name"]: each.get("Value") for each in asked.get("Dimensions", ())}
        run, without = values.get(DIMENSION), OTHERS
    elif namespace is not None:
        run = OTHERS + namespace
    prefix = None if metric is None else json.dumps([metric])[:-1] + ","
    return Wanted(run, metric, prefix, without, since_us)


def fits(metric: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Return whether a metric is one that ListMetrics is asked for."""
    if asked.get("Namespace") not in {None, metric["Namespace"]}:
        return False
    if asked.get("MetricName") not in {None, metric["MetricName"]}:
        return False
    has = dimensions_of(metric)
    return all(
        each["Name"] in has and each.get("Value") in {None, has[each["Name"]]}
        for each in asked.get("Dimensions", ())
    )
