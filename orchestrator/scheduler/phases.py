"""The phases of a job, as its hosts reach them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.clock import from_epoch
from orchestrator.spec.record import TrainingJobRecord, Transition
from orchestrator.spec.state import SecondaryStatus, may_follow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from orchestrator.backends.base import Observation

_IN_ATTEMPT = (SecondaryStatus.DOWNLOADING, SecondaryStatus.TRAINING, SecondaryStatus.UPLOADING)


def phases_reached(
    job: TrainingJobRecord,
    observations: Sequence[Observation],
    now: datetime,
    *,
    is_starting: bool,
) -> list[Transition]:
    """Return the phases that all hosts have reached and the record does not show yet.

    A job is in a phase when its last host has reached it (AWS shows one status per job).

    Args:
        job: The record.
        observations: What is seen of its hosts.
        now: The time.
        is_starting: Whether its hosts are being started.
    """
    reached: dict[SecondaryStatus, datetime] = {}
    for phase in _IN_ATTEMPT:
        times = [_reached_at(seen, phase) for seen in observations]
        if times and all(time is not None for time in times):
            reached[phase] = from_epoch(max(time for time in times if time is not None))
    if not reached and is_starting:
        reached[SecondaryStatus.DOWNLOADING] = now
    elif SecondaryStatus.TRAINING in reached and SecondaryStatus.DOWNLOADING not in reached:
        # Inputs were staged faster than anybody looked: since the attempt began.
        reached = {SecondaryStatus.DOWNLOADING: job.transitions[-1].started_at, **reached}
    transitions: list[Transition] = []
    status = job.secondary_status
    # A stop may have come behind one of them.
    written = {step.status for step in job.transitions if step.attempt == job.attempt}
    for phase, at in reached.items():
        if phase in written:
            continue
        if may_follow(status, phase) and _IN_ATTEMPT.index(phase) > _index(status):
            if transitions:
                at = max(at, transitions[-1].started_at)
            transitions.append(transition(job, phase, at, _PHASE_MESSAGE[phase]))
            status = phase
    return transitions


_PHASE_MESSAGE = {
    SecondaryStatus.DOWNLOADING: "Downloading input data and installing requirements",
    SecondaryStatus.TRAINING: "Training program is running",
    SecondaryStatus.UPLOADING: "Packing and publishing the artifacts",
}


def _index(status: SecondaryStatus) -> int:
    if status is SecondaryStatus.STOPPING:
        return _IN_ATTEMPT.index(SecondaryStatus.TRAINING)
    return _IN_ATTEMPT.index(status) if status in _IN_ATTEMPT else -1


def _reached_at(seen: Observation, phase: SecondaryStatus) -> float | None:
    for record in seen.phases:
        if record["phase"] == phase.value:
            return record["at"]
    return None


def began_to_train(transitions: Sequence[Transition]) -> datetime | None:
    """Return when training began by these steps; None if none of them says."""
    times = (step.started_at for step in transitions if step.status is SecondaryStatus.TRAINING)
    return next(times, None)


def transition(
    job: TrainingJobRecord, status: SecondaryStatus, at: datetime, message: str
) -> Transition:
    """Return a step of a job's present attempt; none begins before the one in front of it."""
    # Supervisors and driver read the same clock, but it may have been set back in between.
    last = job.transitions[-1].started_at if job.transitions else at
    return Transition(
        status=status, started_at=max(at, last), message=message[:1024], attempt=job.attempt
    )
