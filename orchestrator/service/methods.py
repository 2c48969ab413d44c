"""The use cases as plain functions of JSON values: one table for every local way in."""

from __future__ import annotations

import base64
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec
from orchestrator.spec.job import Tag, TrainingJobSpec
from orchestrator.spec.redact import redacted_record
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.store.base import JobSummary, ListQuery, SortBy

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.service.assemble import Service
    from orchestrator.spec.record import TrainingJobRecord


def methods(service: Service) -> dict[str, Callable[..., Any]]:
    """Return everything that can be called; see ``orchestrator.sdk.transport.Transport``."""
    table = _Methods(service)
    return {
        name: getattr(table, name)
        for name in dir(table)
        if not name.startswith("_") and callable(getattr(table, name))
    }


class _Methods:
    def __init__(self, service: Service) -> None:
        self._service = service

    def info(self) -> dict[str, Any]:
        return self._service.info()

    def submit(
        self,
        spec: dict[str, Any],
        secrets: dict[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        job = self._service.jobs.submit(
            TrainingJobSpec.parse(spec), secrets=secrets, idempotency_key=idempotency_key
        )
        return record(job)

    def describe(self, name: str) -> dict[str, Any]:
        return record(self._service.jobs.describe(name))

    def list_jobs(self, **query: Any) -> dict[str, Any]:
        page = self._service.jobs.list(list_query(query))
        return {"jobs": [summary(job) for job in page.jobs], "next_cursor": page.next_cursor}

    def wait(self, name: str, after: int, timeout_seconds: float) -> dict[str, Any]:
        return record(self._service.jobs.wait(name, after=after, timeout_seconds=timeout_seconds))

    def stop(self, name: str, grace_seconds: float | None = None) -> dict[str, Any]:
        return record(
            self._service.jobs.stop(name, intent=EndReason.USER_STOP, grace_seconds=grace_seconds)
        )

    def delete(self, name: str) -> None:
        self._service.jobs.delete(name)

    def tags(self, name: str) -> list[dict[str, str]]:
        return [tag.model_dump() for tag in self._service.jobs.tags(name)]

    def set_tags(
        self, name: str, put: list[dict[str, str]], remove: list[str]
    ) -> list[dict[str, str]]:
        tags = [Tag.parse(tag) for tag in put]
        return [t.model_dump() for t in self._service.jobs.set_tags(name, put=tags, remove=remove)]

    def counts(self) -> dict[str, int]:
        return self._service.jobs.counts()

    def log_streams(self, name: str) -> list[dict[str, Any]]:
        return [asdict(stream) for stream in self._service.logs.streams(name)]

    def read_log(self, **request: Any) -> dict[str, Any]:
        chunk = asdict(self._service.logs.read(**request))
        return {**chunk, "data": base64.b64encode(chunk["data"]).decode("ascii")}

    def metric_names(self, name: str) -> list[str]:
        return list(self._service.metrics.names(name))

    def metric_curve(self, name: str, metric: str, max_points: int = 2000) -> dict[str, Any]:
        return self._service.metrics.curve(name, metric, max_points=max_points)


def record(job: TrainingJobRecord) -> dict[str, Any]:
    """Return a job's record as JSON values, less the values of secrets."""
    return redacted_record(job).model_dump(mode="json")


def summary(job: JobSummary) -> dict[str, Any]:
    """Return one row of a list as JSON values."""
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(job).items()
    }


def list_query(query: dict[str, Any]) -> ListQuery:
    """Build a query from JSON values.

    Raises:
        InvalidSpec: A filter is unknown or has an impossible value.
    """
    values = {key: value for key, value in query.items() if value is not None}
    try:
        for key in ("created_after", "created_before", "modified_after", "modified_before"):
            if isinstance(values.get(key), str):
                values[key] = datetime.fromisoformat(values[key])
        if "status_equals" in values:
            values["status_equals"] = TrainingJobStatus(values["status_equals"])
        if "sort_by" in values:
            values["sort_by"] = SortBy(values["sort_by"])
        parsed = ListQuery(**values)
    except (ValueError, TypeError) as error:
        raise InvalidSpec(f"a list filter is not understood: {error}") from error
    if not 1 <= parsed.limit <= 1000:
        raise InvalidSpec(f"limit must be 1 to 1,000, got {parsed.limit}")
    return parsed
