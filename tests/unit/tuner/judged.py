"""Training jobs of a tuning job with their results, for what looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.spec.ranges import CategoricalParameter, ContinuousParameter, Parameter
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus, TunedJob, TuningJobRecord
from orchestrator.spec.tuning import ONLY_DEFINITION, TuningJobSpec

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
RATE = ContinuousParameter(name="rate", min_value=0.001, max_value=1)
WIDTH = ContinuousParameter(name="width", min_value=1, max_value=2)
KIND = CategoricalParameter(name="kind", values=("good", "bad"))


def job(index: int, values: Mapping[str, str], *objectives: float, **changes: Any) -> TunedJob:
    """A training job that has completed with a result, but for what a test says."""
    ended = {
        "status": TrainingJobStatus.COMPLETED,
        "objective_status": ObjectiveStatus.SUCCEEDED,
        "ended_at": START + timedelta(seconds=index + 1),
    }
    return TunedJob(
        **{
            "index": index,
            "definition_name": ONLY_DEFINITION,
            "values": dict(values),
            "job_name": f"t-{index:03d}",
            "created_at": START,
            "started_at": START + timedelta(seconds=index),
            "objectives": objectives,
            **(ended if objectives else {}),
            **changes,
        }
    )


def stopped(index: int, values: Mapping[str, str], *objectives: float, **more: Any) -> TunedJob:
    """One that was ended before its time."""
    return job(index, values, *objectives, status=TrainingJobStatus.STOPPED, **more)


def failed(index: int, values: Mapping[str, str]) -> TunedJob:
    """One without a result."""
    return job(
        index,
        values,
        status=TrainingJobStatus.FAILED,
        objective_status=ObjectiveStatus.FAILED,
        ended_at=START + timedelta(seconds=9),
        failure_reason="exit code: 3",
    )


def searched(count: int, *more: Parameter) -> list[TunedJob]:
    """Training jobs whose loss is their rate; width does nothing."""
    return [
        job(
            place + 1,
            {
                "rate": str((place * 7 % count + 1) / count),
                "width": str(1 + place * 5 % count / count),
                **{each.name: KIND.values[place % 2] for each in more},
            },
            (place * 7 % count + 1) / count,
        )
        for place in range(count)
    ]


def record(spec: TuningJobSpec, **changes: Any) -> TuningJobRecord:
    """A tuning job that has completed."""
    return TuningJobRecord(
        **{
            "number": 1,
            "spec": spec,
            "arn": "arn:t",
            "status": TrainingJobStatus.COMPLETED,
            "created_at": START,
            "modified_at": START,
            "ended_at": START + timedelta(seconds=90),
            **changes,
        }
    )
