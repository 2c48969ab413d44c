"""Fixed jobs and a service made of them, for tests of what the command shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.errors import InvalidState, NotFound, Unavailable
from orchestrator.sdk.tunings import Tunings
from orchestrator.spec.record import TrainingJobRecord

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PHASES = ("Pending", "Starting", "Training", "Uploading")


def at(seconds: float) -> datetime:
    """A time after the start of every job here."""
    return START + timedelta(seconds=seconds)


def transitions(last: str, *, attempt: int = 1) -> list[dict[str, Any]]:
    """One second in each phase, then the last status."""
    found: list[dict[str, Any]] = [
        {
            "status": phase,
            "started_at": at(second),
            "ended_at": at(second + 1),
            "message": f"{phase} now",
            "attempt": attempt if second else 0,
        }
        for second, phase in enumerate(PHASES)
    ]
    end = {"status": last, "started_at": at(4), "ended_at": at(4), "attempt": attempt}
    return [*found, end]


def record(name: str = "digits-1", **changes: Any) -> TrainingJobRecord:
    """A completed job; ``spec`` is merged, everything else replaced."""
    spec = {
        "training_job_name": name,
        "source_code": {"digest": "a" * 64, "entry_script": "train.py"},
        **changes.pop("spec", {}),
    }
    values: dict[str, Any] = {
        "number": 1,
        "spec": spec,
        "arn": f"arn:aws:sagemaker:us-east-1:000000000000:training-job/{name}",
        "status": "Completed",
        "secondary_status": "Completed",
        "end_reason": "completed",
        "message": "the program ended with exit code 0",
        "attempt": 1,
        "revision": 9,
        "created_at": at(0),
        "modified_at": at(4),
        "training_started_at": at(2),
        "training_ended_at": at(3),
        "ended_at": at(4),
        "transitions": transitions("Completed"),
        "hosts": [
            {
                "host": "algo-1",
                "rank": 0,
                "instance_group": "homogeneousCluster",
                "instance_type": "local",
                "outcome": "exited",
                "exit_code": 0,
            }
        ],
        "artifacts": {"model": {"uri": "file:///srv/model.tar.gz", "bytes": 2048, "files": 2}},
        "final_metrics": [{"name": "accuracy", "value": 0.9875, "step": 20, "at": at(3)}],
    }
    return TrainingJobRecord.model_validate(values | changes)


def failed(name: str = "bad-1", **why: Any) -> TrainingJobRecord:
    """A job whose program ended with an exception; ``why`` replaces parts of the explanation."""
    explanation = {
        "reason": "exit_code",
        "summary": "ValueError: boom at train.py:4 in step",
        "host": "algo-1",
        "exit_code": 3,
        "exception_type": "ValueError",
        "exception_message": "boom",
        "user_frame": "train.py:4 in step",
        "log_tail": ["starting", "ValueError: boom"],
        "hint": "do not raise it",
    }
    return record(
        name,
        status="Failed",
        secondary_status="Failed",
        end_reason="exit_code",
        message="the program exited with code 3",
        transitions=transitions("Failed"),
        artifacts={},
        final_metrics=[],
        explanation=explanation | why,
    )


def running(name: str = "live-1", **changes: Any) -> TrainingJobRecord:
    """A job in training."""
    values: dict[str, Any] = {
        "status": "InProgress",
        "secondary_status": "Training",
        "end_reason": None,
        "message": "Training program is running",
        "revision": 3,
        "ended_at": None,
        "transitions": [
            *transitions("Completed")[:2],
            {"status": "Training", "started_at": at(2), "attempt": 1},
        ],
        "artifacts": {},
        "final_metrics": [],
    }
    return record(name, **(values | changes))


class Jobs:
    """A transport to jobs in memory, newest last.

    Args:
        records: The jobs.
        logs: Bytes per (job, host).
        curves: Answers of ``metric_curve`` per (job, metric).
    """

    def __init__(
        self,
        *records: TrainingJobRecord,
        logs: dict[tuple[str, str], bytes] | None = None,
        curves: dict[tuple[str, str], dict[str, Any]] | None = None,
    ) -> None:
        self.records = {one.name: one for one in records}
        self.logs = logs or {}
        self.curves = curves or {}
        self.stopped: list[str] = []
        self.read_bytes = 0

    @property
    def tunings(self) -> Tunings:
        raise Unavailable("there are no tuning jobs here")

    def describe(self, name: str) -> dict[str, Any]:
        if name not in self.records:
            raise NotFound(f"there is no training job {name!r}")
        return self.records[name].model_dump(mode="json")

    def list_jobs(self, **query: Any) -> dict[str, Any]:
        wanted = query.get("name_contains") or ""
        rows = [summary(one) for one in reversed(self.records.values()) if wanted in one.name]
        start = int(query.get("cursor") or 0)
        limit = query.get("limit", 100)
        more = str(start + limit) if start + limit < len(rows) else None
        return {"jobs": rows[start : start + limit], "next_cursor": more}

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
        return self.describe(name)

    def stop(self, name: str, *, grace_seconds: float | None = None) -> dict[str, Any]:
        if self.records[name].status.is_terminal:
            raise InvalidState(f"{name} has ended")
        self.stopped.append(name)
        return self.describe(name)

    def tags(self, name: str) -> list[dict[str, str]]:
        return [tag.model_dump() for tag in self.records[name].spec.tags]

    def findings(self, name: str) -> dict[str, Any]:
        return {"job": self.describe(name)["spec"]["training_job_name"], "state": "off"}

    def list_tensors(self, name: str) -> list[dict[str, Any]]:
        return []

    def read_tensors(
        self, name: str, file: str, *, offset: int = 0, limit_bytes: int = 1 << 20
    ) -> dict[str, Any]:
        raise NotFound(f"{name} has no trace file {file!r}")

    def log_streams(self, name: str) -> list[dict[str, Any]]:
        return [
            {"host": host, "attempt": 1, "size_bytes": len(data), "finished": True}
            for (job, host), data in self.logs.items()
            if job == name
        ]

    def read_log(
        self,
        name: str,
        *,
        host: str,
        attempt: int | None = None,
        offset: int = 0,
        limit_bytes: int = 1 << 20,
        wait_seconds: float = 0,
    ) -> dict[str, Any]:
        data = self.logs.get((name, host), b"")[offset : offset + limit_bytes]
        self.read_bytes += len(data)
        whole = len(self.logs.get((name, host), b""))
        end = offset + len(data)
        return {"data": data, "next_offset": end, "finished": end >= whole}

    def last_metrics(self, name: str) -> list[dict[str, Any]]:
        return [
            {"name": metric, "value": curve["values"][-1], "step": curve["steps"][-1], "at": None}
            for (job, metric), curve in self.curves.items()
            if job == name
        ]

    def export_metrics(self, name: str, file_format: str, destination: Path) -> Path:
        destination.write_text(f"{name} as {file_format}")
        return destination

    def metric_curve(self, name: str, metric: str, *, max_points: int = 2000) -> dict[str, Any]:
        return self.curves[name, metric]

    def info(self) -> dict[str, Any]:
        return {}

    def ignored_settings(self) -> list[str]:
        return []

    def submit(
        self, spec: dict[str, Any], *, secrets: dict[str, str], idempotency_key: str
    ) -> dict[str, Any]:
        return running(spec["training_job_name"]).model_dump(mode="json")

    def delete(self, name: str) -> None:
        del self.records[name]

    def set_tags(
        self, name: str, *, put: list[dict[str, str]], remove: list[str]
    ) -> list[dict[str, str]]:
        return put

    def download(self, name: str, kind: str, destination: Path) -> Path:
        raise NotFound(f"{name} left no {kind} artifact")

    def put_source(self, archive: Path) -> str:
        return "a" * 64

    def close(self) -> None:
        return


def summary(job: TrainingJobRecord) -> dict[str, Any]:
    """One row of a list."""
    return {
        "number": job.number,
        "name": job.name,
        "arn": job.arn,
        "backend": job.spec.backend,
        "status": job.status.value,
        "secondary_status": job.secondary_status.value,
        "created_at": job.created_at.isoformat(),
        "modified_at": job.modified_at.isoformat(),
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
        "message": job.message,
    }


def curve(name: str, values: list[Any], steps: list[int] | None = None) -> dict[str, Any]:
    """One answer of ``metric_curve``."""
    return {
        "name": name,
        "total_points": len(values),
        "steps": steps if steps is not None else list(range(1, len(values) + 1)),
        "times": [1_770_000_000.0 + n for n in range(len(values))],
        "values": values,
    }
