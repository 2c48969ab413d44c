"""Rules of CreateTrainingJob that the model does not say, in AWS's words where these are known. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DEFAULT_MAX_RUNTIME_SECONDS = 86_400
AWS_TAG = "aws: prefixed tag key names are not allowed for external use."


def broken_rules(request: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a request that the model allows."""
    resources = request.get("ResourceConfig", {})
    if "InstanceGroups" in resources and {"InstanceType", "InstanceCount"} & set(resources):
        yield "InstanceType and InstanceCount must not be given together with InstanceGroups."
    yield from _waiting(request)
    if any_of_aws(tag["Key"] for tag in request.get("Tags", ())):
        yield AWS_TAG


def any_of_aws(keys: Iterable[str]) -> bool:
    """Return whether a tag's key is one that only AWS gives."""
    return any(key.lower().startswith("aws:") for key in keys)


def _waiting(request: Mapping[str, Any]) -> Iterator[str]:
    limits = request.get("StoppingCondition", {})
    longest_wait = limits.get("MaxWaitTimeInSeconds")
    if not request.get("EnableManagedSpotTraining"):
        if longest_wait is not None:
            yield "MaxWaitTimeInSeconds needs EnableManagedSpotTraining to be true."
    elif longest_wait is None or longest_wait < limits.get(
        "MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_SECONDS
    ):
        yield (
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
            "MaxRuntimeInSeconds"
        )
