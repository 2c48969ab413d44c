"""Looks instance types up. Some types have a name and no hardware data."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

LOCAL = "local"
"""The label of a job that names no instance type."""

# Not in the published hardware data: retired before it was, or too new. Counts from AWS's product pages.
_GPUS_WITHOUT_DATA = {
    "ml.p2.xlarge": 1,
    "ml.p2.8xlarge": 8,
    "ml.p2.16xlarge": 16,
    "ml.p3.2xlarge": 1,
    "ml.p3.8xlarge": 4,
    "ml.p3.16xlarge": 8,
    "ml.p6e-gb200.36xlarge": 4,
}


@cache
def _instances() -> dict[str, dict[str, Any]]:
    path = Path(__file__).with_name("instances.json")
    instances: dict[str, dict[str, Any]] = json.loads(path.read_bytes())["instances"]
    return instances


def names() -> tuple[str, ...]:
    """Return all known instance types, ``local`` first."""
    return (LOCAL, *_instances())


def is_known(instance_type: str) -> bool:
    """Return whether a job may name this instance type."""
    return instance_type == LOCAL or instance_type in _instances()


def gpus(instance_type: str) -> int:
    """Return how many GPUs an instance of this type has; 0 for unknown ones."""
    if instance_type == LOCAL:
        return 0
    known: int | None = _instances().get(instance_type, {}).get("gpus")
    return _GPUS_WITHOUT_DATA.get(instance_type, 0) if known is None else known
