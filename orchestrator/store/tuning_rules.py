"""What every store of tuning jobs enforces, whatever it keeps its rows in. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from orchestrator.errors import InvalidState
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import Inherited, TunedJob, TuningJobRecord
from orchestrator.spec.tuning import TuningJobSpec
from orchestrator.store import cursor, rules
from orchestrator.store.base import ListQuery, SortBy
from orchestrator.store.tuning import TunedQuery, TunedSortBy, TuningUpdate

STOPPING_MESSAGE = "Stopping the tuning job"
_Row = TypeVar("_Row")


def accepted(
    spec: TuningJobSpec, *, number: int, arn: str, now: datetime, inherited: Sequence[Inherited]
) -> TuningJobRecord:
    """Return a tuning job as it is when it is accepted."""
    return TuningJobRecord(
        number=number,
        spec=spec,
        arn=arn,
        status=TrainingJobStatus.IN_PROGRESS,
        created_at=now,
        modified_at=now,
        inherited=tuple(inherited),
        tags=spec.tags,
    )


def changed(record: TuningJobRecord, update: TuningUpdate, now: datetime) -> TuningJobRecord:
    """Return a tuning job after an update.

    Raises:
        InvalidState: It has ended, or its status would run backwards.
    """
    if record.status.is_terminal:
        raise InvalidState(
            f"an ended tuning job never changes; {record.name!r} is {record.status}"
        )
    status = update.status or record.status
    if record.status is TrainingJobStatus.STOPPING and status is TrainingJobStatus.IN_PROGRESS:
        raise InvalidState(
            f"InProgress may not follow Stopping; tuning job {record.name!r} was not changed"
        )
    if status.is_terminal != (update.ended_at is not None):
        raise InvalidState(
            f"a terminal status comes with the time of the end, got {status} and "
            f"{update.ended_at} for tuning job {record.name!r}"
        )
    given = {
        "message": update.message,
        "failure_reason": update.failure_reason,
        "converged_at": update.converged_at,
        "ended_at": update.ended_at,
    }
    return record.model_copy(
        update={
            **{name: value for name, value in given.items() if value is not None},
            "status": status,
            "revision": record.revision + 1,
            "modified_at": rules.modification_time(now, record.created_at),
        }
    )


def stopping(record: TuningJobRecord, now: datetime) -> TuningJobRecord:
    """Return a tuning job that was asked to stop; the first time counts."""
    if record.status.is_terminal or record.stop_requested_at is not None:
        return record
    return record.model_copy(
        update={
            "status": TrainingJobStatus.STOPPING,
            "message": STOPPING_MESSAGE,
            "stop_requested_at": now,
            "revision": record.revision + 1,
            "modified_at": rules.modification_time(now, record.created_at),
        }
    )


def check_deletable(record: TuningJobRecord) -> None:
    """Check that a tuning job has ended.

    Raises:
        InvalidState: It has not.
    """
    if not record.status.is_terminal:
        raise InvalidState(
            f"only ended tuning jobs can be deleted, {record.name!r} is {record.status}; stop it "
            "first"
        )


def no_such_tuning_job(name: str) -> str:
    """Return the message for a name that nothing has."""
    return f"there is no tuning job {name!r}; `orchestrator tunings` shows those that exist"


def name_taken(name: str) -> str:
    """Return the message for a name that another tuning job has."""
    return (
        f"tuning job names must be unique (case does not count), {name!r} is taken; choose "
        "another name or delete the ended tuning job"
    )


class Pages:
    """Where the pages of a list begin; a token is good for one list of one store.

    Args:
        key: Secret of the store.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def behind(self, query: ListQuery | TunedQuery, name: str = "") -> Sequence[Any] | None:
        """Return behind which place a page begins, None for the first.

        Args:
            query: What is listed.
            name: Whose training jobs are listed; empty for tuning jobs.

        Raises:
            InvalidSpec: The limit is out of range, or the token is of another list.
        """
        rules.check_limit(query.limit)
        if query.cursor is None:
            return None
        return cursor.unseal(self._key, _digest(query, name), query.cursor)

    def token(
        self, query: ListQuery | TunedQuery, last: Sequence[Any] | None, name: str = ""
    ) -> str | None:
        """Return what leads to the page behind a place, None where there is no other page."""
        return None if last is None else cursor.seal(self._key, _digest(query, name), list(last))


def _digest(query: ListQuery | TunedQuery, name: str) -> str:
    return rules.fingerprint(rules.name_key(name), replace(query, limit=0, cursor=None))


@dataclass(frozen=True)
class TuningRow:
    """What lists of tuning jobs need to know of each."""

    number: int
    name_key: str
    status: TrainingJobStatus
    created_at: datetime
    modified_at: datetime


def is_listed(row: TuningRow, query: ListQuery) -> bool:
    """Return whether a tuning job passes the filters of a list."""
    checks: tuple[tuple[Any, Callable[[Any], bool]], ...] = (
        (query.name_contains, lambda term: term.lower() in row.name_key),
        (query.status_equals, lambda status: row.status is status),
        (query.created_after, lambda time: row.created_at > time),
        (query.created_before, lambda time: row.created_at < time),
        (query.modified_after, lambda time: row.modified_at > time),
        (query.modified_before, lambda time: row.modified_at < time),
    )
    return all(asked is None or holds(asked) for asked, holds in checks)


def page_of_rows(
    rows: Iterable[TuningRow], query: ListQuery, behind: Sequence[Any] | None
) -> tuple[list[TuningRow], tuple[Any, ...] | None]:
    """Return one page of tuning jobs, and the place of its last one if there are more."""
    places: dict[SortBy, Callable[[TuningRow], tuple[Any, ...]]] = {
        SortBy.NAME: lambda row: (row.name_key,),
        SortBy.STATUS: lambda row: (row.status.value, row.number),
        SortBy.CREATION_TIME: lambda row: (row.number,),
    }
    listed = [row for row in rows if is_listed(row, query)]
    return _page(listed, places[query.sort_by], query, behind)


def page_of_jobs(
    jobs: Iterable[TunedJob], query: TunedQuery, behind: Sequence[Any] | None
) -> tuple[list[TunedJob], tuple[Any, ...] | None]:
    """Return one page of training jobs, and the place of its last one if there are more."""
    places: dict[TunedSortBy, Callable[[TunedJob], tuple[Any, ...]]] = {
        TunedSortBy.NAME: lambda job: (job.job_name,),
        TunedSortBy.STATUS: lambda job: (job.status.value if job.status else "", job.index),
        TunedSortBy.CREATION_TIME: lambda job: (job.index,),
        TunedSortBy.OBJECTIVE: lambda job: _by_objective(job, descending=query.descending),
    }
    wanted = query.status_equals
    listed = [job for job in jobs if wanted is None or job.status is wanted]
    return _page(listed, places[query.sort_by], query, behind)


def _by_objective(job: TunedJob, *, descending: bool) -> tuple[Any, ...]:
    """Return a place; those that have no objective come last in both orders."""
    value = job.objectives[0] if job.objectives else math.nan
    is_missing = math.isnan(value)
    return (is_missing is not descending, 0.0 if is_missing else value, job.index)


def _page(
    rows: Iterable[_Row],
    place: Callable[[_Row], tuple[Any, ...]],
    query: ListQuery | TunedQuery,
    behind: Sequence[Any] | None,
) -> tuple[list[_Row], tuple[Any, ...] | None]:
    ordered = sorted(rows, key=place, reverse=query.descending)
    if behind is not None:
        last = tuple(behind)
        comes = operator.lt if query.descending else operator.gt
        ordered = [row for row in ordered if comes(place(row), last)]
    shown = ordered[: query.limit]
    return shown, place(shown[-1]) if len(ordered) > query.limit else None
