"""Lists of jobs: one statement per page, its access path chosen by estimated cost.

Numbers grow in order of creation, so "by creation time" is "by number", and a range of creation
times is a range of numbers. Sorting by status is one list by number per status.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store import counts, cursor, names
from orchestrator.store.base import ListQuery, SortBy
from orchestrator.store.codec import optional_us
from orchestrator.store.tables import BLOCK_SIZE, GRAMS

FEW = 3000
"""So many rows are fetched and sorted faster than an index is searched for hits."""
_COLUMNS = (
    "jobs.number, jobs.name, jobs.name_key, jobs.arn, jobs.backend, jobs.status, "
    "jobs.secondary_status, jobs.created_us, jobs.modified_us, jobs.ended_us, jobs.message"
)


class Path(StrEnum):
    """Where SQLite starts to look; PostgreSQL's planner chooses by itself."""

    NUMBER = "jobs NOT INDEXED"
    STATUS = "jobs INDEXED BY ix_jobs_status_number"
    NAME = "jobs INDEXED BY ix_jobs_name_key"
    STATUS_NAME = "jobs INDEXED BY ix_jobs_status_name_key"
    MODIFIED = "jobs INDEXED BY ix_jobs_modified"
    GRAMS = f"{GRAMS} CROSS JOIN jobs ON jobs.number = {GRAMS}.rowid"
    PLANNER = "jobs"


@dataclass(frozen=True)
class _Want:
    """What rows are wanted, in the database's terms. Bounds are exclusive, times microseconds."""

    by_name: bool
    descending: bool
    limit: int
    term: str | None = None
    grams: str | None = None
    status: TrainingJobStatus | None = None
    number_after: int | None = None
    number_before: int | None = None
    name_after: str | None = None
    name_before: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    modified_after: int | None = None
    modified_before: int | None = None


def page(
    connection: Connection, query: ListQuery, position: cursor.Position | None
) -> list[RowMapping]:
    """Return the rows of a page, and one more when there is a next page."""
    want = _Want(
        by_name=query.sort_by is SortBy.NAME,
        descending=query.descending,
        limit=query.limit + 1,
        status=query.status_equals,
        created_after=optional_us(query.created_after),
        created_before=optional_us(query.created_before),
        modified_after=optional_us(query.modified_after),
        modified_before=optional_us(query.modified_before),
    )
    if query.name_contains:
        term = query.name_contains.lower()
        if not names.is_possible(term):
            return []
        want = replace(want, term=term)
    reader = _Sqlite(connection) if connection.dialect.name == "sqlite" else _Reader(connection)
    want = reader.prepared(want)
    if query.sort_by is SortBy.STATUS:
        return _by_status(reader, want, position)
    return reader.rows(_behind(want, position))


def _by_status(reader: _Reader, want: _Want, position: cursor.Position | None) -> list[RowMapping]:
    statuses = sorted(TrainingJobStatus, reverse=want.descending)
    if want.status is not None:
        statuses = [want.status]
    found: list[RowMapping] = []
    for status in statuses:
        here = replace(want, status=status, limit=want.limit - len(found))
        if position is not None:
            last = str(position[0])
            if status != last and (status < last) is not want.descending:
                continue
            here = _behind(here, position[1:] if status == last else None)
        found += reader.rows(here)
        if len(found) >= want.limit:
            break
    return found


def _behind(want: _Want, position: cursor.Position | None) -> _Want:
    """Narrow down to the rows that follow the last one given out."""
    if position is None:
        return want
    value = position[0]
    if want.by_name:
        name = str(value)
        if want.descending:
            return replace(want, name_before=name)
        return replace(want, name_after=name)
    number = int(value)
    return _between(want, None, number) if want.descending else _between(want, number, None)


def _between(want: _Want, after: int | None, before: int | None) -> _Want:
    """Narrow down to a range of numbers."""
    afters = [bound for bound in (want.number_after, after) if bound is not None]
    befores = [bound for bound in (want.number_before, before) if bound is not None]
    return replace(
        want,
        number_after=max(afters, default=None),
        number_before=min(befores, default=None),
    )


class _Reader:
    """Runs the statement and leaves its plan to the database."""

    contains = "jobs.name_key LIKE :pattern"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def prepared(self, want: _Want) -> _Want:
        """Turn times of creation into numbers."""
        if want.created_after is not None:
            first = self._scalar(
                "SELECT number FROM jobs WHERE created_max_us > :value "
                "ORDER BY created_max_us, number LIMIT 1",
                value=want.created_after,
            )
            want = _between(want, _NOTHING if first is None else first - 1, None)
        upper = [t for t in (want.created_before, want.modified_before) if t is not None]
        if upper:
            skew_us = counts.skew_us(self._connection)
            last = self._scalar(
                "SELECT number FROM jobs WHERE created_max_us < :value "
                "ORDER BY created_max_us DESC, number DESC LIMIT 1",
                value=min(upper) + skew_us,
            )
            want = _between(want, None, 0 if last is None else last + 1)
            if skew_us == 0:
                want = replace(want, created_before=None)
        return want

    def rows(self, want: _Want) -> list[RowMapping]:
        """Return the first rows that are wanted."""
        return self._run(want, Path.PLANNER)

    def _run(self, want: _Want, path: Path) -> list[RowMapping]:
        number = f"{GRAMS}.rowid" if path is Path.GRAMS else "jobs.number"
        conditions, values = _conditions(want, number, self.contains)
        if path is Path.GRAMS:
            conditions.append(f"{GRAMS} MATCH :grams")
            values["grams"] = want.grams
        direction = "DESC" if want.descending else "ASC"
        order = "jobs.name_key" if want.by_name else number
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        statement = (
            f"SELECT {_COLUMNS} FROM {path} {where}ORDER BY {order} {direction} LIMIT :limit"  # noqa: S608 - fixed parts
        )
        result = self._connection.execute(text(statement), {**values, "limit": want.limit})
        return list(result.mappings())

    def _scalar(self, statement: str, **values: Any) -> int | None:
        value = self._connection.scalar(text(statement), values)
        return None if value is None else int(value)


_NOTHING = 2**62
"""A number that no job reaches."""


def _conditions(want: _Want, number: str, contains: str) -> tuple[list[str], dict[str, Any]]:
    bounds = (
        ("number_after", number, ">"),
        ("number_before", number, "<"),
        ("name_after", "jobs.name_key", ">"),
        ("name_before", "jobs.name_key", "<"),
        ("created_after", "jobs.created_us", ">"),
        ("created_before", "jobs.created_us", "<"),
        ("modified_after", "jobs.modified_us", ">"),
        ("modified_before", "jobs.modified_us", "<"),
        ("status", "jobs.status", "="),
    )
    given = [(field, column, sign, getattr(want, field)) for field, column, sign in bounds]
    conditions = [f"{column} {sign} :{field}" for field, column, sign, v in given if v is not None]
    values = {field: value for field, _, _, value in given if value is not None}
    if want.term is not None:
        conditions.append(contains)
        values |= {"term": want.term} if "term" in contains else {"pattern": f"%{want.term}%"}
    return conditions, values


class _Sqlite(_Reader):
    """Chooses the path itself: SQLite's planner has no idea of what a term or a time hits."""

    contains = "instr(jobs.name_key, :term) > 0"

    def prepared(self, want: _Want) -> _Want:
        """Also turn a term into tokens."""
        want = super().prepared(want)
        if want.term is None:
            return want
        return replace(want, grams=self._grams(want.term))

    def rows(self, want: _Want) -> list[RowMapping]:
        """Return the first rows that are wanted."""
        path = self._small_set(want)
        if path is not None:
            return self._run(want, path)
        if want.by_name:
            return self._run(want, Path.NAME if want.status is None else Path.STATUS_NAME)
        return self._by_number(want)

    def _small_set(self, want: _Want) -> Path | None:
        """Return the path of a filter that leaves few rows, if there is one."""
        low, high = want.number_after, want.number_before
        if low is not None and high is not None and high - low <= FEW:
            return Path.NUMBER
        if want.grams is not None and want.by_name and self._is_rare(want.grams):
            return Path.GRAMS
        has_times = want.modified_after is not None or want.modified_before is not None
        if has_times and self._few_modified(want):
            return Path.MODIFIED
        return None

    def _by_number(self, want: _Want) -> list[RowMapping]:
        if want.grams is not None:
            return self._by_term(want)
        path = Path.NUMBER if want.status is None else Path.STATUS
        if want.modified_after is None:
            return self._run(want, path)
        found: list[RowMapping] = []
        for after, before in self._modified_ranges(want):
            part = _between(replace(want, limit=want.limit - len(found)), after, before)
            found += self._run(part, path)
            if len(found) >= want.limit:
                break
        return found

    def _by_term(self, want: _Want) -> list[RowMapping]:
        if want.status is None:
            return self._run(want, Path.GRAMS)
        count = self._scalar(
            "SELECT value FROM counters WHERE name = :status", status=want.status.value
        )
        few = count is not None and count <= FEW
        return self._run(want, Path.STATUS if few else Path.GRAMS)

    def _modified_ranges(self, want: _Want) -> Iterator[tuple[int, int]]:
        """Yield ranges of numbers (exclusive bounds) that hold all jobs modified late enough."""
        direction = "DESC" if want.descending else "ASC"
        found = self._connection.scalars(
            text(
                "SELECT block FROM job_blocks WHERE modified_max_us > :after "  # noqa: S608
                f"ORDER BY block {direction}"
            ),
            {"after": want.modified_after},
        ).all()
        for first, last in _runs([int(block) for block in found]):
            low, high = min(first, last), max(first, last)
            yield low * BLOCK_SIZE - 1, (high + 1) * BLOCK_SIZE

    def _few_modified(self, want: _Want) -> bool:
        part = _Want(
            by_name=False,
            descending=False,
            limit=FEW + 1,
            modified_after=want.modified_after,
            modified_before=want.modified_before,
        )
        conditions, values = _conditions(part, "jobs.number", self.contains)
        return self._count(f"{Path.MODIFIED} WHERE {' AND '.join(conditions)}", FEW, values) <= FEW

    def _grams(self, term: str) -> str:
        runs = names.term_grams(term)
        if len(runs) > names.USED_GRAMS:
            hits = {run: self._hits(names.quoted(run), _PROBE) for run in runs}
            runs = names.most_telling(runs, hits, _PROBE)
        return " AND ".join(names.quoted(run) for run in runs)

    def _is_rare(self, grams: str) -> bool:
        return self._hits(grams, FEW) <= FEW

    def _hits(self, grams: str, limit: int) -> int:
        return self._count(f"{GRAMS} WHERE {GRAMS} MATCH :grams", limit, {"grams": grams})

    def _count(self, source: str, limit: int, values: dict[str, Any]) -> int:
        statement = f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT :most)"  # noqa: S608
        return self._scalar(statement, **values, most=limit + 1) or 0


_PROBE = 400
"""Hits up to which a run of characters counts as rare."""


def _runs(blocks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of neighbours, in the order given."""
    start = previous = None
    for block in blocks:
        if start is None or previous is None:
            start = block
        elif abs(block - previous) != 1:
            yield start, previous
            start = block
        previous = block
    if start is not None and previous is not None:
        yield start, previous
