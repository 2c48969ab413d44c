"""Statuses and end reasons: what each means, and which may follow which."""

from __future__ import annotations

from itertools import product

import pytest

from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus, may_follow

R, S, P = EndReason, TrainingJobStatus, SecondaryStatus
MEANINGS: list[tuple[EndReason, TrainingJobStatus, SecondaryStatus, str | None, bool]] = [
    # reason, status, secondary status, beginning of FailureReason, tried again
    (R.COMPLETED, S.COMPLETED, P.COMPLETED, None, False),
    (R.USER_STOP, S.STOPPED, P.STOPPED, None, False),
    (R.RULE_STOP, S.STOPPED, P.STOPPED, "RuleStop", False),
    (R.EARLY_STOPPED, S.STOPPED, P.STOPPED, "EarlyStopped", False),
    (R.MAX_RUNTIME, S.STOPPED, P.MAX_RUNTIME_EXCEEDED, None, False),
    (R.MAX_WAIT, S.STOPPED, P.MAX_WAIT_TIME_EXCEEDED, None, False),
    (R.MAX_PENDING, S.STOPPED, P.STOPPED, None, False),
    (R.EXIT_CODE, S.FAILED, P.FAILED, "AlgorithmError", False),
    (R.OUT_OF_MEMORY, S.FAILED, P.FAILED, "AlgorithmError", False),
    (R.DISK_QUOTA, S.FAILED, P.FAILED, "ClientError", False),
    (R.IMAGE_ERROR, S.FAILED, P.FAILED, "ClientError", False),
    (R.INPUT_ERROR, S.FAILED, P.FAILED, "ClientError", False),
    (R.CAPACITY, S.FAILED, P.FAILED, "CapacityError", False),
    (R.INTERRUPTED, S.FAILED, P.FAILED, "InternalServerError", True),
    (R.LOST, S.FAILED, P.FAILED, "InternalServerError", True),
    (R.INTERNAL, S.FAILED, P.FAILED, "InternalServerError", True),
]
ENDS = {P.COMPLETED, P.FAILED, P.STOPPED, P.MAX_RUNTIME_EXCEEDED, P.MAX_WAIT_TIME_EXCEEDED}
IN_ATTEMPT = [P.STARTING, P.DOWNLOADING, P.TRAINING, P.UPLOADING]


@pytest.mark.parametrize(
    ("reason", "status", "secondary", "prefix", "again"), MEANINGS, ids=lambda value: str(value)
)
def test_a_reason_means(
    reason: EndReason,
    status: TrainingJobStatus,
    secondary: SecondaryStatus,
    prefix: str | None,
    again: bool,
) -> None:
    assert reason.status is status
    assert reason.status.is_terminal
    assert reason.secondary_status is secondary
    assert reason.failure_prefix == prefix
    assert reason.is_infrastructure_fault is again


def test_the_table_has_every_reason_once() -> None:
    assert [row[0] for row in MEANINGS] == list(EndReason)


def test_these_are_the_ends() -> None:
    assert {reason.secondary_status for reason in EndReason} == ENDS
    assert {status for status in S if status.is_terminal} == {S.COMPLETED, S.FAILED, S.STOPPED}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_follows_an_end(end: SecondaryStatus) -> None:
    assert not any(may_follow(end, after) for after in P)


@pytest.mark.parametrize("before", [status for status in P if status not in ENDS])
def test_every_end_may_follow_what_is_none(before: SecondaryStatus) -> None:
    assert all(may_follow(before, end) for end in ENDS)


@pytest.mark.parametrize("status", P)
def test_nothing_follows_itself_and_nothing_goes_back_into_the_queue(
    status: SecondaryStatus,
) -> None:
    assert not may_follow(status, status)
    assert not may_follow(status, P.PENDING)


def test_within_an_attempt_it_only_goes_forward_and_steps_may_be_skipped() -> None:
    for (i, before), (j, after) in product(enumerate(IN_ATTEMPT), repeat=2):
        assert may_follow(before, after) == (i < j), (before, after)


def test_a_new_attempt_begins_at_its_start() -> None:
    for again in (P.RESTARTING, P.INTERRUPTED):
        assert {after for after in P if may_follow(again, after)} - ENDS == {
            P.STARTING,
            P.STOPPING,
        }
        assert not may_follow(P.PENDING, again)
        assert all(may_follow(before, again) for before in IN_ATTEMPT)


def test_what_is_stopping_only_uploads_or_ends() -> None:
    assert {after for after in P if may_follow(P.STOPPING, after)} == ENDS | {P.UPLOADING}
