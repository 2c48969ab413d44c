"""The use cases as plain functions of JSON values: one table for every local way in."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from orchestrator.service import requests
from orchestrator.spec.redact import redacted_record, redacted_tuning
from orchestrator.spec.state import EndReason
from orchestrator.store.base import ListQuery, Page
from orchestrator.store.tuning import TunedQuery

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.service.assemble import Service
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.tuned import TuningOverview

_PAGE = TypeAdapter(Page)


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

    def submit(self, **request: Any) -> dict[str, Any]:
        asked = requests.Submit.parse(request)
        job = self._service.jobs.submit(
            asked.spec, secrets=asked.secrets, idempotency_key=asked.idempotency_key
        )
        return record(job)

    def describe(self, name: str) -> dict[str, Any]:
        return record(self._service.jobs.describe(name))

    def list_jobs(self, **query: Any) -> dict[str, Any]:
        given = {key: value for key, value in query.items() if value is not None}
        page = self._service.jobs.list(ListQuery(**dict(requests.ListJobs.parse(given))))
        return _PAGE.dump_python(page, mode="json")  # type: ignore[no-any-return]

    def wait(self, **request: Any) -> dict[str, Any]:
        return record(self._service.jobs.wait(**dict(requests.Wait.parse(request))))

    def stop(self, **request: Any) -> dict[str, Any]:
        asked = requests.Stop.parse(request)
        return record(
            self._service.jobs.stop(
                asked.name, intent=EndReason.USER_STOP, grace_seconds=asked.grace_seconds
            )
        )

    def delete(self, name: str) -> None:
        self._service.jobs.delete(name)

    def tags(self, name: str) -> list[dict[str, str]]:
        return [tag.model_dump() for tag in self._service.jobs.tags(name)]

    def set_tags(self, **request: Any) -> list[dict[str, str]]:
        tags = self._service.jobs.set_tags(**dict(requests.SetTags.parse(request)))
        return [tag.model_dump() for tag in tags]

    def counts(self) -> dict[str, int]:
        return self._service.jobs.counts()

    def log_streams(self, name: str) -> list[dict[str, Any]]:
        return [asdict(stream) for stream in self._service.logs.streams(name)]

    def read_log(self, **request: Any) -> dict[str, Any]:
        chunk = asdict(self._service.logs.read(**dict(requests.ReadLog.parse(request))))
        return {**chunk, "data": base64.b64encode(chunk["data"]).decode("ascii")}

    def last_metrics(self, name: str) -> list[dict[str, Any]]:
        values = self._service.metrics.last(self._service.jobs.describe(name))
        return [value.model_dump(mode="json") for value in values]

    def metric_curve(self, **request: Any) -> dict[str, Any]:
        return self._service.metrics.curve(**dict(requests.MetricCurve.parse(request)))

    def findings(self, name: str) -> dict[str, Any]:
        return self._service.findings.report(name).model_dump(mode="json")

    def list_tensors(self, name: str) -> list[dict[str, Any]]:
        return [file.model_dump(mode="json") for file in self._service.findings.traces(name)]

    def read_tensors(self, **request: Any) -> dict[str, Any]:
        asked = dict(requests.ReadTensors.parse(request))
        chunk = asdict(self._service.findings.read_trace(**asked))
        return {**chunk, "data": base64.b64encode(chunk["data"]).decode("ascii")}

    def create_tuning_job(self, **request: Any) -> dict[str, Any]:
        asked = requests.CreateTuningJob.parse(request)
        self._service.tunings.create(
            asked.spec, secrets=asked.secrets, idempotency_key=asked.idempotency_key
        )
        return self.describe_tuning_job(asked.spec.tuning_job_name)

    def describe_tuning_job(self, name: str) -> dict[str, Any]:
        return overview(self._service.tunings.describe(name))

    def wait_tuning_job(self, **request: Any) -> dict[str, Any]:
        return overview(self._service.tunings.wait(**dict(requests.Wait.parse(request))))

    def list_tuning_jobs(self, **query: Any) -> dict[str, Any]:
        given = {key: value for key, value in query.items() if value is not None}
        page = self._service.tunings.list(ListQuery(**dict(requests.ListJobs.parse(given))))
        return {
            "jobs": [redacted_tuning(job).model_dump(mode="json") for job in page.jobs],
            "next_cursor": page.next_cursor,
        }

    def list_tuned_jobs(self, name: str, **query: Any) -> dict[str, Any]:
        given = {key: value for key, value in query.items() if value is not None}
        asked = TunedQuery(**dict(requests.ListTunedJobs.parse(given)))
        page = self._service.tunings.jobs(name, asked)
        return {
            "jobs": [job.model_dump(mode="json") for job in page.jobs],
            "next_cursor": page.next_cursor,
        }

    def tuning_importance(self, **request: Any) -> dict[str, Any]:
        asked = requests.TuningImportance.parse(request)
        return asdict(self._service.tuning_analysis.importance(asked.name, asked.objective))

    def tuning_report(self, name: str) -> str:
        return self._service.tuning_analysis.report(name)

    def stop_tuning_job(self, name: str) -> dict[str, Any]:
        self._service.tunings.stop(name)
        return self.describe_tuning_job(name)

    def delete_tuning_job(self, name: str) -> None:
        self._service.tunings.delete(name)


def overview(seen: TuningOverview) -> dict[str, Any]:
    """Return a tuning job as JSON values, less the values of secrets."""
    shown = seen.model_copy(update={"record": redacted_tuning(seen.record)})
    return shown.model_dump(mode="json")


def record(job: TrainingJobRecord) -> dict[str, Any]:
    """Return a job's record as JSON values, less the values of secrets."""
    return redacted_record(job).model_dump(mode="json")
