"""Jobs with channels, on every kind of fence and in Docker: one way to run a script and read what it printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.blobs.bucket_values import Facts
from orchestrator.blobs.buckets import BucketStore
from orchestrator.embedded import LocalTransport
from orchestrator.spec.record import TrainingJobRecord
from tests.e2e.machine import ended

START = 'exec python3 "$SM_CHANNEL_CODE/train.py"'


@dataclass(frozen=True)
class Ended:
    """A job that has ended, and the lines of each of its hosts."""

    record: TrainingJobRecord
    logs: Mapping[str, list[str]]

    @property
    def lines(self) -> list[str]:
        """Of the first host."""
        return self.logs["algo-1"]

    def said(self, host: str = "algo-1") -> Any:
        """The JSON that a host printed last; the job must have succeeded."""
        assert self.record.status == "Completed", (self.record.failure_reason, self.logs)
        return json.loads(self.logs[host][-1])


@dataclass
class Runner:
    """Runs scripts in one home.

    Attributes:
        image: Of Docker; None = the process back end.
    """

    transport: LocalTransport
    home: Path
    folder: Path
    image: str | None = None
    jobs: int = 0

    def submit(self, script: str, channels: Iterable[Mapping[str, Any]], **spec: Any) -> str:
        """Submit a script; return the job's name."""
        self.jobs += 1
        name = f"job-{self.jobs}"
        code = self.folder / f"code-{self.jobs}"
        code.mkdir()
        (code / "train.py").write_text(script, encoding="utf-8")
        algorithm: dict[str, Any] = {"container_entrypoint": ["/bin/sh", "-c", START]}
        if self.image is not None:
            algorithm["training_image"] = self.image
        algorithm |= spec.pop("algorithm_specification", {})
        own = {"channel_name": "code", "uri": str(code), "input_mode": "File"}
        request = {
            "training_job_name": name,
            "algorithm_specification": algorithm,
            "backend": "docker" if self.image else "process",
            "input_data_config": [own, *channels],
            **spec,
        }
        self.transport.submit(request, secrets={}, idempotency_key=name)
        return name

    def run(self, script: str, *channels: Mapping[str, Any], **spec: Any) -> Ended:
        """Run a script to its end."""
        return self.end(self.submit(script, channels, **spec))

    def end(self, name: str) -> Ended:
        """Wait for the end of a job."""
        record = ended(self.home, name)
        return Ended(record, {h.host: self._lines(name, h.host) for h in record.hosts})

    def _lines(self, name: str, host: str) -> list[str]:
        log = self.home / "jobs" / name / "attempts" / "1" / host / "log"
        return log.read_text("utf-8", "replace").splitlines() if log.exists() else []

    def left(self, name: str) -> list[str]:
        """What an ended job still has of its inputs."""
        folder = self.home / "jobs" / name
        return [str(p) for p in (folder / "inputs", folder / "attempts/1/algo-1/ml") if p.exists()]


def put(store: BucketStore, bucket: str, objects: Mapping[str, bytes]) -> None:
    """Fill a bucket, which is made."""
    if not store.has_bucket(bucket):
        store.create_bucket(bucket)
    for key, data in objects.items():
        with store.writer() as writer:
            writer.write(data)
            store.put(bucket, key, writer.finish(), writer.etag, Facts())


def read(store: BucketStore, bucket: str, key: str) -> bytes:
    """The bytes of an object."""
    with store.open(store.get(bucket, key)) as stream:
        return stream.read()
