"""How the wire names services, so that a request finds its own before any model is loaded.

A test compares the tables with botocore's model.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.api.aws.operations import Operations

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
VALIDATION_CODES = {
    "logs": "InvalidParameterException",
    "ecr": "InvalidParameterException",
    "cloudwatch": "InvalidParameterValueException",
    "iam": "ValidationError",
    "sts": "ValidationError",
}
"""What a service calls a broken rule of the model, where that is not ValidationException."""
REST_SERVICES = {"sagemaker": "sagemaker-metrics"}
"""Service by signing name, for requests that name their operation by method and path."""


def served_names(services: Mapping[str, Operations]) -> list[str]:
    """Return everything that is served, as ``service:Operation``; for messages."""
    return [
        f"{service}:{operation}"
        for service, operations in sorted(services.items())
        for operation in sorted(operations.handlers())
    ]
