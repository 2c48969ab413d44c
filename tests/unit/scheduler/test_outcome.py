"""What the ends of all hosts mean: one reason, the host that decided it, whether it is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backends.base import HostStatus, Observation
from orchestrator.scheduler.outcome import failed, may_retry, verdict
from orchestrator.spec.job import RetryStrategy
from orchestrator.spec.state import EndReason, TrainingJobStatus
from tests.unit.scheduler.seen import absent, exited, lost, running

OUTCOMES = (
    "exited",
    "stopped",
    "max_runtime",
    "out_of_memory",
    "input_failed",
    "disk_quota",
    "install_failed",
    "not_started",
    "internal",
)
USER_STOPS = (EndReason.USER_STOP, EndReason.RULE_STOP, EndReason.EARLY_STOPPED)


@st.composite
def ends(draw: st.DrawFn) -> list[Observation]:
    """All hosts of an attempt, each ended somehow."""
    seen = []
    for rank in range(draw(st.integers(1, 4))):
        host = f"algo-{rank + 1}"
        outcome: Any = draw(st.sampled_from((*OUTCOMES, "lost")))
        if outcome == "lost":
            seen.append(lost(host))
            continue
        intent = draw(st.sampled_from((None, "peer_failed", "user_stop", "junk")))
        code = draw(st.sampled_from((0, 1, 137))) if outcome == "exited" else None
        at = draw(st.floats(1e9, 2e9))
        seen.append(exited(outcome, code, host, stop_intent=intent, ended_at=at))
    return seen


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (exited(code=0), EndReason.COMPLETED),
        (exited(code=1), EndReason.EXIT_CODE),
        (exited(code=None, signal=11), EndReason.EXIT_CODE),
        (exited("install_failed", None), EndReason.EXIT_CODE),
        (exited("not_started", None), EndReason.EXIT_CODE),
        (exited("out_of_memory", None), EndReason.OUT_OF_MEMORY),
        (exited("input_failed", None), EndReason.INPUT_ERROR),
        (exited("disk_quota", 0), EndReason.DISK_QUOTA),
        (exited("max_runtime", None), EndReason.MAX_RUNTIME),
        (exited("internal", None), EndReason.INTERNAL),
        (exited("stopped", None), EndReason.INTERRUPTED),
        (exited("stopped", None, stop_intent="max_wait"), EndReason.MAX_WAIT),
        (exited("stopped", None, stop_intent="user_stop"), EndReason.USER_STOP),
        (exited("stopped", None, stop_intent="junk"), EndReason.INTERRUPTED),
        (lost(), EndReason.LOST),
    ],
)
def test_the_end_of_a_host_has_one_meaning(seen: Observation, reason: EndReason) -> None:
    found = verdict([seen], None)
    assert found.reason is reason
    assert found.host == (None if reason is EndReason.COMPLETED else "algo-1")
    assert found.message


def test_the_host_that_failed_first_is_the_one_that_counts() -> None:
    early, late = exited(code=3, host="algo-2", ended_at=5.0), exited(code=1, ended_at=6.0)
    assert verdict([late, early], None).host == "algo-2"
    assert verdict([lost(), late], None).reason is EndReason.EXIT_CODE  # a known reason says more


def test_hosts_that_were_stopped_because_of_a_peer_are_not_the_reason() -> None:
    stopped = exited("stopped", None, stop_intent="peer_failed", ended_at=1.0)
    found = verdict([stopped, exited("out_of_memory", None, "algo-2", ended_at=2.0)], None)
    assert (found.reason, found.host) == (EndReason.OUT_OF_MEMORY, "algo-2")


def test_the_time_limit_says_more_than_how_the_hosts_died_of_it() -> None:
    found = verdict([exited(code=1), exited("max_runtime", None, "algo-2")], None)
    assert (found.reason, found.host) == (EndReason.MAX_RUNTIME, "algo-2")


@pytest.mark.parametrize("intent", USER_STOPS)
def test_a_stop_that_was_asked_for_ends_as_that_whatever_the_program_did(
    intent: EndReason,
) -> None:
    assert verdict([exited("stopped", None)], intent).reason is intent
    assert verdict([exited("stopped", None), exited(code=1, host="algo-2")], intent).reason is (
        intent
    )
    gone = verdict([lost("algo-1")], intent)
    assert gone.reason is intent
    assert "algo-1 disappeared before saving anything" in gone.message


@pytest.mark.parametrize("intent", USER_STOPS)
def test_what_ended_before_the_stop_came_ends_as_it_did(intent: EndReason) -> None:
    assert verdict([exited(code=0)], intent).reason is EndReason.COMPLETED
    assert verdict([exited(code=1)], intent).reason is EndReason.EXIT_CODE


def test_a_success_repeats_what_its_supervisor_found_remarkable() -> None:
    plain = exited(code=0, message="ended with exit code 0")
    assert verdict([plain], None).message == "the program ended with exit code 0"
    odd = exited(code=0, message="ended with exit code 0; it left processes behind")
    assert "it left processes behind" in verdict([plain, odd], None).message


@given(ends(), st.sampled_from((None, *USER_STOPS)))
def test_every_end_has_a_reason_and_always_the_same(
    seen: list[Observation], intent: EndReason | None
) -> None:
    found = verdict(seen, intent)
    assert verdict(list(seen), intent) == found
    assert found.host is None or found.host in {one.host for one in seen}
    succeeded = all(one.exit and one.exit["exit_code"] == 0 for one in seen) and not any(
        map(failed, seen)
    )
    assert (found.reason is EndReason.COMPLETED) == succeeded


@given(ends())
def test_nobody_is_said_to_have_asked_for_a_stop_when_nobody_did(seen: list[Observation]) -> None:
    asked = any(one.exit and one.exit["stop_intent"] == "user_stop" for one in seen)
    assert asked or verdict(seen, None).reason is not EndReason.USER_STOP


def test_only_an_end_that_went_wrong_makes_the_peers_stop() -> None:
    assert failed(lost())
    assert failed(exited(code=1))
    for outcome in ("out_of_memory", "install_failed", "not_started", "internal"):
        assert failed(exited(outcome, None))
    for fine in (absent(), running(), exited(code=0), exited("stopped", None)):
        assert not failed(fine)
    assert not failed(exited("max_runtime", None))
    assert not failed(Observation("algo-1", HostStatus.UNREACHABLE))


# -- retries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", EndReason)
def test_what_is_tried_again(reason: EndReason) -> None:
    platform = {EndReason.INTERRUPTED, EndReason.LOST, EndReason.INTERNAL}
    program = {EndReason.EXIT_CODE, EndReason.OUT_OF_MEMORY, EndReason.DISK_QUOTA}
    policy = RetryStrategy(maximum_retry_attempts=1)
    asked = RetryStrategy(maximum_retry_attempts=1, retry_user_errors=True)
    assert may_retry(reason, 1, policy) == (reason in platform)
    assert may_retry(reason, 1, asked) == (reason in platform | program)


@given(st.sampled_from(EndReason), st.integers(1, 40), st.integers(0, 30), st.booleans())
def test_attempts_are_the_first_and_as_many_as_were_allowed_behind_it(
    reason: EndReason, attempt: int, allowed: int, program: bool
) -> None:
    policy = RetryStrategy(maximum_retry_attempts=allowed, retry_user_errors=program)
    again = may_retry(reason, attempt, policy)
    assert not (again and attempt > allowed)
    assert not (again and reason.status is not TrainingJobStatus.FAILED)
