"""What every store enforces, whatever it keeps its rows in. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from orchestrator.errors import InvalidSpec, InvalidState, LimitExceeded
from orchestrator.spec.base import Spec
from orchestrator.spec.job import Tag
from orchestrator.spec.record import Transition
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus, may_follow
from orchestrator.store.base import (
    DriverLease,
    IdempotencyKey,
    JobUpdate,
    ResourceLease,
)

MAX_TAGS = 50
MAX_IDEMPOTENCY_KEY_LENGTH = 255
MAX_PAGE = 1000
JITTER = timedelta(seconds=1)
PENDING_MESSAGE = "Waiting to be placed"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ENDS = frozenset(reason.secondary_status for reason in EndReason)
_NOT_A_CHANGE = JobUpdate(number=0, revision=0)


def to_us(moment: datetime) -> int:
    """Return microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(value: int) -> datetime:
    """Return the aware UTC time of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=value)


def name_key(name: str) -> str:
    """Return what makes a name unique: SageMaker's ARNs, and some file systems, ignore case."""
    return name.lower()


def creation_time(now: datetime, newest: datetime | None) -> datetime:
    """Return when a job counts as created.

    Rows are numbered in order of acceptance. Callers that race read the clock a little before
    they get their number; that jitter is removed, so that times rise with numbers. A clock that
    was really set back is believed.
    """
    if newest is not None and timedelta(0) < newest - now <= JITTER:
        return newest
    return now


def modification_time(now: datetime, created_at: datetime) -> datetime:
    """Return when a job counts as modified: never before it was created."""
    return max(now, created_at)


def pending(now: datetime) -> Transition:
    """Return the first transition of every job."""
    return Transition(status=SecondaryStatus.PENDING, started_at=now, message=PENDING_MESSAGE)


def stopping(now: datetime, last: datetime, attempt: int, message: str) -> Transition:
    """Return the transition that a stop request adds: never before the ``last`` one."""
    return Transition(
        status=SecondaryStatus.STOPPING,
        started_at=max(now, last),
        message=message[:1024],
        attempt=attempt,
    )


def closed(transition: Transition, by: Transition) -> Transition:
    """Return a transition ended by the one after it."""
    if transition.ended_at is not None:
        return transition
    return transition.model_copy(update={"ended_at": by.started_at})


def chained(transitions: Sequence[Transition]) -> tuple[Transition, ...]:
    """Return transitions in which each closes the one before; a final one closes itself."""
    if not transitions:
        return ()
    last = transitions[-1]
    if last.status in _ENDS:
        last = closed(last, last)
    return (*(closed(this, after) for this, after in pairwise(transitions)), last)


def settle(
    name: str, status: TrainingJobStatus, secondary: SecondaryStatus, update: JobUpdate
) -> tuple[TrainingJobStatus, SecondaryStatus]:
    """Return status and secondary status after an update.

    Raises:
        InvalidState: The update is illegal: a bug of the caller, never dropped in silence.
    """
    if status.is_terminal:
        if _changes_more_than_notes(update):
            raise InvalidState(
                f"an ended job never changes; {name!r} is {status}, got {_described(update)}"
            )
        return status, secondary
    for transition in update.transitions:
        if not may_follow(secondary, transition.status):
            raise InvalidState(
                f"{transition.status} may not follow {secondary}; job {name!r} was not changed"
            )
        secondary = transition.status
    after = update.status or status
    _check_end(name, after, secondary, update)
    if status is TrainingJobStatus.STOPPING and after is TrainingJobStatus.IN_PROGRESS:
        raise InvalidState(f"InProgress may not follow Stopping; job {name!r} was not changed")
    return after, secondary


def _check_end(
    name: str, status: TrainingJobStatus, secondary: SecondaryStatus, update: JobUpdate
) -> None:
    if status.is_terminal != (secondary in _ENDS):
        raise InvalidState(
            f"status and secondary status must end together, got {status} with {secondary} "
            f"for job {name!r}"
        )
    if not status.is_terminal:
        return
    reason = update.end_reason
    if reason is None or (reason.status, reason.secondary_status) != (status, secondary):
        raise InvalidState(
            f"a terminal status needs its own end reason, got {reason} for {status}/{secondary} "
            f"of job {name!r}"
        )


def _changes_more_than_notes(update: JobUpdate) -> bool:
    rest = replace(update, number=0, revision=0, notes={}, release=False, durable=False)
    return rest != _NOT_A_CHANGE


def _described(update: JobUpdate) -> str:
    status = update.status or (update.transitions[-1].status if update.transitions else None)
    return str(status or "a change of other fields than notes")


def message_after(before: str, update: JobUpdate) -> str:
    """Return the message after an update: its own, else that of its last transition."""
    if update.message is not None:
        return update.message
    return update.transitions[-1].message if update.transitions else before


def check_attempt(name: str, before: int, update: JobUpdate) -> int:
    """Return the attempt number after an update.

    Raises:
        InvalidState: Attempts would run backwards.
    """
    after = before if update.attempt is None else update.attempt
    if after < before:
        raise InvalidState(f"attempts only grow; job {name!r} is at {before}, got {after}")
    return after


def check_take(held: Iterable[ResourceLease], wanted: ResourceLease, scope: str) -> None:
    """Check that a GPU is free, or shared by all who want it.

    Raises:
        InvalidState: Another job holds it: the caller counted wrong.
    """
    if wanted.kind != "gpu":
        return
    for lease in held:
        same = (lease.kind, lease.unit) == (wanted.kind, wanted.unit)
        if same and not (lease.shared and wanted.shared):
            raise InvalidState(
                f"gpu {wanted.unit} of {scope} is leased to job {lease.number} rank {lease.rank}; "
                f"job {wanted.number} rank {wanted.rank} must wait until it is released"
            )


def merged_tags(
    present: Sequence[Tag], put: Sequence[Tag], remove: Sequence[str]
) -> tuple[Tag, ...]:
    """Return tags after a change: kept ones in their order, new ones behind.

    Raises:
        LimitExceeded: There would be more than 50.
    """
    tags = {tag.key: tag for tag in present}
    tags.update({tag.key: tag for tag in put})
    for key in remove:
        tags.pop(key, None)
    if len(tags) > MAX_TAGS:
        raise LimitExceeded(
            f"a job has at most {MAX_TAGS} tags, got {len(tags)}; remove some first"
        )
    return tuple(tags.values())


def check_idempotency(key: IdempotencyKey | None) -> None:
    """Check the form of a key.

    Raises:
        InvalidSpec: It is empty or too long.
    """
    if key is None:
        return
    if 1 <= len(key.key) <= MAX_IDEMPOTENCY_KEY_LENGTH and key.key.isprintable():
        return
    raise InvalidSpec(
        f"an idempotency key must have 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} printable characters, "
        f"got {len(key.key)} ({key.key[:40]!r}…); use a UUID"
    )


def encode_spec(spec: Spec) -> str:
    """Return a specification as it is stored.

    Raises:
        InvalidSpec: It holds text that is no Unicode.
    """
    try:
        return spec.model_dump_json()
    except ValueError as error:
        raise InvalidSpec(
            f"every text of a specification must be valid Unicode, got {error}; remove the lone "
            "surrogates"
        ) from error


def name_taken(name: str) -> str:
    """Return the message for a name that another job has."""
    return (
        f"training job names must be unique (case does not count), {name!r} is taken; "
        "choose another name or delete the ended job"
    )


def key_reused(key: str) -> str:
    """Return the message for an idempotency key that came with another request before."""
    return (
        f"an idempotency key stands for one request, {key!r} was used for another one; "
        "use a new key"
    )


def check_limit(limit: int) -> None:
    """Check the limit of a page.

    Raises:
        InvalidSpec: It is out of range.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidSpec(f"limit must be 1 to {MAX_PAGE}, got {limit}")


def check_deletable(name: str, status: TrainingJobStatus, *, holds_resources: bool) -> None:
    """Check that nothing of a job is left to manage.

    Raises:
        InvalidState: It has not ended, or its process tree is not gone yet.
    """
    if not status.is_terminal:
        raise InvalidState(f"only ended jobs can be deleted, {name!r} is {status}; stop it first")
    if holds_resources:
        raise InvalidState(
            f"a job can be deleted when its processes are gone, {name!r} still holds resources; "
            "try again in a moment"
        )


def stale_lease(lease: DriverLease) -> str:
    """Return the message for a driver whose lease went to somebody else."""
    return (
        f"only the holder of the driver lease may write; token {lease.token} of {lease.owner!r} "
        f"for {lease.scope} is stale"
    )


def no_such_job(name: str) -> str:
    """Return the message for a name that nothing has."""
    return f"there is no training job {name!r}; `orchestrator list` shows those that exist"


def fingerprint(*parts: object) -> str:
    """Return a short digest of anything that prints."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
