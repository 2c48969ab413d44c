"""The calls of tuning jobs: one interface, whichever way the service is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.sdk import bodies
from orchestrator.sdk.paths import tuning_job_path

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx


class Tunings(Protocol):
    """The use cases of tuning jobs as calls with JSON values; see ``transport.Transport``."""

    def create(
        self, spec: dict[str, Any], *, secrets: dict[str, str], idempotency_key: str
    ) -> dict[str, Any]:
        """Begin a tuning job; return it as ``describe`` does. A repeated call returns the same."""
        ...

    def describe(self, name: str) -> dict[str, Any]:
        """Return a tuning job summed up; see ``spec.tuned.TuningOverview``."""
        ...

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
        """Return the same once its record's revision is above ``after``, or when time is over."""
        ...

    def list(self, **query: Any) -> dict[str, Any]:
        """Return ``{"jobs": [...], "next_cursor": ...}``; see ``store.base.ListQuery``."""
        ...

    def jobs(self, name: str, **query: Any) -> dict[str, Any]:
        """Return the same of its training jobs; see ``store.tuning.TunedQuery``."""
        ...

    def importance(self, name: str, objective: str | None = None) -> dict[str, Any]:
        """Return ``{"objective", "training_jobs", "shares"}`` of the hyperparameters."""
        ...

    def report(self, name: str) -> str:
        """Return a page about a tuning job, as HTML that needs nothing else."""
        ...

    def stop(self, name: str) -> dict[str, Any]:
        """Ask a tuning job to stop; return it as ``describe`` does. Idempotent."""
        ...

    def delete(self, name: str) -> None:
        """Forget an ended tuning job; its training jobs stay."""
        ...


class LocalTunings:
    """Over the calls of a home directory.

    Args:
        call: Calls a method by name.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def create(
        self, spec: dict[str, Any], *, secrets: dict[str, str], idempotency_key: str
    ) -> dict[str, Any]:
        """Begin a tuning job."""
        return self._call(  # type: ignore[no-any-return]
            "create_tuning_job", spec=spec, secrets=secrets, idempotency_key=idempotency_key
        )

    def describe(self, name: str) -> dict[str, Any]:
        """Return a tuning job summed up."""
        return self._call("describe_tuning_job", name=name)  # type: ignore[no-any-return]

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
        """Return a tuning job at its next change."""
        return self._call(  # type: ignore[no-any-return]
            "wait_tuning_job", name=name, after=after, timeout_seconds=timeout_seconds
        )

    def list(self, **query: Any) -> dict[str, Any]:
        """Return one page."""
        return self._call("list_tuning_jobs", **query)  # type: ignore[no-any-return]

    def jobs(self, name: str, **query: Any) -> dict[str, Any]:
        """Return one page of its training jobs."""
        return self._call("list_tuned_jobs", name=name, **query)  # type: ignore[no-any-return]

    def importance(self, name: str, objective: str | None = None) -> dict[str, Any]:
        """Return shares of the hyperparameters."""
        return self._call("tuning_importance", name=name, objective=objective)  # type: ignore[no-any-return]

    def report(self, name: str) -> str:
        """Return a page about a tuning job."""
        return self._call("tuning_report", name=name)  # type: ignore[no-any-return]

    def stop(self, name: str) -> dict[str, Any]:
        """Ask a tuning job to stop."""
        return self._call("stop_tuning_job", name=name)  # type: ignore[no-any-return]

    def delete(self, name: str) -> None:
        """Forget an ended tuning job."""
        self._call("delete_tuning_job", name=name)


class HttpTunings:
    """Over a service's address.

    Args:
        call: Sends a request, again while the service does not answer; raises what it answers.
        delete: Deletes what is at a path, likewise.
    """

    def __init__(self, call: Callable[..., httpx.Response], delete: Callable[[str], None]) -> None:
        self._call = call
        self._delete = delete

    def create(
        self, spec: dict[str, Any], *, secrets: dict[str, str], idempotency_key: str
    ) -> dict[str, Any]:
        """Begin a tuning job."""
        sent = bodies.submission({"spec": spec, "secrets": secrets}, idempotency_key)
        return self._json("POST", "/tuning-jobs", **sent)

    def describe(self, name: str) -> dict[str, Any]:
        """Return a tuning job summed up."""
        return self._json("GET", tuning_job_path(name))

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
        """Return a tuning job at its next change."""
        return self._json("GET", tuning_job_path(name), **bodies.waiting(after, timeout_seconds))

    def list(self, **query: Any) -> dict[str, Any]:
        """Return one page."""
        return self._json("GET", "/tuning-jobs", params=bodies.given(query))

    def jobs(self, name: str, **query: Any) -> dict[str, Any]:
        """Return one page of its training jobs."""
        path = f"{tuning_job_path(name)}/training-jobs"
        return self._json("GET", path, params=bodies.given(query))

    def importance(self, name: str, objective: str | None = None) -> dict[str, Any]:
        """Return shares of the hyperparameters."""
        path = f"{tuning_job_path(name)}/importance"
        return self._json("GET", path, params=bodies.given({"objective": objective}))

    def report(self, name: str) -> str:
        """Return a page about a tuning job."""
        return self._call("GET", f"{tuning_job_path(name)}/report").text

    def stop(self, name: str) -> dict[str, Any]:
        """Ask a tuning job to stop."""
        return self._json("POST", f"{tuning_job_path(name)}/stop")

    def delete(self, name: str) -> None:
        """Forget an ended tuning job."""
        self._delete(tuning_job_path(name))

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._call(method, path, **request).json()
        return found
