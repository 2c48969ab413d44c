"""Tuning jobs in a database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from sqlalchemy import bindparam, delete, insert, or_, select, update

from orchestrator.errors import AlreadyExists, NotFound, StoreError
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import TunedJob, TuningJobRecord
from orchestrator.store import codec, counts, leases, rules, tuning_rules
from orchestrator.store.tables import tuned_jobs, tuning_jobs
from orchestrator.store.tuning import (
    TunedPage,
    TunedQuery,
    TuningPage,
    TuningStore,
    TuningUpdate,
)
from orchestrator.store.tuning_rules import TuningRow

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from orchestrator.clock import Clock
    from orchestrator.spec.job import Tag
    from orchestrator.spec.tuned import Inherited
    from orchestrator.spec.tuning import TuningJobSpec
    from orchestrator.store.base import DriverLease, IdempotencyKey, ListQuery
    from orchestrator.store.engine import Database

# Building a statement takes longer than running it; columns are set by the parameters' names.
_ACTIVE = (
    select(tuning_jobs)
    .where(tuning_jobs.c.live == 1)
    .where(or_(tuning_jobs.c.scope.is_(None), tuning_jobs.c.scope == bindparam("of_scope")))
    .order_by(tuning_jobs.c.number)
)
_LOCKED = select(tuning_jobs).where(tuning_jobs.c.number == bindparam("job")).with_for_update()
_UPDATE = update(tuning_jobs).where(tuning_jobs.c.number == bindparam("job"))
_JOBS_OF = (
    select(tuned_jobs.c.details)
    .where(tuned_jobs.c.number == bindparam("job"))
    .order_by(tuned_jobs.c.place)
)
_UPDATE_TUNED = update(tuned_jobs).where(
    tuned_jobs.c.number == bindparam("job"), tuned_jobs.c.place == bindparam("at")
)
_ADD_TUNED = insert(tuned_jobs)
# What has columns of its own.
_COLUMNS = {"number", "arn", "status", "revision", "created_at", "modified_at", "spec"}
_LISTED = (
    tuning_jobs.c.number,
    tuning_jobs.c.name_key,
    tuning_jobs.c.status,
    tuning_jobs.c.created_us,
    tuning_jobs.c.modified_us,
)


class SqlTuningStore(TuningStore):
    """Rows in the database of a ``SqlStore``."""

    def __init__(self, database: Database, cursor_key: bytes, clock: Clock) -> None:
        self._database = database
        self._pages = tuning_rules.Pages(cursor_key)
        self._clock = clock

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
        record = tuning_rules.accepted(spec, number=0, arn=arn, now=now, inherited=inherited)
        row = _row(record) | {"spec": rules.encode_spec(spec)}
        if idempotency is not None:
            row |= {
                "idempotency_key": idempotency.key,
                "fingerprint": idempotency.fingerprint,
            }

        def work(connection: Connection, again: bool) -> TuningJobRecord:
            counts.queue_up(connection)  # so that of two who want a name one is first
            first = _of_key(connection, idempotency)
            if first is not None:
                return first
            taken = _row_of(connection, spec.tuning_job_name)
            if taken is None:
                connection.execute(insert(tuning_jobs), [row])
                return _named(connection, spec.tuning_job_name)
            if again and taken["spec"] == row["spec"] and taken["created_us"] == row["created_us"]:
                return _record_of(taken)  # the try before was committed, its answer was lost
            raise AlreadyExists(tuning_rules.name_taken(spec.tuning_job_name))

        return self._database.write(work, durable=True)

    def get(self, name: str) -> TuningJobRecord:
        """See ``TuningStore.get``."""
        return self._database.ask(lambda connection: _named(connection, name))

    def page(self, query: ListQuery) -> TuningPage:
        """See ``TuningStore.page``."""
        behind = self._pages.behind(query)

        def work(connection: Connection) -> tuple[list[TuningJobRecord], Any]:
            rows = map(_listed_of, connection.execute(select(*_LISTED)).mappings())
            shown, last = tuning_rules.page_of_rows(rows, query, behind)
            numbers = [row.number for row in shown]
            query_ = select(tuning_jobs).where(tuning_jobs.c.number.in_(numbers))
            found = {row["number"]: row for row in connection.execute(query_).mappings()}
            return [_record_of(found[number]) for number in numbers], last

        jobs, last = self._database.ask(work)
        token = self._pages.token(query, last)
        return TuningPage(tuple(jobs), token)

    def jobs_of(self, number: int) -> list[TunedJob]:
        """See ``TuningStore.jobs_of``."""
        return self._database.ask(lambda connection: _jobs_of(connection, number))

    def page_of_jobs(self, name: str, query: TunedQuery) -> TunedPage:
        """See ``TuningStore.page_of_jobs``."""
        behind = self._pages.behind(query, name)
        jobs = self._database.ask(
            lambda connection: _jobs_of(connection, _named(connection, name).number)
        )
        shown, last = tuning_rules.page_of_jobs(jobs, query, behind)
        token = self._pages.token(query, last, name)
        return TunedPage(tuple(shown), token)

    def tuning_jobs_of(self, job_names: Sequence[str]) -> Mapping[str, str]:
        """See ``TuningStore.tuning_jobs_of``."""
        keys = {rules.name_key(name): name for name in job_names}
        query = (
            select(tuned_jobs.c.job_key, tuning_jobs.c.arn)
            .join(tuning_jobs, tuning_jobs.c.number == tuned_jobs.c.number)
            .where(tuned_jobs.c.job_key.in_(list(keys)))
        )
        rows = self._database.ask(lambda connection: connection.execute(query).all())
        return {keys[key]: arn for key, arn in rows}

    def request_stop(self, name: str, *, now: datetime) -> TuningJobRecord:
        """See ``TuningStore.request_stop``."""

        def work(connection: Connection, _: bool) -> TuningJobRecord:
            record = _named(connection, name, lock=True)
            stopped = tuning_rules.stopping(record, now)
            if stopped is not record:
                _write(connection, stopped)
            return stopped

        return self._database.write(work, durable=True)

    def delete(self, name: str) -> None:
        """See ``TuningStore.delete``."""

        def work(connection: Connection, again: bool) -> None:
            try:
                record = _named(connection, name, lock=True)
            except NotFound:
                if again:
                    return
                raise
            tuning_rules.check_deletable(record)
            for table in (tuned_jobs, tuning_jobs):
                connection.execute(delete(table).where(table.c.number == record.number))

        self._database.write(work, durable=True)

    def set_tags(self, name: str, *, put: Sequence[Tag], remove: Sequence[str]) -> tuple[Tag, ...]:
        """See ``TuningStore.set_tags``."""

        def work(connection: Connection, _: bool) -> tuple[Tag, ...]:
            record = _named(connection, name, lock=True)
            tags = rules.merged_tags(record.tags, put, remove)
            _write(connection, record.model_copy(update={"tags": tags}))
            return tags

        return self._database.write(work, durable=True)

    # -- the driver ------------------------------------------------------------------------

    def active(self, scope: str) -> list[TuningJobRecord]:
        """See ``TuningStore.active``."""
        rows = self._database.ask(
            lambda connection: connection.execute(_ACTIVE, {"of_scope": scope}).mappings().all()
        )
        return [_record_of(row) for row in rows]

    def apply(self, updates: Sequence[TuningUpdate], lease: DriverLease) -> list[bool]:
        """See ``TuningStore.apply``."""
        now = self._clock.now()
        mine: list[tuple[int, list[bool]]] = []  # of the last try: count of applies, answers

        def work(connection: Connection, again: bool) -> list[bool]:
            if again and mine and leases.applies(connection, lease) == mine[-1][0]:
                return mine[-1][1]  # the try before was committed, its answer was lost
            count = leases.fence(connection, lease)
            applied = [_apply(connection, each, lease.scope, now) for each in updates]
            mine.append((count, applied))
            return applied

        return self._database.write(work, durable=any(each.durable for each in updates))


def _of_key(connection: Connection, idempotency: IdempotencyKey | None) -> TuningJobRecord | None:
    """Return the tuning job that a key stands for.

    Raises:
        AlreadyExists: The key stands for another request.
    """
    if idempotency is None:
        return None
    query = select(tuning_jobs).where(tuning_jobs.c.idempotency_key == idempotency.key)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    if row["fingerprint"] != idempotency.fingerprint:
        raise AlreadyExists(rules.key_reused(idempotency.key))
    return _record_of(row)


def _apply(connection: Connection, change: TuningUpdate, scope: str, now: datetime) -> bool:
    row = connection.execute(_LOCKED, {"job": change.number}).mappings().first()
    if row is None or row["revision"] != change.revision:
        return False
    _write(connection, tuning_rules.changed(_record_of(row), change, now), scope)
    for job in change.put:
        key = {"job": change.number, "at": job.index}
        values = _job_row(change.number, job)
        if not connection.execute(_UPDATE_TUNED, key | values).rowcount:
            connection.execute(_ADD_TUNED, [values])
    return True


def _write(connection: Connection, record: TuningJobRecord, scope: str | None = None) -> None:
    values = _row(record) | ({} if scope is None else {"scope": scope})
    connection.execute(_UPDATE, {"job": record.number} | values)


def _row(record: TuningJobRecord) -> dict[str, Any]:
    """Return the columns of a tuning job that may change, and its name."""
    details = record.model_dump(mode="json", exclude=_COLUMNS)
    return {
        "name": record.name,
        "name_key": rules.name_key(record.name),
        "arn": record.arn,
        "live": int(not record.status.is_terminal),
        "status": record.status.value,
        "revision": record.revision,
        "created_us": rules.to_us(record.created_at),
        "modified_us": rules.to_us(record.modified_at),
        "details": codec.encode_json(details),
    }


def _job_row(number: int, job: TunedJob) -> dict[str, Any]:
    return {
        "number": number,
        "place": job.index,
        "job_key": rules.name_key(job.job_name),
        "details": codec.clean(job.model_dump_json()),
    }


def _record_of(row: RowMapping) -> TuningJobRecord:
    columns = {
        "number": row["number"],
        "spec": json.loads(row["spec"]),
        "arn": row["arn"],
        "status": row["status"],
        "revision": row["revision"],
        "created_at": rules.from_us(row["created_us"]),
        "modified_at": rules.from_us(row["modified_us"]),
    }
    try:
        return TuningJobRecord.model_validate(json.loads(row["details"]) | columns)
    except ValidationError as error:
        raise StoreError(
            f"the stored tuning job {row['name']!r} must be readable: {error}; it was written by "
            "another version of orchestrator"
        ) from error


def _listed_of(row: RowMapping) -> TuningRow:
    return TuningRow(
        row["number"],
        row["name_key"],
        TrainingJobStatus(row["status"]),
        rules.from_us(row["created_us"]),
        rules.from_us(row["modified_us"]),
    )


def _row_of(connection: Connection, name: str, *, lock: bool = False) -> RowMapping | None:
    query = select(tuning_jobs).where(tuning_jobs.c.name_key == rules.name_key(name))
    if lock:
        query = query.with_for_update()
    return connection.execute(query).mappings().first()


def _named(connection: Connection, name: str, *, lock: bool = False) -> TuningJobRecord:
    row = _row_of(connection, name, lock=lock)
    if row is None:
        raise NotFound(tuning_rules.no_such_tuning_job(name))
    return _record_of(row)


def _jobs_of(connection: Connection, number: int) -> list[TunedJob]:
    found = connection.scalars(_JOBS_OF, {"job": number})
    return [TunedJob.model_validate_json(text) for text in found]
