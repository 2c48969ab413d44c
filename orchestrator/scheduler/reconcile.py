"""What to do with one placed job: a pure function of its record, what is seen, and the time.

Level-triggered: nothing here remembers; whatever happened, the next call decides from what is
there. Effects come out as ``Action`` values that are idempotent, state changes as one
``JobUpdate`` that is applied by compare-and-set.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.backends.base import HostStatus, Observation
from orchestrator.clock import from_epoch
from orchestrator.scheduler.ages import Age
from orchestrator.scheduler.notes import collect_notes, run_notes
from orchestrator.scheduler.outcome import (
    PEER_FAILED,
    Verdict,
    failed,
    may_retry,
    verdict,
    why_stopped,
)
from orchestrator.scheduler.phases import began_to_train, phases_reached, transition
from orchestrator.spec.record import (
    Artifact,
    Explanation,
    HostRecord,
    MetricValue,
    TrainingJobRecord,
    Transition,
)
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus
from orchestrator.store.base import JobUpdate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator_runtime.contract import ExitRecord

FAILURE_REASON_MAX_CHARACTERS = 1024


class ActionKind(StrEnum):
    """The effects the driver carries out, each idempotent."""

    START = "start"  # stage inputs and start every host
    STOP = "stop"  # ask every host that still runs to stop
    COLLECT = "collect"  # publish artifacts, gather final metrics, explain a failure
    RELEASE = "release"  # remove what the attempt leaves behind


@dataclass(frozen=True)
class Action:
    """One effect for one attempt.

    Attributes:
        intent: For STOP: an end reason, or ``peer_failed``.
        verdict: For COLLECT: what the attempt's end means.
    """

    kind: ActionKind
    intent: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Collected:
    """What a COLLECT action brought.

    Attributes:
        fault: Why it brought less than it should: a defect of this program.
        unpublished: Why the artifacts are not where they should be, and never will be.
        early: What is to be said of a job that asks for early stopping.
    """

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    final_metrics: tuple[MetricValue, ...] = ()
    explanation: Explanation | None = None
    fault: str | None = None
    unpublished: str | None = None
    early: str | None = None


@dataclass(frozen=True)
class StartFault:
    """Why hosts could not be started.

    Attributes:
        reason: The end reason it leads to; None = passing trouble, tried again.
    """

    reason: EndReason | None
    message: str
    host: str | None = None


@dataclass(frozen=True)
class View:
    """What the driver sees of one attempt besides the job's record.

    Attributes:
        observations: One per host of the present attempt.
        running: Actions being carried out now.
        stops_sent: Stop intents already delivered by this driver.
        start_fault: What came of the last START that failed.
        collected: What came of COLLECT.
        age: How old the job is; None = by the times of its record.
    """

    observations: Sequence[Observation] = ()
    running: frozenset[ActionKind] = frozenset()
    stops_sent: frozenset[str] = frozenset()
    start_fault: StartFault | None = None
    collected: Collected | None = None
    age: Age | None = None


@dataclass(frozen=True)
class Decision:
    """What follows for one job."""

    update: JobUpdate | None = None
    actions: tuple[Action, ...] = ()


def reconcile(job: TrainingJobRecord, view: View, now: datetime) -> Decision:
    """Decide what follows for a job that has not ended.

    Args:
        job: Its record.
        view: What is seen of its present attempt.
        now: The time.
    """
    if not _is_placed(job):
        return _queued(job, view, now)
    if any(seen.status is HostStatus.UNREACHABLE for seen in view.observations):
        return _waiting(job, "the engine does not answer; nothing is concluded about its hosts")
    if _ended_all(view.observations):
        return _ended(job, view, now)
    return _living(job, view, now)


def _is_placed(job: TrainingJobRecord) -> bool:
    return bool(job.hosts)


def _ended_all(observations: Sequence[Observation]) -> bool:
    return bool(observations) and all(_has_ended(seen) for seen in observations)


def _has_ended(seen: Observation) -> bool:
    return seen.status in {HostStatus.EXITED, HostStatus.LOST}


# -- queued ------------------------------------------------------------------------------------


def _queued(job: TrainingJobRecord, view: View, now: datetime) -> Decision:
    condition = job.spec.stopping_condition
    if job.stop_intent is not None:
        return _end(job, Verdict(job.stop_intent, None, "stopped before it was started"), now)
    age = _age(job, view, now)
    # After an attempt the waiting begins anew.
    if _is_over(age.step, condition.max_pending_time_in_seconds):
        text = f"not started within max_pending_time_in_seconds={condition.max_pending_time_in_seconds}"
        return _end(job, Verdict(EndReason.MAX_PENDING, None, f"{text}; {job.message}"), now)
    if _is_over(age.job, condition.max_wait_time_in_seconds):
        text = f"not ended within max_wait_time_in_seconds={condition.max_wait_time_in_seconds}"
        return _end(job, Verdict(EndReason.MAX_WAIT, None, text), now)
    return Decision()


def _age(job: TrainingJobRecord, view: View, now: datetime) -> Age:
    return view.age or Age(now - job.created_at, now - job.transitions[-1].started_at)


def _is_over(age: timedelta, seconds: int | None) -> bool:
    return seconds is not None and age >= timedelta(seconds=seconds)


# -- living ------------------------------------------------------------------------------------


def _living(job: TrainingJobRecord, view: View, now: datetime) -> Decision:
    actions: list[Action] = []
    intent = _stop_intent(job, view, now)
    if intent is not None:
        if intent not in view.stops_sent and ActionKind.STOP not in view.running:
            actions.append(Action(ActionKind.STOP, intent=intent))
    elif _must_start(view):
        actions.append(Action(ActionKind.START))
    return Decision(_progress(job, view, now), tuple(actions))


def _must_start(view: View) -> bool:
    if ActionKind.START in view.running:
        return False
    return not view.observations or any(
        seen.status is HostStatus.ABSENT for seen in view.observations
    )


def _stop_intent(job: TrainingJobRecord, view: View, now: datetime) -> str | None:
    """Return why the hosts shall stop, or None. The first reason that holds is kept."""
    if job.stop_intent is not None:
        return job.stop_intent.value
    limit = job.spec.stopping_condition.max_wait_time_in_seconds
    if _is_over(_age(job, view, now).job, limit):
        return EndReason.MAX_WAIT.value
    # Hosts that never started are "stopped" too: a late start of theirs is thereby ruled out.
    if any(failed(seen) or _was_stopped(seen) for seen in view.observations):
        return PEER_FAILED
    return PEER_FAILED if _final_fault(view) is not None else None


def _was_stopped(seen: Observation) -> bool:
    """Return whether a host was stopped: from outside, or by a driver that knew why and died."""
    return seen.exit is not None and seen.exit["outcome"] == "stopped"


def _progress(job: TrainingJobRecord, view: View, now: datetime) -> JobUpdate | None:
    update = _reached(job, view, now)
    if update is not None:
        return update
    if view.start_fault is not None:
        return _note(job, f"will be tried again: {view.start_fault.message}")
    return _note(job, job.transitions[-1].message)  # what was in the way is over


def _reached(job: TrainingJobRecord, view: View, now: datetime) -> JobUpdate | None:
    """Return the update that brings the secondary status up to what is seen."""
    transitions = _phases(job, view, now)
    if not transitions:
        return None
    return JobUpdate(
        number=job.number,
        revision=job.revision,
        transitions=tuple(transitions),
        message=transitions[-1].message,
        training_started_at=began_to_train(transitions),
    )


# -- ended -------------------------------------------------------------------------------------


def _final_fault(view: View) -> StartFault | None:
    """Return why a host cannot be started; a fault whose host runs all the same means nothing."""
    fault = view.start_fault
    if fault is None or fault.reason is None:
        return None
    return fault if any(_never_ran(seen) for seen in view.observations) else None


def _never_ran(seen: Observation) -> bool:
    if seen.status is HostStatus.ABSENT:
        return True
    return seen.exit is not None and seen.exit["started_at"] is None


def _fault_verdict(fault: StartFault) -> Verdict:
    return Verdict(fault.reason or EndReason.INTERNAL, fault.host, fault.message)


def _ended(job: TrainingJobRecord, view: View, now: datetime) -> Decision:
    fault = _final_fault(view)
    if fault is not None and job.stop_intent is None:
        return _conclude(job, view, _fault_verdict(fault), now)
    found = verdict(view.observations, job.stop_intent, asked=why_stopped(job))
    return _conclude(job, view, found, now)


def _conclude(job: TrainingJobRecord, view: View, found: Verdict, now: datetime) -> Decision:
    """Collect first, so that everything is durable before the terminal status shows.

    That a job is collected from is written down only when it takes longer than a round: of most
    jobs all is said with their end.
    """
    if view.collected is None:
        if ActionKind.COLLECT in view.running:
            return Decision(_reached(job, view, now))
        return Decision(None, (Action(ActionKind.COLLECT, verdict=found),))
    if _retries(job, found):
        return _retry(job, _explained(found, view.collected), now, view)
    return _end(job, _with_artifacts(found, view.collected), now, view)


def _with_artifacts(found: Verdict, collected: Collected) -> Verdict:
    """A job whose artifacts cannot be published has not completed."""
    if collected.unpublished is None or found.reason is not EndReason.COMPLETED:
        return found
    return Verdict(EndReason.INPUT_ERROR, None, collected.unpublished)


def _explained(found: Verdict, collected: Collected) -> Verdict:
    """Let what people read first say why, where that was found out."""
    if collected.explanation is None:
        return found
    return replace(found, message=collected.explanation.summary[:FAILURE_REASON_MAX_CHARACTERS])


def _retries(job: TrainingJobRecord, found: Verdict) -> bool:
    if job.stop_intent is not None:
        return False
    return may_retry(found.reason, job.attempt, job.spec.retry_strategy)


def _retry(job: TrainingJobRecord, found: Verdict, now: datetime, view: View) -> Decision:
    interrupted = found.reason is EndReason.INTERRUPTED
    status = SecondaryStatus.INTERRUPTED if interrupted else SecondaryStatus.RESTARTING
    text = f"attempt {job.attempt} ended ({found.reason.value}): {found.message}; starting again"
    transitions = _with_phases(job, view, status, now, text)
    update = JobUpdate(
        number=job.number,
        revision=job.revision,
        transitions=transitions,
        message=text,
        training_started_at=began_to_train(transitions),
        hosts=(),
        notes={f"attempt {job.attempt}": f"{found.reason.value}: {found.message}"},
        release=True,
    )
    return Decision(update, (Action(ActionKind.RELEASE),))


def _end(
    job: TrainingJobRecord, found: Verdict, now: datetime, view: View | None = None
) -> Decision:
    collected = (view.collected if view else None) or Collected()
    reason = found.reason
    failed = reason.status is TrainingJobStatus.FAILED
    message = (_explained(found, collected) if failed else found).message
    transitions = _with_phases(job, view, reason.secondary_status, now, message)
    update = JobUpdate(
        number=job.number,
        revision=job.revision,
        status=reason.status,
        transitions=transitions,
        end_reason=reason,
        failure_reason=failure_reason(found, collected.explanation),
        message=message,
        hosts=tuple(_final_host(host, view) for host in job.hosts) if job.hosts else None,
        artifacts=collected.artifacts,
        # A stop that came while a failure was collected makes the end a stop.
        explanation=collected.explanation if failed else None,
        final_metrics=collected.final_metrics,
        training_started_at=_training_started(view) or began_to_train(transitions),
        training_ended_at=_training_ended(view),
        ended_at=transitions[-1].started_at,
        notes=run_notes(_exits(view)) | collect_notes(collected),
        release=True,
        durable=True,
    )
    leaves_something = job.hosts or job.spec.secrets
    return Decision(update, (Action(ActionKind.RELEASE),) if leaves_something else ())


def failure_reason(found: Verdict, explanation: Explanation | None) -> str | None:
    """Return FailureReason in AWS's form, at most 1,024 characters; None for no failure."""
    prefix = found.reason.failure_prefix
    if prefix is None:
        return None
    text = explanation.summary if explanation else found.message
    host = f" ({found.host})" if found.host else ""
    code = explanation.exit_code if explanation else None
    tail = f", exit code: {code}" if code is not None else ""
    room = FAILURE_REASON_MAX_CHARACTERS - len(tail)
    return f"{prefix}: {text}{host}"[:room] + tail


def _final_host(host: HostRecord, view: View | None) -> HostRecord:
    for seen in view.observations if view else ():
        if seen.host == host.host:
            record = seen.exit
            return host.model_copy(
                update={
                    "outcome": record["outcome"] if record else "lost",
                    "exit_code": record["exit_code"] if record else None,
                }
            )
    return host


def _exits(view: View | None) -> list[ExitRecord]:
    return [seen.exit for seen in view.observations if seen.exit] if view else []


def _training_started(view: View | None) -> datetime | None:
    times = [record["started_at"] for record in _exits(view)]
    known = [time for time in times if time is not None]
    return from_epoch(min(known)) if known else None


def _training_ended(view: View | None) -> datetime | None:
    times = [r["ended_at"] for r in _exits(view) if r["started_at"] is not None]
    return from_epoch(max(times)) if times else None


# -- small updates -----------------------------------------------------------------------------


def _phases(job: TrainingJobRecord, view: View, now: datetime) -> list[Transition]:
    is_starting = ActionKind.START in view.running and not _ended_all(view.observations)
    return phases_reached(job, view.observations, now, is_starting=is_starting)


def _with_phases(
    job: TrainingJobRecord,
    view: View | None,
    status: SecondaryStatus,
    now: datetime,
    message: str,
) -> tuple[Transition, ...]:
    """Return a transition behind those phases that were reached and not written down before."""
    phases = _phases(job, view, now) if view is not None else []
    at = max([now, *(phase.started_at for phase in phases)])
    return (*phases, transition(job, status, at, message))


def _waiting(job: TrainingJobRecord, message: str) -> Decision:
    return Decision(_note(job, message))


def _note(job: TrainingJobRecord, message: str) -> JobUpdate | None:
    if job.message == message:
        return None
    return JobUpdate(number=job.number, revision=job.revision, message=message)


def placed(
    job: TrainingJobRecord,
    hosts: tuple[HostRecord, ...],
    scope: str,
    now: datetime,
) -> JobUpdate:
    """Return the update that starts the next attempt of a queued job."""
    attempt = job.attempt + 1
    text = f"Starting attempt {attempt} on {len(hosts)} host(s)"
    transition = Transition(
        status=SecondaryStatus.STARTING,
        started_at=max(now, job.transitions[-1].started_at) if job.transitions else now,
        message=text,
        attempt=attempt,
    )
    return JobUpdate(
        number=job.number,
        revision=job.revision,
        attempt=attempt,
        scope=scope,
        status=TrainingJobStatus.IN_PROGRESS,
        transitions=(transition,),
        message=text,
        hosts=hosts,
    )
