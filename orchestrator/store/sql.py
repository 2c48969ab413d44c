"""The durable store: SQLAlchemy Core on SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from orchestrator.clock import Clock, SystemClock
from orchestrator.errors import InvalidSpec, NotFound, OrchestratorError
from orchestrator.group_commit import GroupCommit
from orchestrator.spec.job import Tag, TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.store import (
    accept,
    changes,
    codec,
    counts,
    cursor,
    leases,
    migrate,
    records,
    rules,
    tables,
)
from orchestrator.store.base import (
    QUEUED_LIMIT,
    STOPPING_MESSAGE,
    DriverLease,
    IdempotencyKey,
    JobUpdate,
    ListQuery,
    NewJob,
    Page,
    ResourceLease,
    SortBy,
    Store,
)
from orchestrator.store.engine import Database
from orchestrator.store.failures import RowRefused
from orchestrator.store.listing import Reader
from orchestrator.store.listing_sqlite import SqliteReader
from orchestrator.store.record_cache import RecordCache
from orchestrator.store.sqlite import BUSY_TIMEOUT_SECONDS, SqliteDatabase
from orchestrator.store.tuning_sql import SqlTuningStore

BACKUPS_KEPT = 3
_META_IF_ABSENT = text(
    "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING"
)


@dataclass(frozen=True)
class _Stop:
    name: str
    intent: EndReason
    grace_seconds: float | None
    now: datetime
    message: str


_Durable = accept.Submission | _Stop


def open_store(
    where: str | Path | None = None,
    *,
    home: Path | None = None,
    clock: Clock | None = None,
    busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    before_sync: Callable[[], None] | None = None,
) -> SqlStore:
    """Open a store and bring its tables up to date; a new SQLite file is made.

    Args:
        where: Path of an SQLite file, or a ``sqlite:///`` or ``postgresql://`` URL.
        home: Directory of ``store.sqlite3``, when ``where`` is not given.
        clock: Source of the modification times that ``apply`` writes.
        busy_timeout_seconds: How long to wait for another writer, or for the server to return.
        before_sync: Called before each durable commit; for benchmarks.

    Raises:
        InvalidSpec: The URL names another database.
        StoreError: It cannot be opened, or a newer program made it.
        StoreDamaged: The file is no sound database.
    """
    if where is None:
        where = (home or Path()) / "store.sqlite3"
    database = _database(str(where), busy_timeout_seconds, before_sync)
    try:
        migrate.prepare(database)
    except BaseException:
        database.close()
        raise
    return SqlStore(database, clock=clock)


def _database(
    where: str, timeout_seconds: float, before_sync: Callable[[], None] | None
) -> Database:
    scheme, separator, rest = where.partition("://")
    if not separator or scheme == "sqlite":
        path = Path(rest.removeprefix("/") if separator else where)
        return SqliteDatabase(path, busy_timeout_seconds=timeout_seconds, before_sync=before_sync)
    if scheme.partition("+")[0] in {"postgresql", "postgres"}:
        try:
            from orchestrator.store.postgresql import PostgresqlDatabase  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise InvalidSpec(
                f"a {scheme}:// URL needs the Python package {error.name}, which is not "
                "installed; install orchestrator[postgres]"
            ) from error
        return PostgresqlDatabase(where, retry_seconds=timeout_seconds, before_sync=before_sync)
    raise InvalidSpec(
        f"the store must be an SQLite file or a postgresql:// URL, got {scheme}://…; "
        "MySQL and others are not supported"
    )


class SqlStore(Store):
    """Rows in a database. Made by ``open_store``."""

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock: Clock = clock or SystemClock()
        self._specs = records.SpecCache()
        self._records = RecordCache(self._specs)
        self._group: GroupCommit[_Durable, TrainingJobRecord] = GroupCommit(self._commit)
        self._cursor_key = bytes.fromhex(self.meta(migrate.CURSOR_KEY))
        self.tunings = SqlTuningStore(database, self._cursor_key, self._clock)

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
        return self._group.submit(
            accept.submission(spec, arn=arn, now=now, idempotency=idempotency, notes=notes)
        )

    def create_jobs(
        self, requests: Sequence[NewJob]
    ) -> list[TrainingJobRecord | OrchestratorError]:
        """See ``Store.create_jobs``."""
        checked = [_submission(new) for new in requests]
        batch = [member for member in checked if isinstance(member, accept.Submission)]
        try:
            accepted = iter(self._commit(batch) if batch else ())
        except OrchestratorError as error:
            accepted = iter([error] * len(batch))
        answers = [
            next(accepted) if isinstance(member, accept.Submission) else member
            for member in checked
        ]
        return cast("list[TrainingJobRecord | OrchestratorError]", answers)

    def find_idempotent(self, idempotency: IdempotencyKey) -> TrainingJobRecord | None:
        """See ``Store.find_idempotent``."""
        return self._database.ask(
            lambda connection: accept.find_idempotent(connection, idempotency, self._specs)
        )

    def get_job(self, name: str) -> TrainingJobRecord:
        """See ``Store.get_job``."""
        return self._database.ask(lambda connection: self._records.named(connection, name))

    def get_jobs(
        self, names: Iterable[str], *, history: bool = True
    ) -> dict[str, TrainingJobRecord]:
        """See ``Store.get_jobs``."""
        asked = list(names)
        found = self._database.ask(
            lambda connection: self._records.several(connection, asked, history=history)
        )
        return records.as_asked(asked, found)

    def get_tags_of(self, names: Iterable[str]) -> dict[str, tuple[Tag, ...]]:
        """See ``Store.get_tags_of``."""
        asked = list(names)
        found = self._database.ask(lambda connection: records.load_tags_of(connection, asked))
        return records.as_asked(asked, found)

    def list_jobs(self, query: ListQuery) -> Page:
        """See ``Store.list_jobs``."""
        rules.check_limit(query.limit)
        position = cursor.decode(self._cursor_key, query)
        reader = SqliteReader if self._database.is_sqlite else Reader
        rows = self._database.ask(lambda connection: reader(connection).page(query, position))
        shown = [codec.summary_of(row) for row in rows[: query.limit]]
        if len(rows) <= query.limit:
            return Page(tuple(shown), None)
        last = rows[query.limit - 1]
        behind: cursor.Position = [last["number"]]
        if query.sort_by is SortBy.NAME:
            behind = [last["name_key"]]
        elif query.sort_by is SortBy.STATUS:
            behind = [last["status"], last["number"]]
        return Page(tuple(shown), cursor.encode(self._cursor_key, query, behind))

    def count_by_status(self) -> dict[TrainingJobStatus, int]:
        """See ``Store.count_by_status``."""
        return self._database.ask(lambda connection: counts.by_status(connection))

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
        return self._group.submit(_Stop(name, intent, grace_seconds, now, message))

    def delete_job(self, name: str) -> None:
        """See ``Store.delete_job``."""

        def work(connection: Connection, again: bool) -> None:
            try:
                changes.delete_job(connection, name)
            except NotFound:
                if not again:
                    raise

        self._database.write(work, durable=True)

    def set_tags(self, name: str, *, put: Sequence[Tag], remove: Sequence[str]) -> tuple[Tag, ...]:
        """See ``Store.set_tags``."""
        return self._database.write(
            lambda connection, _: changes.set_tags(connection, name, put, remove), durable=True
        )

    def get_tags(self, name: str) -> tuple[Tag, ...]:
        """See ``Store.get_tags``."""
        return self._database.ask(
            lambda connection: records.load_tags(connection, records.number_of(connection, name))
        )

    # -- the driver ------------------------------------------------------------------------

    def lease_time(self, clock: Clock) -> datetime:
        """See ``Store.lease_time``; a server's own clock where several machines share it."""
        if self._database.is_sqlite:
            return clock.now()
        now: datetime = self._database.ask(
            lambda connection: connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        )
        return now.astimezone(UTC)

    def acquire_driver(
        self, scope: str, *, owner: str, now: datetime, ttl_seconds: float, force: bool = False
    ) -> DriverLease | None:
        """See ``Store.acquire_driver``."""
        return self._database.write(
            lambda connection, _: leases.acquire(
                connection, scope, owner=owner, now=now, ttl_seconds=ttl_seconds, force=force
            ),
            durable=True,
        )

    def renew_driver(
        self, lease: DriverLease, *, now: datetime, ttl_seconds: float
    ) -> DriverLease:
        """See ``Store.renew_driver``."""
        return self._database.write(
            lambda connection, _: leases.renew(
                connection, lease, now=now, ttl_seconds=ttl_seconds
            ),
            durable=False,
        )

    def release_driver(self, lease: DriverLease) -> None:
        """See ``Store.release_driver``."""
        self._database.write(
            lambda connection, _: leases.release(connection, lease), durable=False
        )

    def active_jobs(
        self, scope: str, backends: Iterable[str], *, queued_limit: int = QUEUED_LIMIT
    ) -> list[TrainingJobRecord]:
        """See ``Store.active_jobs``."""
        return self._database.ask(
            lambda connection: self._records.active(connection, scope, set(backends), queued_limit)
        )

    def resource_leases(self, scope: str) -> list[ResourceLease]:
        """See ``Store.resource_leases``."""
        return self._database.ask(lambda connection: leases.held(connection, scope))

    def apply(self, updates: Sequence[JobUpdate], lease: DriverLease) -> list[bool]:
        """See ``Store.apply``."""
        now = self._clock.now()
        mine: list[tuple[int, list[bool]]] = []  # of the last try: count of applies, answers

        def work(connection: Connection, again: bool) -> list[bool]:
            if again and mine and leases.applies(connection, lease) == mine[-1][0]:
                return mine[-1][1]  # the try before was committed, its answer was lost
            count = leases.fence(connection, lease)
            applied = changes.apply(connection, updates, lease.scope, now)
            mine.append((count, applied))
            return applied

        return self._database.write(work, durable=any(update.durable for update in updates))

    # -- everybody -------------------------------------------------------------------------

    def meta(self, key: str, default: str | None = None) -> str:
        """See ``Store.meta``."""
        found = self._database.ask(lambda connection: _meta(connection, key))
        if found is None and default is not None:
            found = self._database.write(
                lambda connection, _: _meta_or_set(connection, key, default), durable=True
            )
        if found is None:
            raise NotFound(f"the store has no fact {key!r}")
        return found

    def backup(self) -> Path | None:
        """See ``Store.backup``."""
        return self._database.backup(BACKUPS_KEPT)

    def check(self) -> None:
        """See ``Store.check``."""
        self._database.check()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    # -- group commit ----------------------------------------------------------------------

    def _commit(self, batch: Sequence[_Durable]) -> list[TrainingJobRecord | Exception]:
        try:
            return self._database.write(
                lambda connection, _: self._answers(connection, batch), durable=True
            )
        except RowRefused:
            return self._database.write(
                lambda connection, _: [self._answer_alone(connection, member) for member in batch],
                durable=True,
            )

    def _answers(
        self, connection: Connection, batch: Sequence[_Durable]
    ) -> list[TrainingJobRecord | Exception]:
        new = [member for member in batch if isinstance(member, accept.Submission)]
        accepted = iter(accept.accept(connection, new, self._specs) if new else [])
        return [
            self._stopped(connection, member) if isinstance(member, _Stop) else next(accepted)
            for member in batch
        ]

    def _stopped(self, connection: Connection, stop: _Stop) -> TrainingJobRecord | Exception:
        try:
            changes.request_stop(
                connection,
                stop.name,
                intent=stop.intent,
                grace_seconds=stop.grace_seconds,
                now=stop.now,
                message=stop.message,
            )
            return records.by_name(connection, stop.name, self._specs)
        except OrchestratorError as error:
            return error

    def _answer_alone(
        self, connection: Connection, member: _Durable
    ) -> TrainingJobRecord | Exception:
        """Write one member of a batch so that its failure leaves the others unharmed."""
        try:
            with connection.begin_nested():
                return self._answers(connection, [member])[0]
        except DBAPIError as error:
            return RowRefused(f"the state store refused the request: {error.orig}")


def _submission(new: NewJob) -> accept.Submission | OrchestratorError:
    try:
        return accept.submission(
            new.spec, arn=new.arn, now=new.now, idempotency=new.idempotency, notes=new.notes
        )
    except OrchestratorError as error:
        return error


def _meta(connection: Connection, key: str) -> str | None:
    query = select(tables.meta.c.value).where(tables.meta.c.key == key)
    return cast("str | None", connection.scalar(query))


def _meta_or_set(connection: Connection, key: str, default: str) -> str | None:
    connection.execute(_META_IF_ABSENT, {"key": key, "value": default})
    return _meta(connection, key)
