"""orchestrator: the SageMaker training plane on your own hardware.

The public names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from orchestrator.sdk.config import Compute, InputData, SourceCode
    from orchestrator.sdk.jobs import TrainingJob, TrainingResult
    from orchestrator.sdk.trainer import ModelTrainer
    from orchestrator.sdk.transport import connect
    from orchestrator.spec.job import (
        CheckpointConfig,
        MetricDefinition,
        OutputDataConfig,
        RetryStrategy,
        StoppingCondition,
    )

_HOMES = {
    "CheckpointConfig": "orchestrator.spec.job",
    "Compute": "orchestrator.sdk.config",
    "InputData": "orchestrator.sdk.config",
    "MetricDefinition": "orchestrator.spec.job",
    "ModelTrainer": "orchestrator.sdk.trainer",
    "OutputDataConfig": "orchestrator.spec.job",
    "RetryStrategy": "orchestrator.spec.job",
    "SourceCode": "orchestrator.sdk.config",
    "StoppingCondition": "orchestrator.spec.job",
    "TrainingJob": "orchestrator.sdk.jobs",
    "TrainingResult": "orchestrator.sdk.jobs",
    "connect": "orchestrator.sdk.transport",
}

__all__ = [
    "CheckpointConfig",
    "Compute",
    "InputData",
    "MetricDefinition",
    "ModelTrainer",
    "OutputDataConfig",
    "RetryStrategy",
    "SourceCode",
    "StoppingCondition",
    "TrainingJob",
    "TrainingResult",
    "connect",
]


def __getattr__(name: str) -> Any:
    """Load a public name (PEP 562)."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
