"""What follows for one job: always the same for the same, nothing once it was done, legal steps only."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backends.base import HostStatus, Observation
from orchestrator.scheduler.outcome import PEER_FAILED
from orchestrator.scheduler.reconcile import (
    Action,
    ActionKind,
    Collected,
    Decision,
    StartFault,
    View,
    reconcile,
)
from orchestrator.spec.record import Explanation, TrainingJobRecord
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus, may_follow
from tests.unit.scheduler.seen import START, Desk, absent, exited, lost, running

STEPS = ("Downloading", "Training", "Uploading")
FAULTS = st.one_of(
    st.none(),
    st.builds(
        StartFault,
        st.sampled_from((None, EndReason.IMAGE_ERROR, EndReason.CAPACITY, EndReason.INTERNAL)),
        st.just("no such image"),
        st.just("algo-1"),
    ),
)


def after(seconds: float) -> Any:
    return START + timedelta(seconds=seconds)


def only(decision: Decision) -> Action:
    [action] = decision.actions
    return action


def ask_to_stop(desk: Desk, seconds: float = 1) -> TrainingJobRecord:
    return desk.store.request_stop(
        "job", intent=EndReason.USER_STOP, grace_seconds=None, now=after(seconds)
    )


# -- waiting -----------------------------------------------------------------------------------


def test_a_job_that_waits_is_left_alone() -> None:
    assert reconcile(Desk().job, View(), after(1e6)) == Decision()


def test_a_job_that_waited_too_long_is_stopped_and_says_for_what_it_waited() -> None:
    desk = Desk(stopping_condition={"max_pending_time_in_seconds": 60})
    assert reconcile(desk.job, View(), after(59.9)) == Decision()
    job = desk.apply(reconcile(desk.job, View(), after(60)))
    assert (job.status, job.end_reason) == (TrainingJobStatus.STOPPED, EndReason.MAX_PENDING)
    assert job.secondary_status is SecondaryStatus.STOPPED
    assert job.failure_reason is None
    assert job.message == (
        "not started within max_pending_time_in_seconds=60; Waiting to be placed"
    )
    assert job.ended_at == after(60)


def test_only_the_time_in_the_queue_is_pending_time() -> None:
    desk = Desk(stopping_condition={"max_pending_time_in_seconds": 60})
    desk.place()
    view = View(observations=[lost()], collected=Collected())
    job = desk.apply(reconcile(desk.job, view, after(5000)))
    assert not job.hosts
    assert reconcile(job, View(), after(5059)) == Decision()
    job = desk.apply(reconcile(job, View(), after(5060)))
    assert job.end_reason is EndReason.MAX_PENDING


def test_a_job_that_took_too_long_in_all_is_stopped_in_the_queue_and_out_of_it() -> None:
    limit = {"max_wait_time_in_seconds": 60}
    desk = Desk(stopping_condition=limit)
    job = desk.apply(reconcile(desk.job, View(), after(60)))
    assert (job.end_reason, job.secondary_status) == (
        EndReason.MAX_WAIT,
        SecondaryStatus.MAX_WAIT_TIME_EXCEEDED,
    )
    desk = Desk(stopping_condition=limit)
    desk.place()
    view = View(observations=[running("Training")])
    assert reconcile(desk.job, view, after(59)).actions == ()
    assert only(reconcile(desk.job, view, after(60))) == Action(ActionKind.STOP, "max_wait")
    stopped = exited("stopped", None, stop_intent="max_wait")
    view = View(observations=[stopped], collected=Collected())
    job = desk.apply(reconcile(desk.job, view, after(61)))
    assert job.end_reason is EndReason.MAX_WAIT


def test_a_job_that_is_stopped_in_the_queue_ends_at_once() -> None:
    desk = Desk()
    job = desk.apply(reconcile(ask_to_stop(desk), View(), after(2)))
    assert (job.status, job.end_reason) == (TrainingJobStatus.STOPPED, EndReason.USER_STOP)
    assert job.message == "stopped before it was started"


# -- living ------------------------------------------------------------------------------------


def test_hosts_that_are_not_there_are_started_once() -> None:
    job = Desk().place()
    for seen in ((), (absent(),)):
        assert only(reconcile(job, View(seen), after(1))).kind is ActionKind.START
        busy = View(seen, running=frozenset({ActionKind.START}))
        assert reconcile(job, busy, after(1)).actions == ()


def test_nothing_is_concluded_from_silence_and_the_message_goes_with_it() -> None:
    desk = Desk()
    desk.place()
    training = View([running("Training")])
    job = desk.apply(reconcile(desk.job, training, after(5)))
    assert job.message == "Training program is running"
    silent = View([Observation("algo-1", HostStatus.UNREACHABLE)])
    decision = reconcile(job, silent, after(6))
    assert decision.actions == ()
    job = desk.apply(decision)
    assert job.message.startswith("the engine does not answer")
    assert job.secondary_status is SecondaryStatus.TRAINING
    job = desk.apply(reconcile(job, training, after(7)))
    assert job.message == "Training program is running"
    assert reconcile(job, training, after(8)) == Decision()


def test_a_phase_counts_when_the_last_host_has_reached_it() -> None:
    desk = Desk(resource_config={"instance_count": 2})
    job = desk.place()
    first = running("Downloading", "Training")
    view = View([first, running("Downloading", host="algo-2", at=START.timestamp() + 10)])
    job = desk.apply(reconcile(job, view, after(20)))
    assert job.secondary_status is SecondaryStatus.DOWNLOADING
    assert job.transitions[-1].started_at == after(10)
    late = running("Downloading", "Training", host="algo-2", at=START.timestamp() + 10)
    job = desk.apply(reconcile(job, View([first, late]), after(20)))
    assert job.secondary_status is SecondaryStatus.TRAINING
    assert job.training_started_at == after(11)


def test_peers_of_a_host_that_failed_are_stopped_once() -> None:
    desk = Desk(resource_config={"instance_count": 2})
    job = desk.place()
    seen = [exited(code=1), running("Training", host="algo-2")]
    assert only(reconcile(job, View(seen), after(9))) == Action(ActionKind.STOP, PEER_FAILED)
    told = View(seen, stops_sent=frozenset({PEER_FAILED}))
    assert reconcile(job, told, after(9)).actions == ()


def test_a_start_that_will_be_tried_again_is_said_and_forgotten_when_it_worked() -> None:
    desk = Desk()
    placed = desk.place().message
    fault = StartFault(None, "the registry is away")
    view = View([absent()], start_fault=fault)
    job = desk.apply(reconcile(desk.job, view, after(1)))
    assert job.message == "will be tried again: the registry is away"
    job = desk.apply(reconcile(job, View([running()]), after(2)))
    assert job.message == placed


# -- ended -------------------------------------------------------------------------------------


def end(desk: Desk, seen: Observation, collected: Collected | None = None) -> TrainingJobRecord:
    view = View([seen], collected=collected or Collected())
    return desk.apply(reconcile(desk.job, view, after(70)))


def test_nothing_ends_before_its_artifacts_are_collected() -> None:
    desk = Desk()
    desk.place()
    for seen in (exited(), exited(code=1), lost()):
        decision = reconcile(desk.job, View([seen]), after(70))
        assert decision.update is None or decision.update.end_reason is None
        assert only(decision).kind is ActionKind.COLLECT
        busy = View([seen], running=frozenset({ActionKind.COLLECT}))
        assert reconcile(desk.job, busy, after(70)) == Decision()


def test_that_collecting_takes_long_is_written_down_while_it_does() -> None:
    desk = Desk()
    desk.place()
    phases = running(*STEPS).phases
    seen = exited(phases=list(phases))
    assert reconcile(desk.job, View([seen]), after(70)).update is None
    busy = View([seen], running=frozenset({ActionKind.COLLECT}))
    job = desk.apply(reconcile(desk.job, busy, after(71)))
    assert job.secondary_status is SecondaryStatus.UPLOADING
    assert job.training_started_at == after(1)
    job = end(desk, seen)
    assert [step.status.value for step in job.transitions] == [
        "Pending",
        "Starting",
        *STEPS,
        "Completed",
    ]


@pytest.mark.parametrize("code", [0, 1])
def test_the_end_brings_along_the_phases_that_were_not_written_down(code: int) -> None:
    desk = Desk(retry_strategy={"maximum_retry_attempts": 1, "retry_user_errors": True})
    desk.place()
    job = end(desk, exited(code=code, phases=list(running(*STEPS).phases)))
    last = "Restarting" if code else "Completed"
    assert job.training_started_at == after(1 if code else 0)  # an exit record knows better
    assert [step.status.value for step in job.transitions[2:]] == [*STEPS, last]
    assert [step.started_at for step in job.transitions[2:5]] == [after(0), after(1), after(2)]


def test_what_a_lost_host_had_reached_is_said_with_its_end() -> None:
    desk = Desk(retry_strategy={"maximum_retry_attempts": 0})
    desk.place()
    seen = replace(lost(), phases=running("Downloading", "Training").phases)
    job = end(desk, seen)
    assert job.training_started_at == after(1)
    assert [step.status.value for step in job.transitions[2:]] == [
        "Downloading",
        "Training",
        "Failed",
    ]


def test_a_host_that_is_lost_before_it_began_is_not_said_to_download() -> None:
    """Collecting was tried and is put off: until then nothing is started either."""
    desk = Desk()
    desk.place()
    view = View([lost()], running=frozenset({ActionKind.START, ActionKind.COLLECT}))
    assert reconcile(desk.job, view, after(70)) == Decision()


def test_a_clock_that_was_set_back_does_not_put_the_end_before_what_it_ended() -> None:
    desk = Desk()
    desk.place()
    view = View([exited(phases=list(running(*STEPS).phases))], collected=Collected())
    job = desk.apply(reconcile(desk.job, view, after(-3600)))
    assert job.ended_at == job.transitions[-1].started_at == after(2)


def test_a_stop_while_it_is_collected_does_not_let_it_upload_again() -> None:
    desk = Desk()
    desk.place()
    seen = exited(phases=list(running(*STEPS).phases))
    busy = View([seen], running=frozenset({ActionKind.COLLECT}))
    desk.apply(reconcile(desk.job, busy, after(61)))
    ask_to_stop(desk, 62)
    assert reconcile(desk.job, busy, after(63)).update is None
    job = end(desk, seen)
    assert [step.status.value for step in job.transitions[4:]] == [
        "Uploading",
        "Stopping",
        "Completed",
    ]


def test_a_failure_says_in_its_message_what_its_explanation_says() -> None:
    desk = Desk()
    desk.place()
    summary = "KeyError: 'missing' at helper.py:2"
    found = Explanation(reason=EndReason.EXIT_CODE, summary=summary, exit_code=1)
    job = end(desk, exited(code=1), Collected(explanation=found))
    assert job.status is TrainingJobStatus.FAILED
    assert job.message == job.transitions[-1].message == summary
    assert job.failure_reason == f"AlgorithmError: {summary} (algo-1), exit code: 1"
    assert job.explanation == found


def test_a_retry_says_why_the_attempt_before_it_failed_and_gives_everything_back() -> None:
    desk = Desk(retry_strategy={"maximum_retry_attempts": 1, "retry_user_errors": True})
    desk.place()
    found = Explanation(reason=EndReason.EXIT_CODE, summary="ValueError: no")
    job = end(desk, exited(code=1), Collected(explanation=found))
    assert (job.status, job.hosts) == (TrainingJobStatus.IN_PROGRESS, ())
    assert job.message == "attempt 1 ended (exit_code): ValueError: no; starting again"
    assert job.notes == {"attempt 1": "exit_code: ValueError: no"}
    desk.place(after(80))
    job = end(desk, exited(code=1), Collected(explanation=found))
    assert (job.status, job.attempt) == (TrainingJobStatus.FAILED, 2)


def test_a_machine_that_was_taken_away_is_an_interruption() -> None:
    desk = Desk()
    desk.place()
    job = end(desk, exited("stopped", None))
    assert job.secondary_status is SecondaryStatus.INTERRUPTED


def test_a_job_without_its_artifacts_has_not_completed() -> None:
    desk = Desk()
    desk.place()
    job = end(desk, exited(), Collected(unpublished="no such bucket"))
    assert (job.end_reason, job.message) == (EndReason.INPUT_ERROR, "no such bucket")


def test_a_host_that_cannot_be_started_fails_the_job_when_it_never_ran() -> None:
    desk = Desk()
    desk.place()
    fault = StartFault(EndReason.IMAGE_ERROR, "no such image", "algo-1")
    view = View([absent()], start_fault=fault)
    assert only(reconcile(desk.job, view, after(1))) == Action(ActionKind.STOP, PEER_FAILED)
    never = exited("stopped", None, started_at=None)
    view = View([never], start_fault=fault, collected=Collected())
    job = desk.apply(reconcile(desk.job, view, after(2)))
    assert job.end_reason is EndReason.IMAGE_ERROR
    assert job.failure_reason == "ClientError: no such image (algo-1)"


@pytest.mark.parametrize(
    "seen",
    [lost(), exited("stopped", None), exited(code=1), exited("internal", None)],
    ids=["lost", "stopped", "failed", "internal"],
)
def test_no_new_attempt_follows_a_stop(seen: Observation) -> None:
    desk = Desk(retry_strategy={"maximum_retry_attempts": 9, "retry_user_errors": True})
    desk.place()
    ask_to_stop(desk)
    update = reconcile(desk.job, View([seen], collected=Collected()), after(9)).update
    assert update is not None
    assert update.end_reason is not None


# -- whatever is seen --------------------------------------------------------------------------


@st.composite
def views(draw: st.DrawFn, hosts: int) -> View:
    """Anything that could be seen, also what makes no sense."""
    seen = []
    for rank in range(hosts):
        host = f"algo-{rank + 1}"
        at = START.timestamp() + draw(st.floats(-4000, 4000))
        phases = STEPS[: draw(st.integers(0, 3))]
        outcome: Any = draw(st.sampled_from(("exited", "stopped", "max_runtime", "internal")))
        code = draw(st.sampled_from((0, 1))) if outcome == "exited" else None
        intent = draw(st.sampled_from((None, PEER_FAILED, "user_stop")))
        back = draw(st.sampled_from((1, -3600)))  # the clock was set back in between
        history: Any = [{"phase": phase, "at": at + i * back} for i, phase in enumerate(phases)]
        choices = (
            absent(host),
            Observation(host, HostStatus.RUNNING, tuple(history)),
            lost(host),
            Observation(host, HostStatus.UNREACHABLE),
            exited(outcome, code, host, stop_intent=intent, phases=history, ended_at=at + 9),
        )
        seen.append(draw(st.sampled_from(choices)))
    return View(
        observations=tuple(seen),
        running=draw(st.frozensets(st.sampled_from((ActionKind.START, ActionKind.COLLECT)))),
        stops_sent=draw(st.frozensets(st.sampled_from((PEER_FAILED, "user_stop", "max_wait")))),
        start_fault=draw(FAULTS),
        collected=draw(st.sampled_from((None, Collected(), Collected(unpublished="full")))),
    )


@given(st.data(), st.integers(1, 3))
def test_decisions_are_pure_legal_and_done_when_they_are_done(
    data: st.DataObject, hosts: int
) -> None:
    limits = {"max_wait_time_in_seconds": 9000, "max_pending_time_in_seconds": 9000}
    desk = Desk(resource_config={"instance_count": hosts}, stopping_condition=limits)
    for _ in range(6):
        if desk.job.status.is_terminal:
            break
        now = after(data.draw(st.floats(-4000, 12_000)))
        if data.draw(st.integers(0, 5)) == 0:
            desk.store.request_stop("job", intent=EndReason.USER_STOP, grace_seconds=None, now=now)
        if not desk.job.hosts and desk.job.stop_intent is None:
            desk.place(now)
        view = data.draw(views(hosts)) if desk.job.hosts else View()
        before = desk.job
        decision = reconcile(before, view, now)
        assert reconcile(before.model_copy(deep=True), view, now) == decision
        desk.apply(decision)  # the store refuses illegal steps
        _check(before, desk.job)
        if desk.job.hosts != before.hosts or desk.job.status.is_terminal:
            continue
        settled = desk.apply(reconcile(desk.job, view, now))  # a note, behind a transition
        assert reconcile(settled, view, now).update is None
        assert reconcile(settled, view, now).actions == decision.actions


def _check(before: TrainingJobRecord, job: TrainingJobRecord) -> None:
    steps = [transition.status for transition in job.transitions]
    assert all(may_follow(one, two) for one, two in pairwise(steps))
    times = [transition.started_at for transition in job.transitions]
    assert times == sorted(times)
    assert job.attempt == before.attempt
    if job.status.is_terminal:
        assert job.end_reason is not None
        assert (job.status, job.secondary_status) == (
            job.end_reason.status,
            job.end_reason.secondary_status,
        )
        assert (job.failure_reason is not None) == (job.status is TrainingJobStatus.FAILED)
        assert len(job.failure_reason or "") <= 1024
