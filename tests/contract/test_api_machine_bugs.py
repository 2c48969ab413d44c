"""The state machine of the API is itself tested: it must find these bugs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from orchestrator.errors import InvalidState
from orchestrator.scheduler import reconcile as reconcile_module
from orchestrator.scheduler.effects import Effects
from orchestrator.service import jobs as jobs_module
from orchestrator.service.jobs import JobService
from orchestrator.service.metrics import MetricService
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store import memory as memory_module
from orchestrator.store.memory import MemoryStore
from tests.contract.test_api_machine import OverMemory
from tests.unit.service.world import Refused

# The bugs reach into everything, as no caller may.
jobs: Any = jobs_module
memory: Any = memory_module
reconciling: Any = reconcile_module


def _keeps_the_metrics_of_deleted_jobs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MetricService, "delete", lambda *_: None)


def _frees_a_name_before_its_job_is_cleaned_up_after(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(JobService, "_await_clean_up", lambda *_: None)


def _takes_any_request_with_a_known_key_for_the_same(patch: pytest.MonkeyPatch) -> None:
    real = jobs._required_idempotency
    patch.setattr(
        jobs, "_required_idempotency", lambda spec, key: replace(real(spec, key), fingerprint="")
    )


def _counts_stopping_jobs_twice(patch: pytest.MonkeyPatch) -> None:
    real = MemoryStore.count_by_status

    def counts(self: MemoryStore) -> dict[TrainingJobStatus, int]:
        found = real(self)
        found[TrainingJobStatus.IN_PROGRESS] += found[TrainingJobStatus.STOPPING]
        return found

    patch.setattr(MemoryStore, "count_by_status", counts)


def _shows_the_last_row_of_a_page_again(patch: pytest.MonkeyPatch) -> None:
    real = memory._is_behind
    patch.setattr(
        memory, "_is_behind", lambda here, last, query: here == last or real(here, last, query)
    )


def _lets_a_replaced_driver_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "_check_lease", lambda *_: None)


def _lets_a_later_stop_win(patch: pytest.MonkeyPatch) -> None:
    real = MemoryStore.request_stop

    def request_stop(self: MemoryStore, name: str, **request: Any) -> Any:
        record = self._job(name).record
        if record.stop_intent is not None and not record.status.is_terminal:
            again = replace(
                self._job(name), record=record.model_copy(update={"stop_intent": None})
            )
            self._rows.jobs[record.number] = again
        return real(self, name, **request)

    patch.setattr(MemoryStore, "request_stop", request_stop)


def _tries_again_what_was_stopped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        reconciling,
        "_retries",
        lambda job, found: (
            reconciling.may_retry(found.reason, job.attempt, job.spec.retry_strategy)
            or (job.stop_intent is not None and job.attempt == 1)
        ),
    )


def _leaves_ended_jobs_marked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Effects, "release", lambda *_a, **_k: None)


BUGS = [
    _keeps_the_metrics_of_deleted_jobs,
    _frees_a_name_before_its_job_is_cleaned_up_after,
    _takes_any_request_with_a_known_key_for_the_same,
    _counts_stopping_jobs_twice,
    _shows_the_last_row_of_a_page_again,
    _lets_a_replaced_driver_write,
    _lets_a_later_stop_win,
    _tries_again_what_was_stopped,
    _leaves_ended_jobs_marked,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__.strip("_"))
def test_the_machine_finds_a_service_that(
    bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    # A bug may also show as the store refusing what the driver asks for.
    with pytest.raises((AssertionError, Refused, InvalidState, pytest.fail.Exception)):
        run_state_machine_as_test(
            OverMemory,
            settings=settings(
                max_examples=300,
                stateful_step_count=50,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                print_blob=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
