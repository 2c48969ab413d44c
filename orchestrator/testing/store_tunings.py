"""What every store does with tuning jobs."""

# ruff: noqa: D102 - each test is named as a sentence

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.errors import (
    AlreadyExists,
    InvalidSpec,
    InvalidState,
    LimitExceeded,
    NotFound,
    StaleLock,
)
from orchestrator.spec.job import Tag, TrainingJobSpec
from orchestrator.spec.ranges import ContinuousParameter
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import (
    Inherited,
    ObjectiveStatus,
    TunedJob,
    TunedRung,
    TuningJobRecord,
)
from orchestrator.spec.tuning import (
    TrainingJobDefinition,
    TuningJobSpec,
    TuningLimits,
    TuningObjective,
)
from orchestrator.store.base import IdempotencyKey, ListQuery, SortBy, Store
from orchestrator.store.tuning import TunedQuery, TunedSortBy, TuningUpdate
from orchestrator.testing.store_jobs import (
    SCOPE,
    START,
    THREADS,
    SetClock,
    StoreFixtures,
    in_threads,
    make_spec,
    submit,
    take_over,
)


def tuning_spec(name: str, **changes: Any) -> TuningJobSpec:
    """Return a specification that differs where a test says so."""
    job: TrainingJobSpec = make_spec("template")
    rate = ContinuousParameter(name="rate", min_value=0, max_value=1)
    given: dict[str, Any] = {
        "tuning_job_name": name,
        "definitions": (TrainingJobDefinition(job=job, parameters=(rate,)),),
        "objectives": (TuningObjective(metric_name="loss"),),
        "limits": TuningLimits(max_number_of_training_jobs=9),
    }
    return TuningJobSpec(**given | changes)


def ask(store: Store, name: str, **more: Any) -> TuningJobRecord:
    """Accept a tuning job."""
    now = more.pop("now", START)
    changes = more.pop("changes", {})
    spec = tuning_spec(name, **changes)
    return store.tunings.create(spec, arn=f"arn:{name.lower()}", now=now, **more)


def tuned(index: int, tuning: str = "t", **changes: Any) -> TunedJob:
    """Return one of its training jobs."""
    given: dict[str, Any] = {
        "index": index,
        "definition_name": "training-job-definition",
        "values": {"rate": str(index / 10)},
        "job_name": f"{tuning}-{index:03d}",
        "created_at": START,
    }
    return TunedJob(**given | changes)


def change(record: TuningJobRecord, **more: Any) -> TuningUpdate:
    """Return an update on what is known."""
    return TuningUpdate(record.number, record.revision, **more)


class TuningContract(StoreFixtures):
    """Tuning jobs."""

    def test_a_tuning_job_is_as_it_was_asked_for(self, store: Store) -> None:
        inherited = Inherited(
            tuning_job_name="p", job_name="p-1", values={"rate": "1"}, objectives=(0.1,)
        )
        tags = (Tag(key="team", value="ü"),)
        made = ask(store, "Tuning-1", inherited=[inherited], changes={"tags": tags})
        assert made.status is TrainingJobStatus.IN_PROGRESS
        assert (made.inherited, made.tags, made.created_at) == ((inherited,), tags, START)
        assert store.tunings.get("tuning-1") == made, "case does not count"
        assert store.tunings.jobs_of(made.number) == []

    def test_a_name_is_taken_once(self, store: Store) -> None:
        ask(store, "Tuning-1")
        with pytest.raises(AlreadyExists, match="'tuning-1' is taken"):
            ask(store, "tuning-1")
        submit(store, "tuning-1")  # training jobs have names of their own

    def test_of_many_who_want_a_name_one_gets_it(self, store: Store) -> None:
        answers = in_threads(lambda _: ask(store, "one"))
        assert sum(isinstance(answer, TuningJobRecord) for answer in answers) == 1
        assert sum(isinstance(answer, AlreadyExists) for answer in answers) == THREADS - 1

    def test_a_key_stands_for_one_request(self, store: Store) -> None:
        key = IdempotencyKey("key", "print")
        first = ask(store, "one", idempotency=key)
        assert ask(store, "other", idempotency=key) == first
        with pytest.raises(AlreadyExists, match="stands for one request"):
            ask(store, "one", idempotency=IdempotencyKey("key", "another"))

    def test_numbers_are_never_used_again(self, store: Store) -> None:
        first = ask(store, "one")
        lease = take_over(store)
        end = change(first, status=TrainingJobStatus.FAILED, ended_at=START)
        assert store.tunings.apply([end], lease) == [True]
        store.tunings.delete("one")
        with pytest.raises(NotFound, match="no tuning job 'one'"):
            store.tunings.get("one")
        assert ask(store, "one").number > first.number

    def test_the_driver_puts_training_jobs_and_changes_them(
        self, store: Store, clock: SetClock
    ) -> None:
        record, lease = ask(store, "t"), take_over(store)
        one, two = tuned(1), tuned(2)
        later = clock.move(5)
        assert store.tunings.apply([change(record, put=(one, two), durable=True)], lease) == [True]
        record = store.tunings.get("t")
        assert (record.revision, record.modified_at) == (1, later)
        done = one.model_copy(
            update={
                "status": TrainingJobStatus.COMPLETED,
                "objective_status": ObjectiveStatus.SUCCEEDED,
                "objectives": (0.25,),
                "told": (0.25,),
                "ended_at": later,
                "rungs": (TunedRung(level=1, value=math.nan, goes_on=False),),
            }
        )
        update = change(record, put=(done,), message="one is done")
        assert store.tunings.apply([update], lease) == [True]
        first, second = store.tunings.jobs_of(record.number)
        assert math.isnan(first.rungs[0].value)
        assert first.model_copy(update={"rungs": ()}) == done.model_copy(update={"rungs": ()})
        assert second == two
        assert store.tunings.get("t").message == "one is done"

    def test_a_decision_on_what_was_is_dropped(self, store: Store) -> None:
        record, lease = ask(store, "t"), take_over(store)
        store.tunings.request_stop("t", now=START)
        assert store.tunings.apply([change(record, put=(tuned(1),))], lease) == [False]
        assert store.tunings.jobs_of(record.number) == []
        missing = TuningUpdate(number=99, revision=0)
        assert store.tunings.apply([missing], lease) == [False]

    def test_a_driver_that_was_replaced_changes_nothing(self, store: Store) -> None:
        record, old = ask(store, "t"), take_over(store, owner="a")
        take_over(store, owner="b")
        with pytest.raises(StaleLock):
            store.tunings.apply([change(record, message="?")], old)
        assert store.tunings.get("t") == record

    def test_all_updates_of_a_call_or_none(self, store: Store) -> None:
        one, other, lease = ask(store, "one"), ask(store, "other"), take_over(store)
        end = change(one, status=TrainingJobStatus.COMPLETED, ended_at=START)
        store.tunings.apply([end], lease)
        again = change(store.tunings.get("one"), message="more")
        with pytest.raises(InvalidState, match="ended tuning job never changes"):
            store.tunings.apply([change(other, message="new"), again], lease)
        assert store.tunings.get("other") == other

    def test_an_end_has_a_time_and_a_status(self, store: Store) -> None:
        record, lease = ask(store, "t"), take_over(store)
        for update in (
            change(record, status=TrainingJobStatus.COMPLETED),
            change(record, ended_at=START),
        ):
            with pytest.raises(InvalidState, match="comes with the time of the end"):
                store.tunings.apply([update], lease)

    def test_who_drives_a_tuning_job_keeps_it(self, store: Store) -> None:
        record, lease = ask(store, "t"), take_over(store)
        assert store.tunings.active(SCOPE) == store.tunings.active("host:two") == [record]
        store.tunings.apply([change(record, message="mine")], lease)
        assert [each.name for each in store.tunings.active(SCOPE)] == ["t"]
        assert store.tunings.active("host:two") == []
        end = change(store.tunings.get("t"), status=TrainingJobStatus.STOPPED, ended_at=START)
        store.tunings.apply([end], lease)
        assert store.tunings.active(SCOPE) == []

    def test_the_stop_of_a_tuning_job_is_noted_once(self, store: Store, clock: SetClock) -> None:
        ask(store, "t")
        first = store.tunings.request_stop("t", now=clock.move(1))
        assert (first.status, first.stop_requested_at) == (TrainingJobStatus.STOPPING, clock.now())
        assert store.tunings.request_stop("T", now=clock.move(1)) == first
        with pytest.raises(NotFound):
            store.tunings.request_stop("other", now=START)
        lease = take_over(store)
        with pytest.raises(InvalidState, match="may not follow Stopping"):
            store.tunings.apply([change(first, status=TrainingJobStatus.IN_PROGRESS)], lease)
        end = change(first, status=TrainingJobStatus.STOPPED, ended_at=START)
        store.tunings.apply([end], lease)
        ended = store.tunings.get("t")
        assert store.tunings.request_stop("t", now=START) == ended

    def test_what_has_not_ended_is_not_deleted(self, store: Store) -> None:
        ask(store, "t")
        with pytest.raises(InvalidState, match="stop it first"):
            store.tunings.delete("t")
        with pytest.raises(NotFound):
            store.tunings.delete("other")

    def test_tags(self, store: Store) -> None:
        ask(store, "t", changes={"tags": (Tag(key="a", value="1"),)})
        put = [Tag(key="b", value="2"), Tag(key="a", value="3")]
        assert store.tunings.set_tags("t", put=put, remove=()) == (put[1], put[0])
        assert store.tunings.set_tags("t", put=(), remove=("a", "c")) == (put[0],)
        assert store.tunings.get("t").tags == (put[0],)
        with pytest.raises(LimitExceeded):
            store.tunings.set_tags("t", put=[Tag(key=str(n)) for n in range(50)], remove=())

    def test_whose_a_training_job_is(self, store: Store) -> None:
        record, lease = ask(store, "t"), take_over(store)
        store.tunings.apply([change(record, put=(tuned(1), tuned(2)))], lease)
        found = store.tunings.tuning_jobs_of(["T-001", "t-003"])
        assert found == {"T-001": "arn:t"}

    def test_lists(self, store: Store) -> None:
        for number, name in enumerate(("b-1", "a-2", "c-3", "B-4")):
            ask(store, name, now=START + timedelta(seconds=number))
        store.tunings.request_stop("c-3", now=START + timedelta(seconds=9))

        def names(**filters: Any) -> list[str]:
            found: list[str] = []
            query = ListQuery(limit=3, **filters)
            while True:
                page = store.tunings.page(query)
                found += [each.name for each in page.jobs]
                if page.next_cursor is None:
                    return found
                query = ListQuery(limit=3, cursor=page.next_cursor, **filters)

        assert names() == ["B-4", "c-3", "a-2", "b-1"]
        assert names(descending=False) == ["b-1", "a-2", "c-3", "B-4"]
        assert names(sort_by=SortBy.NAME, descending=False) == ["a-2", "b-1", "B-4", "c-3"]
        assert names(sort_by=SortBy.STATUS) == ["c-3", "B-4", "a-2", "b-1"]
        assert names(name_contains="B-") == ["B-4", "b-1"]
        assert names(status_equals=TrainingJobStatus.STOPPING) == ["c-3"]
        assert names(created_after=START, created_before=START + timedelta(seconds=3)) == [
            "c-3",
            "a-2",
        ]
        assert names(modified_after=START + timedelta(seconds=3)) == ["c-3"]
        assert names(modified_before=START + timedelta(seconds=1)) == ["b-1"]
        with pytest.raises(InvalidSpec, match="1 to 1000"):
            store.tunings.page(ListQuery(limit=0))

    def test_lists_of_training_jobs(self, store: Store) -> None:
        record, lease = ask(store, "t"), take_over(store)
        done, failed = TrainingJobStatus.COMPLETED, TrainingJobStatus.FAILED
        jobs = (
            tuned(1, status=done, objectives=(0.5,)),
            tuned(2, status=failed),
            tuned(3, status=done, objectives=(-1.5,)),
            tuned(4),
            tuned(5, status=done, objectives=(math.nan,)),
        )
        store.tunings.apply([change(record, put=jobs)], lease)

        def indices(**filters: Any) -> list[int]:
            found: list[int] = []
            query = TunedQuery(limit=2, **filters)
            while True:
                page = store.tunings.page_of_jobs("T", query)
                found += [each.index for each in page.jobs]
                if page.next_cursor is None:
                    return found
                query = TunedQuery(limit=2, cursor=page.next_cursor, **filters)

        objective = TunedSortBy.OBJECTIVE
        assert indices() == [1, 2, 3, 4, 5]
        assert indices(sort_by=TunedSortBy.CREATION_TIME, descending=True) == [5, 4, 3, 2, 1]
        assert indices(sort_by=objective) == [3, 1, 2, 4, 5]
        assert indices(sort_by=objective, descending=True) == [1, 3, 5, 4, 2]
        assert indices(sort_by=TunedSortBy.STATUS) == [4, 1, 3, 5, 2]
        assert indices(status_equals=failed) == [2]
        other = store.tunings.page_of_jobs("t", TunedQuery(limit=2)).next_cursor
        with pytest.raises(InvalidSpec, match="next token"):
            store.tunings.page_of_jobs("t", TunedQuery(limit=2, sort_by=objective, cursor=other))
        with pytest.raises(NotFound):
            store.tunings.page_of_jobs("other", TunedQuery())
