"""Which services are served, and how a request finds its own: the one place to register another.

A service is registered under botocore's name of it, in ``served``. The tables say how the wire names
it; a test compares them with botocore's model.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.api.aws.ecr import Ecr
from orchestrator.api.aws.iam import Iam
from orchestrator.api.aws.identity import Identity
from orchestrator.api.aws.operations import Operations
from orchestrator.api.aws.sts import Sts
from orchestrator.clock import Clock

TARGET_PREFIXES = {
    "SageMaker": "sagemaker",
    "Logs_20140328": "logs",
    "AmazonEC2ContainerRegistry_V20150921": "ecr",
    "GraniteServiceVersion20100801": "cloudwatch",
}
"""Service by the first part of ``X-Amz-Target``."""
QUERY_SERVICES = {"sts": "sts", "iam": "iam", "monitoring": "cloudwatch"}
"""Service by signing name, for requests that name their operation in the form parameter Action."""
ONLY_QUERY = frozenset({"sts", "iam"})
REST_SERVICES = {"sagemaker": "sagemaker-metrics"}
"""Service by signing name, for requests that name their operation by method and path."""


def served(clock: Clock, identity: Identity | None = None) -> dict[str, Operations]:
    """Return the services of every installation, by botocore's name.

    Args:
        clock: The time.
        identity: Who every caller is.
    """
    identity = identity or Identity()
    return {"sts": Sts(identity), "iam": Iam(identity), "ecr": Ecr(identity, clock)}


def names(services: Mapping[str, Operations]) -> list[str]:
    """Return everything that is served, as ``service:Operation``; for messages."""
    return [
        f"{service}:{operation}"
        for service, operations in sorted(services.items())
        for operation in sorted(operations.handlers())
    ]
