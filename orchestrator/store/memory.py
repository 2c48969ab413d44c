"""The store in a process's memory: what every other store must do, in its plainest form."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import RLock
from typing import Any

from orchestrator.clock import Clock, SystemClock
from orchestrator.errors import AlreadyExists, NotFound, StaleLock
from orchestrator.spec.job import Tag, TrainingJobSpec
from orchestrator.spec.record import HostRecord, TrainingJobRecord
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus, may_follow
from orchestrator.store import cursor, rules
from orchestrator.store.base import (
    QUEUED_LIMIT,
    STOPPING_MESSAGE,
    DriverLease,
    IdempotencyKey,
    JobSummary,
    JobUpdate,
    ListQuery,
    Page,
    ResourceLease,
    SortBy,
    Store,
)
from orchestrator.store.tuning_memory import MemoryTuningStore

_KEPT_FIELDS = (
    "end_reason",
    "failure_reason",
    "artifacts",
    "explanation",
    "final_metrics",
    "training_started_at",
    "training_ended_at",
    "ended_at",
)


@dataclass(frozen=True)
class _Job:
    record: TrainingJobRecord
    tags: tuple[Tag, ...]
    scope: str | None = None


@dataclass(frozen=True)
class _Driver:
    token: int
    lease: DriverLease | None


@dataclass
class _Rows:
    """Everything that one transaction changes together."""

    jobs: dict[int, _Job] = field(default_factory=dict)
    leases: dict[str, tuple[ResourceLease, ...]] = field(default_factory=dict)


def _urgency(record: TrainingJobRecord) -> tuple[int, int]:
    return (-record.spec.priority, record.number)


class MemoryStore(Store):
    """Dictionaries and one lock. Nothing survives the process."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._lock = RLock()
        self._rows = _Rows()
        self._numbers: dict[str, int] = {}
        self._last_number = 0
        self._keys: dict[str, tuple[str, int]] = {}
        self._drivers: dict[str, _Driver] = {}
        self._meta: dict[str, str] = {}
        self._cursor_key = secrets.token_bytes(32)
        self.tunings = MemoryTuningStore(
            self._lock, self._check_lease, self._cursor_key, self._clock
        )

    # -- clients ---------------------------------------------------------------------------

    def create_job(
        self,
        spec: TrainingJobSpec,
        *,
        arn: str,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> TrainingJobRecord:
        """See ``Store.create_job``."""
        rules.check_idempotency(idempotency)
        rules.encode_spec(spec)
        with self._lock:
            first = self._first_answer(idempotency) if idempotency else None
            if first is not None:
                return first
            key = rules.name_key(spec.training_job_name)
            if key in self._numbers:
                raise AlreadyExists(rules.name_taken(spec.training_job_name))
            newest = max((job.record.created_at for job in self._rows.jobs.values()), default=None)
            created_at = rules.creation_time(now, newest)
            self._last_number += 1
            record = TrainingJobRecord(
                number=self._last_number,
                spec=spec,
                arn=arn,
                status=TrainingJobStatus.IN_PROGRESS,
                secondary_status=SecondaryStatus.PENDING,
                message=rules.PENDING_MESSAGE,
                created_at=created_at,
                modified_at=created_at,
                transitions=(rules.pending(created_at),),
                notes=dict(notes or {}),
            )
            self._rows.jobs[record.number] = _Job(record, spec.tags)
            self._numbers[key] = record.number
            if idempotency is not None:
                self._keys[idempotency.key] = (idempotency.fingerprint, record.number)
            return record

    def find_idempotent(self, idempotency: IdempotencyKey) -> TrainingJobRecord | None:
        """See ``Store.find_idempotent``."""
        with self._lock:
            return self._first_answer(idempotency)

    def _first_answer(self, idempotency: IdempotencyKey) -> TrainingJobRecord | None:
        known = self._keys.get(idempotency.key)
        if known is None:
            return None
        fingerprint, number = known
        if fingerprint != idempotency.fingerprint:
            raise AlreadyExists(rules.key_reused(idempotency.key))
        return self._rows.jobs[number].record

    def get_job(self, name: str) -> TrainingJobRecord:
        """See ``Store.get_job``."""
        with self._lock:
            return self._job(name).record

    def get_jobs(
        self, names: Iterable[str], *, history: bool = True
    ) -> dict[str, TrainingJobRecord]:
        """See ``Store.get_jobs``; nothing is missing here."""
        del history
        return {name: job.record for name, job in self._several(names).items()}

    def get_tags_of(self, names: Iterable[str]) -> dict[str, tuple[Tag, ...]]:
        """See ``Store.get_tags_of``."""
        return {name: job.tags for name, job in self._several(names).items()}

    def _several(self, names: Iterable[str]) -> dict[str, _Job]:
        with self._lock:
            numbers = {name: self._numbers.get(rules.name_key(name)) for name in names}
            return {
                name: self._rows.jobs[number]
                for name, number in numbers.items()
                if number is not None
            }

    def _job(self, name: str) -> _Job:
        number = self._numbers.get(rules.name_key(name))
        if number is None:
            raise NotFound(rules.no_such_job(name))
        return self._rows.jobs[number]

    def list_jobs(self, query: ListQuery) -> Page:
        """See ``Store.list_jobs``."""
        rules.check_limit(query.limit)
        position = cursor.decode(self._cursor_key, query)
        with self._lock:
            records = [job.record for job in self._rows.jobs.values()]
        found = sorted(
            (record for record in records if _matches(record, query)),
            key=lambda record: _position(record, query.sort_by),
            reverse=query.descending,
        )
        if position is not None:
            found = [r for r in found if _is_behind(_position(r, query.sort_by), position, query)]
        page = found[: query.limit]
        more = len(found) > query.limit
        return Page(
            jobs=tuple(_summary(record) for record in page),
            next_cursor=(
                cursor.encode(self._cursor_key, query, _position(page[-1], query.sort_by))
                if more
                else None
            ),
        )

    def count_by_status(self) -> dict[TrainingJobStatus, int]:
        """See ``Store.count_by_status``."""
        counts = dict.fromkeys(TrainingJobStatus, 0)
        with self._lock:
            for job in self._rows.jobs.values():
                counts[job.record.status] += 1
        return counts

    def request_stop(
        self,
        name: str,
        *,
        intent: EndReason,
        grace_seconds: float | None,
        now: datetime,
        message: str = STOPPING_MESSAGE,
    ) -> TrainingJobRecord:
        """See ``Store.request_stop``."""
        with self._lock:
            job = self._job(name)
            record = job.record
            if record.status.is_terminal or record.stop_intent is not None:
                return record
            changes: dict[str, Any] = {
                "status": TrainingJobStatus.STOPPING,
                "revision": record.revision + 1,
                "stop_intent": intent,
                "stop_requested_at": now,
                "stop_grace_seconds": grace_seconds,
                "modified_at": rules.modification_time(now, record.created_at),
            }
            if may_follow(record.secondary_status, SecondaryStatus.STOPPING):
                step = rules.stopping(
                    now, record.transitions[-1].started_at, record.attempt, message
                )
                changes["transitions"] = rules.chained((*record.transitions, step))
                changes["secondary_status"] = step.status
                changes["message"] = step.message
            stopped = record.model_copy(update=changes)
            self._rows.jobs[record.number] = replace(job, record=stopped)
            return stopped

    def delete_job(self, name: str) -> None:
        """See ``Store.delete_job``."""
        with self._lock:
            record = self._job(name).record
            held = any(
                lease.number == record.number
                for leases in self._rows.leases.values()
                for lease in leases
            )
            rules.check_deletable(record.name, record.status, holds_resources=held)
            del self._rows.jobs[record.number]
            del self._numbers[rules.name_key(name)]
            self._keys = {k: v for k, v in self._keys.items() if v[1] != record.number}

    def set_tags(self, name: str, *, put: Sequence[Tag], remove: Sequence[str]) -> tuple[Tag, ...]:
        """See ``Store.set_tags``."""
        with self._lock:
            job = self._job(name)
            tags = rules.merged_tags(job.tags, put, remove)
            self._rows.jobs[job.record.number] = replace(job, tags=tags)
            return tags

    def get_tags(self, name: str) -> tuple[Tag, ...]:
        """See ``Store.get_tags``."""
        with self._lock:
            return self._job(name).tags

    # -- the driver ------------------------------------------------------------------------

    def acquire_driver(
        self, scope: str, *, owner: str, now: datetime, ttl_seconds: float, force: bool = False
    ) -> DriverLease | None:
        """See ``Store.acquire_driver``."""
        with self._lock:
            driver = self._drivers.get(scope, _Driver(0, None))
            held = driver.lease
            if held and held.owner != owner and held.expires_at > now and not force:
                return None
            lease = DriverLease(
                scope, owner, driver.token + 1, now + timedelta(seconds=ttl_seconds)
            )
            self._drivers[scope] = _Driver(lease.token, lease)
            return lease

    def renew_driver(
        self, lease: DriverLease, *, now: datetime, ttl_seconds: float
    ) -> DriverLease:
        """See ``Store.renew_driver``."""
        with self._lock:
            self._check_lease(lease)
            renewed = replace(lease, expires_at=now + timedelta(seconds=ttl_seconds))
            self._drivers[lease.scope] = _Driver(lease.token, renewed)
            return renewed

    def release_driver(self, lease: DriverLease) -> None:
        """See ``Store.release_driver``."""
        with self._lock:
            driver = self._drivers.get(lease.scope)
            if driver and driver.token == lease.token:
                self._drivers[lease.scope] = _Driver(driver.token + 1, None)

    def _check_lease(self, lease: DriverLease) -> None:
        driver = self._drivers.get(lease.scope)
        if driver is None or driver.lease is None or driver.token != lease.token:
            raise StaleLock(rules.stale_lease(lease))

    def active_jobs(
        self, scope: str, backends: Iterable[str], *, queued_limit: int = QUEUED_LIMIT
    ) -> list[TrainingJobRecord]:
        """See ``Store.active_jobs``."""
        names = set(backends)
        with self._lock:
            live = [j for j in self._rows.jobs.values() if not j.record.status.is_terminal]
        mine = [job.record for job in live if job.scope == scope]
        queued = [j.record for j in live if j.scope is None and j.record.spec.backend in names]
        return sorted([*mine, *sorted(queued, key=_urgency)[:queued_limit]], key=_urgency)

    def resource_leases(self, scope: str) -> list[ResourceLease]:
        """See ``Store.resource_leases``."""
        with self._lock:
            leases = self._rows.leases.get(scope, ())
        return sorted(leases, key=lambda lease: (lease.number, lease.rank, lease.kind, lease.unit))

    def apply(self, updates: Sequence[JobUpdate], lease: DriverLease) -> list[bool]:
        """See ``Store.apply``."""
        with self._lock:
            self._check_lease(lease)
            rows = _Rows(dict(self._rows.jobs), dict(self._rows.leases))
            now = self._clock.now()
            applied = [_apply(rows, update, lease.scope, now) for update in updates]
            self._rows = rows
            return applied

    # -- everybody -------------------------------------------------------------------------

    def meta(self, key: str, default: str | None = None) -> str:
        """See ``Store.meta``."""
        with self._lock:
            if default is not None:
                return self._meta.setdefault(key, default)
            if key not in self._meta:
                raise NotFound(f"the store has no fact {key!r}")
            return self._meta[key]

    def close(self) -> None:
        """Do nothing: there are no connections."""


def _apply(rows: _Rows, update: JobUpdate, scope: str, now: datetime) -> bool:
    job = rows.jobs.get(update.number)
    if job is None or job.record.revision != update.revision:
        return False
    rows.jobs[update.number] = replace(
        job, record=_advanced(job.record, update, now), scope=update.scope or job.scope
    )
    _move_leases(rows, update, scope)
    return True


def _advanced(record: TrainingJobRecord, update: JobUpdate, now: datetime) -> TrainingJobRecord:
    status, secondary = rules.settle(record.name, record.status, record.secondary_status, update)
    attempt = rules.check_attempt(record.name, record.attempt, update)
    hosts: tuple[HostRecord, ...] = record.hosts if attempt == record.attempt else ()
    changes = {
        name: getattr(update, name) for name in _KEPT_FIELDS if getattr(update, name) is not None
    }
    return record.model_copy(
        update=changes
        | {
            "status": status,
            "secondary_status": secondary,
            "message": rules.message_after(record.message, update),
            "attempt": attempt,
            "revision": record.revision + 1,
            "modified_at": rules.modification_time(now, record.created_at),
            "transitions": rules.chained((*record.transitions, *update.transitions)),
            "hosts": hosts if update.hosts is None else update.hosts,
            "notes": {**record.notes, **update.notes},
        }
    )


def _move_leases(rows: _Rows, update: JobUpdate, scope: str) -> None:
    if update.release:
        rows.leases = {
            place: tuple(lease for lease in leases if lease.number != update.number)
            for place, leases in rows.leases.items()
        }
    for wanted in update.take:
        held = rows.leases.get(scope, ())
        rules.check_take(held, wanted, scope)
        rows.leases[scope] = (*held, wanted)


def _matches(record: TrainingJobRecord, query: ListQuery) -> bool:
    if query.name_contains and query.name_contains.lower() not in rules.name_key(record.name):
        return False
    if query.status_equals and record.status is not query.status_equals:
        return False
    return _inside(record.created_at, query.created_after, query.created_before) and _inside(
        record.modified_at, query.modified_after, query.modified_before
    )


def _inside(moment: datetime, after: datetime | None, before: datetime | None) -> bool:
    return (after is None or moment > after) and (before is None or moment < before)


def _position(record: TrainingJobRecord, sort_by: SortBy) -> cursor.Position:
    if sort_by is SortBy.NAME:
        return [rules.name_key(record.name)]
    if sort_by is SortBy.STATUS:
        return [record.status.value, record.number]
    return [record.number]


def _is_behind(here: cursor.Position, last: cursor.Position, query: ListQuery) -> bool:
    return here < last if query.descending else here > last


def _summary(record: TrainingJobRecord) -> JobSummary:
    return JobSummary(
        number=record.number,
        name=record.name,
        arn=record.arn,
        backend=record.spec.backend,
        status=record.status,
        secondary_status=record.secondary_status,
        created_at=record.created_at,
        modified_at=record.modified_at,
        ended_at=record.ended_at,
        message=record.message,
    )
