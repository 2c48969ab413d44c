"""How the SDK reaches the service: one interface, whichever way."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import InvalidSpec
from orchestrator.home import home_directory

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.sdk.tunings import Tunings

URL_VARIABLE = "ORCHESTRATOR_URL"
ARTIFACT_KINDS = ("model", "output", "last_model")
EXPORT_FORMATS = ("csv", "parquet", "tensorboard")


class Transport(Protocol):
    """The use cases as calls with JSON values. Thread-safe.

    Raises (any method):
        OrchestratorError: What the service raised, rebuilt on this side.
        Unavailable: The service does not answer.
    """

    def info(self) -> dict[str, Any]:
        """Return what the service is and can do."""
        ...

    def ignored_settings(self) -> list[str]:
        """Return, in words, which settings of this process's environment have no effect."""
        ...

    @property
    def tunings(self) -> Tunings:
        """The calls of tuning jobs."""
        ...

    def put_source(self, archive: Path) -> str:
        """Upload a packed source; return its digest. Idempotent."""
        ...

    def submit(
        self, spec: dict[str, Any], *, secrets: dict[str, str], idempotency_key: str
    ) -> dict[str, Any]:
        """Submit a job; return its record. A repeated call returns the same job."""
        ...

    def describe(self, name: str) -> dict[str, Any]:
        """Return a job's record."""
        ...

    def list_jobs(self, **query: Any) -> dict[str, Any]:
        """Return ``{"jobs": [...], "next_cursor": ...}``; see ``store.base.ListQuery``."""
        ...

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
        """Return a job's record once its revision is above ``after``, or when time is over."""
        ...

    def stop(self, name: str, *, grace_seconds: float | None = None) -> dict[str, Any]:
        """Ask a job to stop; return its record."""
        ...

    def delete(self, name: str) -> None:
        """Forget an ended job and its files."""
        ...

    def tags(self, name: str) -> list[dict[str, str]]:
        """Return a job's tags."""
        ...

    def set_tags(
        self, name: str, *, put: list[dict[str, str]], remove: list[str]
    ) -> list[dict[str, str]]:
        """Change a job's tags and return them all."""
        ...

    def log_streams(self, name: str) -> list[dict[str, Any]]:
        """Return a job's log streams: host, attempt, size_bytes, finished."""
        ...

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
        """Return bytes of one stream: data (bytes), next_offset, finished."""
        ...

    def last_metrics(self, name: str) -> list[dict[str, Any]]:
        """Return the last point of each metric so far: name, value, step (or None), at."""
        ...

    def metric_curve(self, name: str, metric: str, *, max_points: int = 2000) -> dict[str, Any]:
        """Return one curve: steps, times (epoch seconds), values, total_points, has_steps."""
        ...

    def findings(self, name: str) -> dict[str, Any]:
        """Return what a job's debugger found; see ``spec.findings.FindingsReport``."""
        ...

    def list_tensors(self, name: str) -> list[dict[str, Any]]:
        """Return the files with what was recorded of a job: name, size_bytes."""
        ...

    def read_tensors(
        self, name: str, file: str, *, offset: int = 0, limit_bytes: int = 1 << 20
    ) -> dict[str, Any]:
        """Return bytes of one of these: data (bytes), size_bytes, next_offset, finished."""
        ...

    def export_metrics(self, name: str, file_format: str, destination: Path) -> Path:
        """Write all points of all metrics to a file, or into a directory for TensorBoard."""
        ...

    def download(self, name: str, kind: str, destination: Path) -> Path:
        """Put an artifact (``model`` or ``output``) into a directory; return its path."""
        ...

    def close(self) -> None:
        """Release connections. Idempotent."""
        ...


def connect(
    url: str | None = None, *, home: Path | None = None, token: str | None = None
) -> Transport:
    """Return a transport to the service.

    Args:
        url: Of a running service; by default ``$ORCHESTRATOR_URL``. Without one, the home
            directory is used directly.
        home: Home directory; by default ``$ORCHESTRATOR_HOME`` or ``~/.orchestrator``.
        token: Bearer token for the URL; by default ``$ORCHESTRATOR_TOKEN`` or the one in the
            home directory.

    Raises:
        InvalidSpec: There is no URL and this is Windows, where no service can be.
    """
    url = url or os.environ.get(URL_VARIABLE)
    if url:
        http: Any = importlib.import_module("orchestrator.sdk.http")
        return http.HttpTransport(url, token=token, home=home or home_directory())  # type: ignore[no-any-return]
    if sys.platform == "win32":
        raise InvalidSpec(
            f"{URL_VARIABLE} must be set on Windows: jobs run on Linux and macOS only; start "
            "`orchestrator serve` there or in WSL2, and set its address"
        )
    embedded: Any = importlib.import_module("orchestrator.embedded")
    return embedded.LocalTransport(home or home_directory())  # type: ignore[no-any-return]


def check_artifact_kind(kind: str) -> None:
    """Refuse what no job can leave.

    Raises:
        InvalidSpec: It is none of ``ARTIFACT_KINDS``.
    """
    if kind not in ARTIFACT_KINDS:
        raise InvalidSpec(f"kind must be 'model', 'output' or 'last_model', got {kind!r}")


def check_export_format(file_format: str) -> None:
    """Refuse what points cannot be written as.

    Raises:
        InvalidSpec: It is none of the formats.
    """
    if file_format not in EXPORT_FORMATS:
        raise InvalidSpec(
            f"the format must be one of {', '.join(EXPORT_FORMATS)}, got {file_format!r}; "
            "choose one of them"
        )
