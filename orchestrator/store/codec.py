"""Rows <-> values of the vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import StoreError
from orchestrator.spec.job import Tag, TrainingJobSpec
from orchestrator.spec.record import (
    Artifact,
    Explanation,
    HostRecord,
    MetricValue,
    TrainingJobRecord,
    Transition,
)
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus
from orchestrator.store.base import JobSummary, ResourceLease
from orchestrator.store.rules import from_us, to_us

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

_METRICS = TypeAdapter(tuple[MetricValue, ...])
_ARTIFACTS = TypeAdapter(dict[str, Artifact])


def clean(text: str) -> str:
    """Return text that every database takes: no lone surrogates, no NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "�")


def encode_json(value: Any) -> str:
    """Return compact JSON text that every database takes."""
    return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def decode_spec(name: str, text: str) -> TrainingJobSpec:
    """Return a stored specification.

    Raises:
        StoreError: It breaks a rule of this version.
    """
    try:
        return TrainingJobSpec.model_validate_json(text)
    except ValidationError as error:
        raise StoreError(
            f"the stored specification of {name!r} must be readable: {error}; it was written by "
            "another version of orchestrator"
        ) from error


def optional_us(moment: datetime | None) -> int | None:
    """Return microseconds since the epoch, or None."""
    return None if moment is None else to_us(moment)


def optional_time(value: int | None) -> datetime | None:
    """Return the time of microseconds since the epoch, or None."""
    return None if value is None else from_us(value)


def transition_row(number: int, position: int, transition: Transition) -> dict[str, Any]:
    """Return the row of one transition."""
    return {
        "number": number,
        "position": position,
        "status": transition.status.value,
        "started_us": to_us(transition.started_at),
        "ended_us": optional_us(transition.ended_at),
        "message": clean(transition.message),
        "attempt": transition.attempt,
    }


def transition_of(row: RowMapping) -> Transition:
    """Return the transition of a row."""
    return Transition.model_construct(
        status=SecondaryStatus(row["status"]),
        started_at=from_us(row["started_us"]),
        ended_at=optional_time(row["ended_us"]),
        message=row["message"],
        attempt=row["attempt"],
    )


def host_row(number: int, attempt: int, host: HostRecord) -> dict[str, Any]:
    """Return the row of one host."""
    return {
        "number": number,
        "attempt": attempt,
        "rank": host.rank,
        "host": host.host,
        "instance_group": host.instance_group,
        "instance_type": host.instance_type,
        "engine": host.engine,
        "handle": None if host.handle is None else encode_json(host.handle),
        "gpus": encode_json(host.gpus),
        "outcome": None if host.outcome is None else clean(host.outcome),
        "exit_code": host.exit_code,
    }


def host_of(row: RowMapping) -> HostRecord:
    """Return the host of a row."""
    return HostRecord.model_construct(
        host=row["host"],
        rank=row["rank"],
        instance_group=row["instance_group"],
        instance_type=row["instance_type"],
        engine=row["engine"],
        handle=None if row["handle"] is None else json.loads(row["handle"]),
        gpus=tuple(json.loads(row["gpus"])),
        outcome=row["outcome"],
        exit_code=row["exit_code"],
    )


def tag_rows(number: int, tags: Sequence[Tag]) -> list[dict[str, Any]]:
    """Return the rows of a job's tags."""
    return [
        {"number": number, "position": place, "key": tag.key, "value": tag.value}
        for place, tag in enumerate(tags)
    ]


def lease_row(scope: str, lease: ResourceLease) -> dict[str, Any]:
    """Return the row of one resource lease."""
    return {
        "scope": scope,
        "number": lease.number,
        "rank": lease.rank,
        "kind": lease.kind,
        "unit": lease.unit,
        "amount": lease.amount,
        "shared": int(lease.shared),
    }


def lease_of(row: RowMapping) -> ResourceLease:
    """Return the resource lease of a row."""
    return ResourceLease(
        number=row["number"],
        rank=row["rank"],
        kind=row["kind"],
        unit=row["unit"],
        amount=row["amount"],
        shared=bool(row["shared"]),
    )


def encode_metrics(metrics: Sequence[MetricValue]) -> str:
    """Return final metrics as they are stored."""
    return encode_json([metric.model_dump(mode="json") for metric in metrics])


def encode_artifacts(artifacts: Mapping[str, Artifact]) -> str:
    """Return artifacts as they are stored."""
    return encode_json({name: value.model_dump(mode="json") for name, value in artifacts.items()})


def encode_explanation(explanation: Explanation) -> str:
    """Return an explanation as it is stored."""
    return encode_json(explanation.model_dump(mode="json"))


def record_of(
    row: RowMapping,
    spec: TrainingJobSpec,
    *,
    hosts: Sequence[HostRecord],
    transitions: Sequence[Transition],
) -> TrainingJobRecord:
    """Return the record of a row of ``jobs`` joined with ``job_details``."""
    explanation = row["explanation"]
    return TrainingJobRecord.model_construct(
        number=row["number"],
        spec=spec,
        arn=row["arn"],
        status=TrainingJobStatus(row["status"]),
        secondary_status=SecondaryStatus(row["secondary_status"]),
        end_reason=None if row["end_reason"] is None else EndReason(row["end_reason"]),
        failure_reason=row["failure_reason"],
        message=row["message"],
        attempt=row["attempt"],
        revision=row["revision"],
        stop_intent=None if row["stop_intent"] is None else EndReason(row["stop_intent"]),
        stop_requested_at=optional_time(row["stop_requested_us"]),
        stop_grace_seconds=row["stop_grace_seconds"],
        created_at=from_us(row["created_us"]),
        modified_at=from_us(row["modified_us"]),
        training_started_at=optional_time(row["training_started_us"]),
        training_ended_at=optional_time(row["training_ended_us"]),
        ended_at=optional_time(row["ended_us"]),
        hosts=tuple(hosts),
        transitions=tuple(transitions),
        artifacts={} if row["artifacts"] is None else _ARTIFACTS.validate_json(row["artifacts"]),
        final_metrics=(
            () if row["final_metrics"] is None else _METRICS.validate_json(row["final_metrics"])
        ),
        explanation=None if explanation is None else Explanation.model_validate_json(explanation),
        notes={} if row["notes"] is None else json.loads(row["notes"]),
    )


def summary_of(row: RowMapping) -> JobSummary:
    """Return the summary of a row of ``jobs``."""
    return JobSummary(
        number=row["number"],
        name=row["name"],
        arn=row["arn"],
        backend=row["backend"],
        status=TrainingJobStatus(row["status"]),
        secondary_status=SecondaryStatus(row["secondary_status"]),
        created_at=from_us(row["created_us"]),
        modified_at=from_us(row["modified_us"]),
        ended_at=optional_time(row["ended_us"]),
        message=row["message"],
    )
