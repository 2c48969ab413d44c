"""What the ends of all hosts mean for the attempt: exactly one end reason. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.backends.base import HostStatus, Observation
from orchestrator.spec.state import EndReason, SecondaryStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator_runtime.contract import ExitRecord

    from orchestrator.spec.job import RetryStrategy
    from orchestrator.spec.record import TrainingJobRecord

PEER_FAILED = "peer_failed"
"""Stop intent of hosts that are stopped because another host of their job failed."""

STOPPED_AS_ASKED = "stopped as asked for"

_REASON_OF_OUTCOME: dict[str, EndReason] = {
    "exited": EndReason.EXIT_CODE,
    "out_of_memory": EndReason.OUT_OF_MEMORY,
    "input_failed": EndReason.INPUT_ERROR,
    "disk_quota": EndReason.DISK_QUOTA,
    "install_failed": EndReason.EXIT_CODE,
    "not_started": EndReason.EXIT_CODE,
    "internal": EndReason.INTERNAL,
    "max_runtime": EndReason.MAX_RUNTIME,
}


@dataclass(frozen=True)
class Verdict:
    """Why an attempt ended.

    Attributes:
        host: The host that decided it, when one did.
        message: One plain sentence.
    """

    reason: EndReason
    host: str | None
    message: str


def failed(seen: Observation) -> bool:
    """Return whether this host's end makes the attempt fail."""
    if seen.status is HostStatus.LOST:
        return True
    record = seen.exit
    if seen.status is not HostStatus.EXITED or record is None:
        return False
    if record["outcome"] == "exited":
        return record["exit_code"] != 0
    return record["outcome"] not in {"stopped", "max_runtime"}


def verdict(
    observations: Sequence[Observation],
    stop_intent: EndReason | None,
    *,
    asked: str = STOPPED_AS_ASKED,
) -> Verdict:
    """Return why an attempt ended, all of whose hosts have ended.

    Args:
        observations: One per host; each EXITED or LOST.
        stop_intent: Why the job was asked to stop, if it was.
        asked: The same in words.
    """
    if all(_succeeded(seen) for seen in observations):
        return Verdict(EndReason.COMPLETED, None, _completed(observations))
    limited = _first(observations, "max_runtime")
    if limited is not None:
        return Verdict(EndReason.MAX_RUNTIME, limited.host, _message(limited))
    failures = sorted((seen for seen in observations if failed(seen)), key=_ended_at)
    if stop_intent is not None and (
        _first(observations, "stopped") or all(_is_lost(seen) for seen in failures)
    ):
        return Verdict(stop_intent, None, _as_asked(asked, failures))
    if failures:
        return _failure(failures[0])
    return _stopped(observations)


def why_stopped(job: TrainingJobRecord) -> str:
    """Return why a job was asked to stop, in the words of whoever judged it."""
    if job.stop_intent is EndReason.EARLY_STOPPED:
        for step in reversed(job.transitions):
            if step.status is SecondaryStatus.STOPPING:
                return step.message
    return STOPPED_AS_ASKED


def _succeeded(seen: Observation) -> bool:
    record = seen.exit
    return record is not None and record["outcome"] == "exited" and record["exit_code"] == 0


def _completed(observations: Sequence[Observation]) -> str:
    """Return how the program ended, with what its supervisor found remarkable."""
    for seen in observations:
        text, separator, more = _message(seen).partition("; ")
        if separator:
            return f"{text}; {more}"
    return "the program ended with exit code 0"


def _is_lost(seen: Observation) -> bool:
    return seen.status is HostStatus.LOST or seen.exit is None


def _as_asked(asked: str, failures: Sequence[Observation]) -> str:
    lost = [seen.host for seen in failures if _is_lost(seen)]
    if lost:
        return f"{asked}; {', '.join(lost)} disappeared before saving anything"
    return asked


def _first(observations: Sequence[Observation], outcome: str) -> Observation | None:
    for seen in observations:
        if seen.exit is not None and seen.exit["outcome"] == outcome:
            return seen
    return None


def _ended_at(seen: Observation) -> float:
    return seen.exit["ended_at"] if seen.exit is not None else float("inf")


def _message(seen: Observation) -> str:
    record: ExitRecord | None = seen.exit
    return record["message"] if record is not None else seen.detail


def _failure(seen: Observation) -> Verdict:
    if seen.status is HostStatus.LOST or seen.exit is None:
        return Verdict(EndReason.LOST, seen.host, seen.detail or "the host disappeared")
    return Verdict(_REASON_OF_OUTCOME[seen.exit["outcome"]], seen.host, _message(seen))


def _stopped(observations: Sequence[Observation]) -> Verdict:
    """Return the verdict of hosts that were stopped without the job having been asked to."""
    for seen in observations:
        intent = seen.exit["stop_intent"] if seen.exit is not None else None
        if intent in {reason.value for reason in EndReason}:
            return Verdict(EndReason(intent), seen.host, _message(seen))
    return Verdict(
        EndReason.INTERRUPTED, observations[0].host, "the host was stopped from outside"
    )


def may_retry(reason: EndReason, attempt: int, policy: RetryStrategy) -> bool:
    """Return whether an attempt that ended like this is followed by another.

    Args:
        reason: Why it ended.
        attempt: Its 1-based number.
        policy: The job's retry strategy.
    """
    if attempt > policy.maximum_retry_attempts:
        return False
    if reason.is_infrastructure_fault:
        return True
    user_error = reason in {EndReason.EXIT_CODE, EndReason.OUT_OF_MEMORY, EndReason.DISK_QUOTA}
    return policy.retry_user_errors and user_error
