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
    from orchestrator.sdk.ranges import (
        CategoricalParameter,
        ContinuousParameter,
        IntegerParameter,
    )
    from orchestrator.sdk.trainer import ModelTrainer
    from orchestrator.sdk.transport import connect
    from orchestrator.sdk.trial import create_trial
    from orchestrator.sdk.tuner import HyperparameterTuner
    from orchestrator.sdk.tuning_job import TuningJob
    from orchestrator.spec.debug import Debugger, DebugRule
    from orchestrator.spec.early import EarlyStopping
    from orchestrator.spec.job import (
        CheckpointConfig,
        InstanceGroup,
        MetricDefinition,
        OutputDataConfig,
        RetryStrategy,
        StoppingCondition,
        TensorBoardOutputConfig,
    )
    from orchestrator.spec.recorded import SaveInterval, TensorCollection, WholeTensors
    from orchestrator.spec.tuning import Asha, CompletionCriteria, MetricConstraint

_HOMES = {
    "Asha": "orchestrator.spec.tuning",
    "CategoricalParameter": "orchestrator.sdk.ranges",
    "CheckpointConfig": "orchestrator.spec.job",
    "CompletionCriteria": "orchestrator.spec.tuning",
    "Compute": "orchestrator.sdk.config",
    "ContinuousParameter": "orchestrator.sdk.ranges",
    "DebugRule": "orchestrator.spec.debug",
    "Debugger": "orchestrator.spec.debug",
    "EarlyStopping": "orchestrator.spec.early",
    "HyperparameterTuner": "orchestrator.sdk.tuner",
    "InputData": "orchestrator.sdk.config",
    "InstanceGroup": "orchestrator.spec.job",
    "IntegerParameter": "orchestrator.sdk.ranges",
    "MetricConstraint": "orchestrator.spec.tuning",
    "MetricDefinition": "orchestrator.spec.job",
    "ModelTrainer": "orchestrator.sdk.trainer",
    "OutputDataConfig": "orchestrator.spec.job",
    "RetryStrategy": "orchestrator.spec.job",
    "SaveInterval": "orchestrator.spec.recorded",
    "SourceCode": "orchestrator.sdk.config",
    "StoppingCondition": "orchestrator.spec.job",
    "TensorBoardOutputConfig": "orchestrator.spec.job",
    "TensorCollection": "orchestrator.spec.recorded",
    "TrainingJob": "orchestrator.sdk.jobs",
    "TrainingResult": "orchestrator.sdk.jobs",
    "TuningJob": "orchestrator.sdk.tuning_job",
    "WholeTensors": "orchestrator.spec.recorded",
    "connect": "orchestrator.sdk.transport",
    "create_trial": "orchestrator.sdk.trial",
}

__all__ = [
    "Asha",
    "CategoricalParameter",
    "CheckpointConfig",
    "CompletionCriteria",
    "Compute",
    "ContinuousParameter",
    "DebugRule",
    "Debugger",
    "EarlyStopping",
    "HyperparameterTuner",
    "InputData",
    "InstanceGroup",
    "IntegerParameter",
    "MetricConstraint",
    "MetricDefinition",
    "ModelTrainer",
    "OutputDataConfig",
    "RetryStrategy",
    "SaveInterval",
    "SourceCode",
    "StoppingCondition",
    "TensorBoardOutputConfig",
    "TensorCollection",
    "TrainingJob",
    "TrainingResult",
    "TuningJob",
    "WholeTensors",
    "connect",
    "create_trial",
]


def __dir__() -> list[str]:
    """Name what is public, loaded or not, for completion."""
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name (PEP 562)."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
