"""CreateTrainingJob as a specification. Pure: members get the names they have here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.api.aws.sagemaker.debugger import broken_debugger, debugger_of
from orchestrator.api.aws.sagemaker.members import refusals
from orchestrator.api.aws.sagemaker.names import to_ours
from orchestrator.api.aws.sagemaker.rules import broken_rules
from orchestrator.errors import InvalidSpec
from orchestrator.spec.job import TrainingJobSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.api.aws.shapes import Shape

WRITABLE_CHANNELS = frozenset({"code", "sm_drivers"})
"""What SDK v3 uploads and its drivers change in place."""


def specification(request: Mapping[str, Any], shape: Shape) -> TrainingJobSpec:
    """Return what a request asks for; the request itself is kept with it, to be echoed.

    Args:
        request: Valid by the shape.
        shape: Of CreateTrainingJob's input.

    Raises:
        InvalidSpec: A member cannot be served here, or breaks a rule that the model does not say.
    """
    refused = [*refusals(request), *broken_rules(request), *broken_debugger(request)]
    if refused:
        raise InvalidSpec("; ".join(refused))
    known = TrainingJobSpec.model_fields
    fields = {name: value for name, value in to_ours(request, shape).items() if name in known}
    algorithm = fields.get("algorithm_specification", {})
    for name in ("enable_sage_maker_metrics_time_series", "training_image_config"):
        algorithm.pop(name, None)
    fields["input_data_config"] = [
        _channel(channel) for channel in fields.get("input_data_config", ())
    ]
    fields["debugger"] = debugger_of(request)
    fields["resource_config"] = _resources(fields.get("resource_config", {}))
    fields["create_request"] = json.dumps(request, ensure_ascii=False, separators=(",", ":"))
    return TrainingJobSpec.parse(fields)


def _channel(given: dict[str, Any]) -> dict[str, Any]:
    """Return a channel; SageMaker has one more floor, for the kinds of sources that it knows."""
    source = given.pop("data_source").get("s3_data_source")
    name = given["channel_name"]
    if source is None:
        raise InvalidSpec(
            f"channel {name!r} must have a DataSource.S3DataSource, got none; give a bucket"
        )
    uri = source.pop("s3_uri")
    source.pop("model_access_config", None)
    channel: dict[str, Any] = given | source
    return channel | {"uri": uri, "writable": name in WRITABLE_CHANNELS}


_RESOURCES = frozenset(
    {"instance_type", "instance_count", "keep_alive_period_in_seconds", "instance_groups"}
)


def _resources(given: dict[str, Any]) -> dict[str, Any]:
    config = {name: value for name, value in given.items() if name in _RESOURCES}
    preferences = given.get("instance_preferences")
    if preferences and "instance_type" not in config:
        first = preferences[0]
        config |= {
            name: first[name] for name in ("instance_type", "instance_count") if name in first
        }
    if given.get("volume_size_in_gb"):  # 0 stands for an instance type's own disks
        config["volume_size_in_gb"] = given["volume_size_in_gb"]
    return config
