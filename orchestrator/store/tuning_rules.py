"""What every store of tuning jobs enforces, whatever it keeps its rows in. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from orchestrator.errors import InvalidSpec, InvalidState
from orchestrator.spec.tuned import TunedJob, TuningJobRecord, TuningStatus
from orchestrator.store import rules
from orchestrator.store.base import SortBy
from orchestrator.store.tuning import TunedQuery, TunedSortBy, TuningQuery, TuningUpdate

STOPPING_MESSAGE = "Stopping the tuning job"
_Row = TypeVar("_Row")


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
    if record.status is TuningStatus.STOPPING and status is TuningStatus.IN_PROGRESS:
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
            "status": TuningStatus.STOPPING,
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
    return f"there is no tuning job {name!r}; `orchestrator tune list` shows those that exist"


def name_taken(name: str) -> str:
    """Return the message for a name that another tuning job has."""
    return (
        f"tuning job names must be unique (case does not count), {name!r} is taken; choose "
        "another name or delete the ended tuning job"
    )


def check_page(limit: int) -> None:
    """Check the limit of a page.

    Raises:
        InvalidSpec: It is out of range.
    """
    if not 1 <= limit <= rules.MAX_PAGE:
        raise InvalidSpec(f"limit must be 1 to {rules.MAX_PAGE}, got {limit}")


def digest(query: TuningQuery | TunedQuery, name: str = "") -> str:
    """Return what a cursor is bound to: the list without its limit."""
    return rules.fingerprint(name, replace(query, limit=0, cursor=None))


@dataclass(frozen=True)
class TuningRow:
    """What lists of tuning jobs need to know of each."""

    number: int
    name_key: str
    status: TuningStatus
    created_at: datetime
    modified_at: datetime


def is_listed(row: TuningRow, query: TuningQuery) -> bool:
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
    rows: Iterable[TuningRow], query: TuningQuery, behind: Sequence[Any] | None
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
    query: TuningQuery | TunedQuery,
    behind: Sequence[Any] | None,
) -> tuple[list[_Row], tuple[Any, ...] | None]:
    ordered = sorted(rows, key=place, reverse=query.descending)
    if behind is not None:
        last = tuple(behind)
        comes = operator.lt if query.descending else operator.gt
        ordered = [row for row in ordered if comes(place(row), last)]
    shown = ordered[: query.limit]
    return shown, place(shown[-1]) if len(ordered) > query.limit else None
