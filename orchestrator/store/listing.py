"""Lists of jobs: what is wanted, and how any database is asked for it.

Numbers grow in order of creation, so "by creation time" is "by number", and a range of creation
times is a range of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store import counts, names
from orchestrator.store.base import ListQuery, SortBy
from orchestrator.store.codec import optional_us

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from orchestrator.store.cursor import Position

_COLUMNS = (
    "jobs.number, jobs.name, jobs.name_key, jobs.arn, jobs.backend, jobs.status, "
    "jobs.secondary_status, jobs.created_us, jobs.modified_us, jobs.ended_us, jobs.message"
)
_BOUNDS = (
    ("number_after", "{number}", ">"),
    ("number_before", "{number}", "<"),
    ("name_from", "jobs.name_key", ">="),
    ("name_after", "jobs.name_key", ">"),
    ("name_before", "jobs.name_key", "<"),
    ("created_after", "jobs.created_us", ">"),
    ("created_before", "jobs.created_us", "<"),
    ("modified_after", "jobs.modified_us", ">"),
    ("modified_before", "jobs.modified_us", "<"),
    ("status", "jobs.status", "="),
)
_BEHIND_STATUS = "(jobs.status, jobs.number) {sign} (:last_status, :last_number)"


@dataclass(frozen=True)
class Want:
    """What rows are wanted, in the database's terms. Times are microseconds."""

    sort_by: SortBy
    descending: bool
    limit: int
    term: str | None = None
    status: TrainingJobStatus | None = None
    number_after: int | None = None
    number_before: int | None = None
    name_from: str | None = None
    name_after: str | None = None
    name_before: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    modified_after: int | None = None
    modified_before: int | None = None
    last_status: str | None = None
    last_number: int | None = None

    @property
    def direction(self) -> str:
        """The word for the order."""
        return "DESC" if self.descending else "ASC"

    def order(self, number: str) -> str:
        """Return what stands after ORDER BY."""
        columns = {
            SortBy.NAME: ("jobs.name_key",),
            SortBy.CREATION_TIME: (number,),
            SortBy.STATUS: ("jobs.status", number),
        }
        return ", ".join(f"{column} {self.direction}" for column in columns[self.sort_by])

    def behind(self, position: Position | None) -> Want:
        """Narrow down to the rows that follow the last one given out."""
        if position is None:
            return self
        last = position[0]
        if self.sort_by is SortBy.STATUS:
            return replace(self, last_status=str(last), last_number=int(position[1]))
        if self.sort_by is SortBy.CREATION_TIME:
            return self.past(int(last))
        if self.descending:
            return replace(self, name_before=str(last))
        return replace(self, name_after=str(last))

    def numbers_only(self) -> Want:
        """Return the same order and numbers without any other filter."""
        return Want(
            SortBy.CREATION_TIME,
            self.descending,
            self.limit,
            number_after=self.number_after,
            number_before=self.number_before,
        )

    def modified_only(self) -> Want:
        """Return the same times of modification without any other filter."""
        return Want(
            SortBy.CREATION_TIME,
            self.descending,
            self.limit,
            modified_after=self.modified_after,
            modified_before=self.modified_before,
        )

    def past(self, number: int) -> Want:
        """Narrow down to what follows a number in the order."""
        return self.between(None, number) if self.descending else self.between(number, None)

    def between(self, after: int | None, before: int | None) -> Want:
        """Narrow down to a range of numbers, its bounds excluded."""
        afters = [bound for bound in (self.number_after, after) if bound is not None]
        befores = [bound for bound in (self.number_before, before) if bound is not None]
        return replace(
            self,
            number_after=max(afters, default=None),
            number_before=min(befores, default=None),
        )


class Reader:
    """Runs one statement and leaves its plan to the database."""

    contains = "jobs.name_key LIKE '%' || :term || '%'"  # a possible term has no wildcards

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def page(self, query: ListQuery, position: Position | None) -> list[RowMapping]:
        """Return the rows of a page, and one more when there is a next page."""
        want = Want(
            sort_by=query.sort_by,
            descending=query.descending,
            limit=query.limit + 1,
            term=query.name_contains.lower() if query.name_contains else None,
            status=query.status_equals,
            created_after=optional_us(query.created_after),
            created_before=optional_us(query.created_before),
            modified_after=optional_us(query.modified_after),
            modified_before=optional_us(query.modified_before),
        )
        if want.term is not None and not names.is_possible(want.term):
            return []
        return self.rows(self._with_numbers(want).behind(position))

    def rows(self, want: Want) -> list[RowMapping]:
        """Return the first rows that are wanted."""
        return self.run(want, "jobs")

    def run(
        self, want: Want, source: str, *, number: str = "jobs.number", **values: Any
    ) -> list[RowMapping]:
        """Run the one statement of all lists.

        Args:
            want: Filters, order and limit.
            source: What stands after FROM, up to conditions of its own.
            number: The column that has the job number, and its order.
            values: Parameters of the source.
        """
        conditions, parameters = self.conditions(want, number)
        glue = " AND " if " WHERE " in source else " WHERE "
        where = glue + " AND ".join(conditions) if conditions else ""
        statement = (
            f"SELECT {_COLUMNS} FROM {source}{where} "  # noqa: S608 - all parts are fixed texts
            f"ORDER BY {want.order(number)} LIMIT :limit"
        )
        found = self.connection.execute(
            text(statement), {**parameters, **values, "limit": want.limit}
        )
        return list(found.mappings())

    def conditions(self, want: Want, number: str) -> tuple[list[str], dict[str, Any]]:
        """Return the filters as conditions with their parameters."""
        given = [field for field, _, _ in _BOUNDS if getattr(want, field) is not None]
        conditions = [
            f"{column.format(number=number)} {sign} :{field}"
            for field, column, sign in _BOUNDS
            if field in given
        ]
        values = {field: getattr(want, field) for field in given}
        if want.term is not None:
            conditions.append(self.contains)
            values["term"] = want.term
        if want.last_status is not None:
            conditions.append(_BEHIND_STATUS.format(sign="<" if want.descending else ">"))
            values |= {"last_status": want.last_status, "last_number": want.last_number}
        return conditions, values

    def number(self, statement: str, **values: Any) -> int | None:
        """Return the number that a statement finds."""
        value = self.connection.scalar(text(statement), values)
        return None if value is None else int(value)

    def _with_numbers(self, want: Want) -> Want:
        """Turn times of creation into numbers; a job is never modified before it is created."""
        upper = [t for t in (want.created_before, want.modified_before) if t is not None]
        if upper:
            skew_us = counts.skew_us(self.connection)
            last = self.number(
                "SELECT number FROM jobs WHERE created_max_us < :value "
                "ORDER BY created_max_us DESC, number DESC LIMIT 1",
                value=min(upper) + skew_us,
            )
            want = want.between(None, 1 if last is None else last + 1)
            if skew_us == 0:
                want = replace(want, created_before=None)
        if want.created_after is not None:
            first = self.number(
                "SELECT number FROM jobs WHERE created_max_us > :value "
                "ORDER BY created_max_us, number LIMIT 1",
                value=want.created_after,
            )
            end = counts.last_number(self.connection) + 1
            want = want.between(end if first is None else first - 1, end)
        return want
