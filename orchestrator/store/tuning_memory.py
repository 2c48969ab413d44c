"""Tuning jobs in a process's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.errors import AlreadyExists, NotFound
from orchestrator.spec.tuned import TunedJob, TuningJobRecord
from orchestrator.store import rules, tuning_rules
from orchestrator.store.tuning import (
    TunedPage,
    TunedQuery,
    TuningPage,
    TuningStore,
    TuningUpdate,
)
from orchestrator.store.tuning_rules import TuningRow

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import datetime

    from orchestrator.clock import Clock
    from orchestrator.spec.job import Tag
    from orchestrator.spec.tuned import Inherited
    from orchestrator.spec.tuning import TuningJobSpec
    from orchestrator.store.base import DriverLease, IdempotencyKey, ListQuery


@dataclass(frozen=True)
class _Tuning:
    record: TuningJobRecord
    key: IdempotencyKey | None
    scope: str | None = None
    jobs: Mapping[int, TunedJob] = field(default_factory=dict)


class MemoryTuningStore(TuningStore):
    """Dictionaries under the lock of a ``MemoryStore``."""

    def __init__(
        self,
        lock: AbstractContextManager[object],
        check_lease: Callable[[DriverLease], None],
        cursor_key: bytes,
        clock: Clock,
    ) -> None:
        self._lock = lock
        self._check_lease = check_lease
        self._pages = tuning_rules.Pages(cursor_key)
        self._clock = clock
        self._tunings: dict[int, _Tuning] = {}
        self._last_number = 0

    # -- clients ---------------------------------------------------------------------------

    def create(
        self,
        spec: TuningJobSpec,
        *,
        arn: str,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
        inherited: Sequence[Inherited] = (),
    ) -> TuningJobRecord:
        """See ``TuningStore.create``."""
        rules.check_idempotency(idempotency)
        rules.encode_spec(spec)
        with self._lock:
            first = self._first_answer(idempotency)
            if first is not None:
                return first
            if self._found(spec.tuning_job_name) is not None:
                raise AlreadyExists(tuning_rules.name_taken(spec.tuning_job_name))
            self._last_number += 1
            record = tuning_rules.accepted(
                spec, number=self._last_number, arn=arn, now=now, inherited=inherited
            )
            self._tunings[record.number] = _Tuning(record, idempotency)
            return record

    def _first_answer(self, idempotency: IdempotencyKey | None) -> TuningJobRecord | None:
        for tuning in self._tunings.values():
            if idempotency is None or tuning.key is None or tuning.key.key != idempotency.key:
                continue
            if tuning.key.fingerprint != idempotency.fingerprint:
                raise AlreadyExists(rules.key_reused(idempotency.key))
            return tuning.record
        return None

    def _found(self, name: str) -> _Tuning | None:
        key = rules.name_key(name)
        for tuning in self._tunings.values():
            if rules.name_key(tuning.record.name) == key:
                return tuning
        return None

    def _named(self, name: str) -> _Tuning:
        tuning = self._found(name)
        if tuning is None:
            raise NotFound(tuning_rules.no_such_tuning_job(name))
        return tuning

    def get(self, name: str) -> TuningJobRecord:
        """See ``TuningStore.get``."""
        with self._lock:
            return self._named(name).record

    def page(self, query: ListQuery) -> TuningPage:
        """See ``TuningStore.page``."""
        behind = self._pages.behind(query)
        with self._lock:
            known = {number: tuning.record for number, tuning in self._tunings.items()}
        shown, last = tuning_rules.page_of_rows(map(_listed, known.values()), query, behind)
        token = self._pages.token(query, last)
        return TuningPage(tuple(known[row.number] for row in shown), token)

    def jobs_of(self, number: int) -> list[TunedJob]:
        """See ``TuningStore.jobs_of``."""
        with self._lock:
            tuning = self._tunings.get(number)
            return [] if tuning is None else [tuning.jobs[index] for index in sorted(tuning.jobs)]

    def page_of_jobs(self, name: str, query: TunedQuery) -> TunedPage:
        """See ``TuningStore.page_of_jobs``."""
        behind = self._pages.behind(query, name)
        jobs = self.jobs_of(self.get(name).number)
        shown, last = tuning_rules.page_of_jobs(jobs, query, behind)
        token = self._pages.token(query, last, name)
        return TunedPage(tuple(shown), token)

    def tuning_jobs_of(self, job_names: Sequence[str]) -> Mapping[str, str]:
        """See ``TuningStore.tuning_jobs_of``."""
        asked = {rules.name_key(name): name for name in job_names}
        with self._lock:
            return {
                asked[rules.name_key(job.job_name)]: tuning.record.arn
                for tuning in self._tunings.values()
                for job in tuning.jobs.values()
                if rules.name_key(job.job_name) in asked
            }

    def request_stop(self, name: str, *, now: datetime) -> TuningJobRecord:
        """See ``TuningStore.request_stop``."""
        with self._lock:
            tuning = self._named(name)
            return self._keep(tuning, tuning_rules.stopping(tuning.record, now))

    def delete(self, name: str) -> None:
        """See ``TuningStore.delete``."""
        with self._lock:
            record = self._named(name).record
            tuning_rules.check_deletable(record)
            del self._tunings[record.number]

    def set_tags(self, name: str, *, put: Sequence[Tag], remove: Sequence[str]) -> tuple[Tag, ...]:
        """See ``TuningStore.set_tags``."""
        with self._lock:
            tuning = self._named(name)
            tags = rules.merged_tags(tuning.record.tags, put, remove)
            return self._keep(tuning, tuning.record.model_copy(update={"tags": tags})).tags

    def _keep(self, tuning: _Tuning, record: TuningJobRecord) -> TuningJobRecord:
        self._tunings[record.number] = _Tuning(record, tuning.key, tuning.scope, tuning.jobs)
        return record

    # -- the driver ------------------------------------------------------------------------

    def active(self, scope: str) -> list[TuningJobRecord]:
        """See ``TuningStore.active``."""
        with self._lock:
            return [
                tuning.record
                for tuning in self._tunings.values()
                if not tuning.record.status.is_terminal and tuning.scope in {None, scope}
            ]

    def apply(self, updates: Sequence[TuningUpdate], lease: DriverLease) -> list[bool]:
        """See ``TuningStore.apply``."""
        now = self._clock.now()
        with self._lock:
            self._check_lease(lease)
            after = dict(self._tunings)
            applied = [_apply(after, update, lease.scope, now) for update in updates]
            self._tunings = after
            return applied


def _apply(tunings: dict[int, _Tuning], update: TuningUpdate, scope: str, now: datetime) -> bool:
    tuning = tunings.get(update.number)
    if tuning is None or tuning.record.revision != update.revision:
        return False
    record = tuning_rules.changed(tuning.record, update, now)
    jobs = {**tuning.jobs, **{job.index: job for job in update.put}}
    tunings[update.number] = _Tuning(record, tuning.key, scope, jobs)
    return True


def _listed(record: TuningJobRecord) -> TuningRow:
    return TuningRow(
        record.number,
        rules.name_key(record.name),
        record.status,
        record.created_at,
        record.modified_at,
    )
