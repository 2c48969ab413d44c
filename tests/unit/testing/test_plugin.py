"""The pytest fixtures leave nothing behind, whatever ends meanwhile."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orchestrator.errors import InvalidState, StoreError
from orchestrator.testing.plugin import stop_jobs

RUNNING, ENDED = None, 12.5


class Tunings:
    """Tuning jobs, by name, with the moment of their end."""

    def __init__(self, said: list[str]) -> None:
        self._said = said
        self.ends: dict[str, float | None] = {}

    def list(self, **_: Any) -> dict[str, Any]:
        return {
            "jobs": [
                {"spec": {"tuning_job_name": name}, "ended_at": end}
                for name, end in self.ends.items()
            ]
        }

    def stop(self, name: str) -> dict[str, Any]:
        self._said.append(name)
        return {}


class Service:
    """A service that writes down what it is asked to stop, and may refuse."""

    def __init__(self, refusals: dict[str, Exception] | None = None) -> None:
        self.asked: list[str] = []
        self.tunings = Tunings(self.asked)
        self.ends: dict[str, float | None] = {}
        self._refusals = refusals or {}

    def list_jobs(self, **_: Any) -> dict[str, Any]:
        return {"jobs": [{"name": name, "ended_at": end} for name, end in self.ends.items()]}

    def stop(self, name: str, *, grace_seconds: float | None = None) -> dict[str, Any]:
        assert grace_seconds == 0
        self.asked.append(name)
        if name in self._refusals:
            raise self._refusals[name]
        return {}


def test_what_runs_is_stopped_and_tuning_jobs_first() -> None:
    service = Service()
    service.ends = {"one": RUNNING, "two": ENDED, "three": RUNNING}
    service.tunings.ends = {"search": RUNNING, "past": ENDED}
    stop_jobs(cast("Any", service))
    assert service.asked == ["search", "one", "three"]


def test_a_job_that_ends_between_the_list_and_the_stop_is_no_error() -> None:
    service = Service({"one": InvalidState("only a job that has not ended can be stopped")})
    service.ends = {"one": RUNNING, "two": RUNNING}
    stop_jobs(cast("Any", service))
    assert service.asked == ["one", "two"]


def test_any_other_refusal_is_told() -> None:
    service = Service({"one": StoreError("the disk is full")})
    service.ends = {"one": RUNNING}
    with pytest.raises(StoreError, match="disk is full"):
        stop_jobs(cast("Any", service))
