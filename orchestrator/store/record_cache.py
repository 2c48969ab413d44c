"""Reads whole jobs for those who only look: one statement where all of them are known already."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from functools import lru_cache
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select, text

from orchestrator.spec.record import TrainingJobRecord
from orchestrator.store import records, rules
from orchestrator.store.tables import jobs

RECORDS_KEPT = 2048
_FEW = 32
"""So many that are not known are read by their numbers, more by the condition itself."""

Identity = tuple[int, int]
Version = tuple[int, int]


class RecordCache:
    """A record is made of rows that change only with their job's version: it is made once for each.

    Not for transactions that write: what they see may never come to be.

    Args:
        specs: The specifications.
        most: So many records are kept: those that were asked for last.
    """

    def __init__(self, specs: records.SpecCache, most: int = RECORDS_KEPT) -> None:
        self._specs = specs
        self._most = most
        self._lock = Lock()
        self._known: OrderedDict[Identity, tuple[Version, TrainingJobRecord]] = OrderedDict()

    def named(self, connection: Connection, name: str) -> TrainingJobRecord:
        """Return the job of this name.

        Raises:
            NotFound: There is none.
        """
        wanted = {"name_key": rules.name_key(name)}
        return records.only(self._load(connection, records.NAMED, wanted), name)

    def several(
        self, connection: Connection, names: Iterable[str], *, history: bool
    ) -> dict[str, TrainingJobRecord]:
        """Return the jobs of these names by the key of their names.

        They are not kept: who looks through all jobs must not push out what others look at.

        Args:
            connection: Sees one state throughout.
            names: Of the jobs.
            history: False = those that are not known come without transitions and hosts.
        """
        found = {}
        for keys in records.slices(sorted({rules.name_key(name) for name in names})):
            asked = {"name_keys": list(keys)}
            for record in self._load(
                connection, records.AMONG_NAMES, asked, keep=False, history=history
            ):
                found[rules.name_key(record.name)] = record
        return found

    def active(
        self, connection: Connection, scope: str, backends: Collection[str], queued_limit: int
    ) -> list[TrainingJobRecord]:
        """Return the jobs of a driver that have not ended, in its order."""
        found = self._load(connection, _active(scope, tuple(sorted(backends)), queued_limit), {})
        return sorted(found, key=lambda record: (-record.spec.priority, record.number))

    def _load(
        self,
        connection: Connection,
        wanted: records.Wanted,
        values: dict[str, Any],
        *,
        keep: bool = True,
        history: bool = True,
    ) -> list[TrainingJobRecord]:
        rows = connection.execute(wanted.versions, values).all()
        known = self._lookup(rows)
        missing = [row for row in rows if row.number not in known]
        if not missing:
            return list(known.values())
        if len(missing) <= _FEW:
            wanted = records.AMONG_NUMBERS
            values = {"numbers": [row.number for row in missing]}
        read = records.load(connection, wanted, self._specs, values, keep=keep, history=history)
        loaded = {record.number: record for record in read}
        if keep:
            self._keep((row, loaded[row.number]) for row in missing)
        return list((known | loaded).values())

    def _lookup(self, rows: Iterable[Row[Any]]) -> dict[int, TrainingJobRecord]:
        found = {}
        with self._lock:
            for row in rows:
                version, record = self._known.get(_identity(row), (None, None))
                if record is not None and version == _version(row):
                    self._known.move_to_end(_identity(row))
                    found[record.number] = record
        return found

    def _keep(self, read: Iterable[tuple[Row[Any], TrainingJobRecord]]) -> None:
        with self._lock:
            for row, record in read:
                self._known[_identity(row)] = (_version(row), record)
            while len(self._known) > self._most:
                self._known.popitem(last=False)


def _identity(row: Row[Any]) -> Identity:
    return row.number, row.accept_id


def _version(row: Row[Any]) -> Version:
    """Revision and time: a server that lost its last commits in a crash gives a revision twice."""
    return row.revision, row.modified_us


@lru_cache(maxsize=16)
def _active(scope: str, backends: tuple[str, ...], queued_limit: int) -> records.Wanted:
    waiting = jobs.alias("waiting")
    queued = (
        select(waiting.c.number)
        .where(
            text("waiting.live = 1"),
            waiting.c.scope.is_(None),
            waiting.c.backend.in_(backends),
        )
        .order_by(waiting.c.turn, waiting.c.number)
        .limit(queued_limit)
    )
    mine = or_(jobs.c.scope == scope, jobs.c.number.in_(queued))
    return records.Wanted(and_(records.LIVE, mine))
