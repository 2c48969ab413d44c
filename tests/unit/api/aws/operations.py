"""The operations that this project serves, or is to serve, as botocore and as we see them."""

from __future__ import annotations

from functools import cache
from typing import Any

import botocore.session

from orchestrator.api.aws.model import Model, load

SERVED = {
    "sagemaker": (
        "CreateTrainingJob",
        "DescribeTrainingJob",
        "ListTrainingJobs",
        "StopTrainingJob",
        "UpdateTrainingJob",
        "DeleteTrainingJob",
        "AddTags",
        "ListTags",
        "DeleteTags",
        "Search",
        "CreateHyperParameterTuningJob",
        "DescribeHyperParameterTuningJob",
        "ListHyperParameterTuningJobs",
        "ListTrainingJobsForHyperParameterTuningJob",
        "StopHyperParameterTuningJob",
        "DeleteHyperParameterTuningJob",
    ),
    "logs": ("DescribeLogGroups", "DescribeLogStreams", "GetLogEvents", "FilterLogEvents"),
    "iam": ("GetRole", "SimulatePrincipalPolicy"),
    "sts": ("GetCallerIdentity",),
    "ecr": ("GetAuthorizationToken",),
    "cloudwatch": ("GetMetricStatistics", "GetMetricData", "ListMetrics", "PutMetricData"),
    "sagemaker-metrics": ("BatchPutMetrics",),
}
PAIRS = [(service, name) for service, names in SERVED.items() for name in names]


@cache
def botocores(service: str) -> Any:
    """botocore's own model of a service."""
    return botocore.session.get_session().get_service_model(service)


@cache
def ours(service: str) -> Model:
    """Our model of what is served of a service."""
    return load(service, SERVED[service])
