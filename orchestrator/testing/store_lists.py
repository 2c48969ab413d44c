"""What every store does for lists: filters, orders, pages, counted against plain Python."""

# ruff: noqa: D102 - each test is named as a sentence

from __future__ import annotations

import base64
import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.store.base import JobSummary, ListQuery, SortBy, Store
from orchestrator.testing.store_jobs import (
    SCOPE,
    START,
    SetClock,
    StoreFixtures,
    ended,
    started,
    submit,
    take_over,
)

NAMES = (
    "train-resnet-001",
    "Train-ResNet-002",
    "tune-bert-abc",
    "tune-bert-xyz",
    "a",
    "A-b",
    "z9",
    "aaaaaaaa",
    "banana-ananas",
    "digits-cnn-20261125-120000-ab12",
    "digits-cnn-20261125-120001-cd34",
    "x" * 63,
    "Qq",
    "resnet",
    "1-2-3",
)
TERMS = (
    "a",
    "A",
    "q",
    "-",
    "1-",
    "na",
    "net",
    "RESNET",
    "anan",
    "train-resnet-00",
    "digits-cnn-20261125-12000",
    "bert-net",
    "cnn-ab12",
    "xxxx",
    "absent",
    "_",
    "%",
    "a%",
    "ü",
    '"',
    "' OR 1=1 --",
    "x" * 64,
)
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"status_equals": TrainingJobStatus.IN_PROGRESS},
    {"status_equals": TrainingJobStatus.FAILED},
    {"created_after": START + timedelta(seconds=4)},
    {"created_before": START + timedelta(seconds=4)},
    {"created_after": START, "created_before": START + timedelta(seconds=9)},
    {"created_after": START + timedelta(days=1)},
    {"created_before": START - timedelta(days=1)},
    {"modified_after": START + timedelta(seconds=100)},
    {"modified_before": START + timedelta(seconds=100)},
    {
        "modified_after": START + timedelta(seconds=5),
        "modified_before": START + timedelta(seconds=101),
    },
    {"modified_after": START + timedelta(seconds=100), "created_after": START},
    {"status_equals": TrainingJobStatus.COMPLETED, "modified_after": START},
    {"name_contains": "net", "status_equals": TrainingJobStatus.IN_PROGRESS},
    {"name_contains": "a", "created_after": START + timedelta(seconds=2)},
    {"name_contains": "t", "modified_before": START + timedelta(seconds=100)},
)
ORDERS = tuple(itertools.product(SortBy, (True, False)))


def fill(store: Store, clock: SetClock) -> list[TrainingJobRecord]:
    """Make jobs of every status, some of them created while the clock was behind."""
    for place, name in enumerate(NAMES):
        clock.move(-3600.0 if place == len(NAMES) - 3 else 1.0)
        submit(store, name, clock.now())
    lease = take_over(store)
    jobs = store.active_jobs(SCOPE, ["process"])
    reasons = (EndReason.COMPLETED, EndReason.EXIT_CODE, EndReason.USER_STOP)
    for place, job in enumerate(jobs[::2]):
        clock.time = START + timedelta(seconds=100 + place)
        update = started(job) if place % 4 == 3 else ended(job, reasons[place % 4])
        assert store.apply([update], lease) == [True]
    for name in ("a", "1-2-3"):
        store.request_stop(name, intent=EndReason.USER_STOP, grace_seconds=None, now=clock.move(1))
    return [store.get_job(name) for name in NAMES]


def everything(store: Store, query: ListQuery) -> list[JobSummary]:
    """Return the rows of all pages."""
    found: list[JobSummary] = []
    for _ in range(len(NAMES) + 2):
        page = store.list_jobs(query)
        assert len(page.jobs) <= query.limit
        found += page.jobs
        if page.next_cursor is None:
            return found
        query = replace(query, cursor=page.next_cursor)
    raise AssertionError("the pages do not end")


def expected(jobs: list[TrainingJobRecord], query: ListQuery) -> list[str]:
    """Return the names that a query finds, in its order."""
    found = [job for job in jobs if _fits(job, query)]
    keys = {
        SortBy.NAME: lambda job: (job.name.lower(),),
        SortBy.CREATION_TIME: lambda job: (job.number,),
        SortBy.STATUS: lambda job: (job.status.value, job.number),
    }
    found.sort(key=keys[query.sort_by], reverse=query.descending)
    return [job.name for job in found]


def _fits(job: TrainingJobRecord, query: ListQuery) -> bool:
    def inside(moment: datetime, after: datetime | None, before: datetime | None) -> bool:
        return (after is None or moment > after) and (before is None or moment < before)

    return (
        (query.name_contains or "").lower() in job.name.lower()
        and query.status_equals in {None, job.status}
        and inside(job.created_at, query.created_after, query.created_before)
        and inside(job.modified_at, query.modified_after, query.modified_before)
    )


class ListContract(StoreFixtures):
    """What lists promise."""

    @pytest.fixture
    def filled(self, store: Store, clock: SetClock) -> list[TrainingJobRecord]:
        """Return the jobs of a filled store."""
        return fill(store, clock)

    @pytest.mark.parametrize("limit", [1, 4, 1000])
    def test_every_filter_in_every_order_finds_what_python_finds(
        self, store: Store, filled: list[TrainingJobRecord], limit: int
    ) -> None:
        for filters, (sort_by, descending) in itertools.product(FILTERS, ORDERS):
            query = ListQuery(**filters, sort_by=sort_by, descending=descending, limit=limit)
            names = [row.name for row in everything(store, query)]
            assert names == expected(filled, query), query

    def test_every_part_of_a_name_finds_what_python_finds(
        self, store: Store, filled: list[TrainingJobRecord]
    ) -> None:
        for term, (sort_by, descending) in itertools.product(TERMS, ORDERS):
            query = ListQuery(name_contains=term, sort_by=sort_by, descending=descending, limit=3)
            names = [row.name for row in everything(store, query)]
            assert names == expected(filled, query), query

    def test_a_row_says_what_the_job_is(
        self, store: Store, filled: list[TrainingJobRecord]
    ) -> None:
        rows = everything(store, ListQuery(descending=False, limit=1000))
        assert rows == [
            JobSummary(
                number=job.number,
                name=job.name,
                arn=job.arn,
                backend=job.spec.backend,
                status=job.status,
                secondary_status=job.secondary_status,
                created_at=job.created_at,
                modified_at=job.modified_at,
                ended_at=job.ended_at,
                message=job.message,
            )
            for job in filled
        ]

    def test_jobs_that_come_or_go_between_pages_move_no_other(
        self, store: Store, filled: list[TrainingJobRecord], clock: SetClock
    ) -> None:
        query = ListQuery(limit=4)
        first = store.list_jobs(query)
        submit(store, "newcomer", clock.now())
        gone = next(job for job in filled if job.status is TrainingJobStatus.COMPLETED)
        store.delete_job(gone.name)
        rest = everything(store, replace(query, cursor=first.next_cursor))
        names = [row.name for row in [*first.jobs, *rest]]
        shown = {row.name for row in first.jobs}
        assert names == [job.name for job in reversed(filled) if job != gone or job.name in shown]

    def test_a_deleted_name_is_not_found(
        self, store: Store, filled: list[TrainingJobRecord]
    ) -> None:
        gone = next(job for job in filled if job.status is TrainingJobStatus.COMPLETED)
        store.delete_job(gone.name)
        for term in (gone.name, gone.name[:3], gone.name[0]):
            assert gone.name not in [
                row.name for row in everything(store, ListQuery(name_contains=term))
            ]

    def test_a_cursor_serves_its_own_query_only(
        self, store: Store, filled: list[TrainingJobRecord]
    ) -> None:
        assert filled
        query = ListQuery(limit=2)
        cursor = store.list_jobs(query).next_cursor
        assert cursor is not None
        others: tuple[dict[str, Any], ...] = (
            {"descending": False},
            {"sort_by": SortBy.NAME},
            {"name_contains": "a"},
            {"status_equals": TrainingJobStatus.FAILED},
            {"created_after": START},
        )
        for other in others:
            with pytest.raises(InvalidSpec, match="next token"):
                store.list_jobs(replace(query, cursor=cursor, **other))
        assert store.list_jobs(replace(query, cursor=cursor, limit=5)).jobs

    def test_a_damaged_cursor_is_refused(
        self, store: Store, filled: list[TrainingJobRecord]
    ) -> None:
        assert filled
        cursor = store.list_jobs(ListQuery(limit=2)).next_cursor
        assert cursor is not None
        raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        raw[-1] ^= 1
        forged = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        for bad in ("", "x", "ü", "!!!", cursor[:-4], cursor + "AAAA", forged, "A" * 10_000):
            with pytest.raises(InvalidSpec, match="next token"):
                store.list_jobs(ListQuery(limit=2, cursor=bad))

    @pytest.mark.parametrize("limit", [0, -1, 1001])
    def test_a_page_has_one_to_a_thousand_rows(self, store: Store, limit: int) -> None:
        with pytest.raises(InvalidSpec, match=str(limit)):
            store.list_jobs(ListQuery(limit=limit))

    def test_an_empty_store_has_an_empty_list(self, store: Store) -> None:
        for sort_by, descending in ORDERS:
            page = store.list_jobs(ListQuery(sort_by=sort_by, descending=descending))
            assert (page.jobs, page.next_cursor) == ((), None)
