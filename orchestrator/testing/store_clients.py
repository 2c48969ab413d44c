"""What every store does for clients: submit, look, stop, delete, tag."""

# ruff: noqa: D102 - each test is named as a sentence

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.errors import (
    AlreadyExists,
    InvalidSpec,
    InvalidState,
    LimitExceeded,
    NotFound,
)
from orchestrator.spec.job import Tag
from orchestrator.spec.record import (
    TrainingJobRecord,
)
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus
from orchestrator.store.base import (
    STOPPING_MESSAGE,
    IdempotencyKey,
    JobUpdate,
    NewJob,
    Store,
)
from orchestrator.testing.store_jobs import (
    START,
    THREADS,
    StoreFixtures,
    ended,
    gpu,
    in_threads,
    make_spec,
    started,
    submit,
    take_over,
)


class ClientContract(StoreFixtures):
    """What clients do: submit, look, stop, delete, tag."""

    def test_a_new_job_waits(self, store: Store) -> None:
        job = submit(store, "first", priority=7)
        assert job.status is TrainingJobStatus.IN_PROGRESS
        assert job.secondary_status is SecondaryStatus.PENDING
        assert (job.attempt, job.revision, job.hosts, job.end_reason) == (0, 0, (), None)
        assert job.created_at == job.modified_at == START
        assert [t.status for t in job.transitions] == [SecondaryStatus.PENDING]
        assert job.message == job.transitions[0].message

    def test_a_job_reads_back_as_it_was_accepted(self, store: Store) -> None:
        spec = make_spec(
            "full",
            hyper_parameters={"lr": "0.1", "text": "ünïcode \u0001 \U0001f600"},
            environment={"A": "b"},
            input_data_config=[{"channel_name": "train", "uri": "s3://bucket/key"}],
            tags=[{"key": "team", "value": "a"}],
            stop_grace_seconds=2.5,
        )
        job = store.create_job(spec, arn="arn:full", now=START, notes={"warning 1": "ü\0"})
        assert store.get_job("full") == job
        assert job.spec == spec
        assert job.arn == "arn:full"
        assert set(job.notes) == {"warning 1"}

    def test_numbers_are_the_order_of_acceptance(self, store: Store) -> None:
        numbers = [submit(store, f"job-{place}").number for place in range(5)]
        assert numbers == sorted(set(numbers))

    def test_a_name_is_taken_once_whatever_its_case(self, store: Store) -> None:
        first = submit(store, "Taken")
        for name in ("Taken", "taken", "TAKEN"):
            with pytest.raises(AlreadyExists, match=name):
                submit(store, name)
        assert store.get_job("tAKEN") == first
        assert store.count_by_status()[TrainingJobStatus.IN_PROGRESS] == 1

    def test_several_jobs_are_accepted_each_for_itself(self, store: Store) -> None:
        submit(store, "taken")
        names = ("first", "taken", "second", "first")
        answers = store.create_jobs([NewJob(make_spec(n), f"arn:{n}", START) for n in names])
        assert [getattr(answer, "name", type(answer)) for answer in answers] == [
            "first",
            AlreadyExists,
            "second",
            AlreadyExists,
        ]
        assert store.get_job("second") == answers[2]

    def test_an_unknown_name_is_said_to_be_unknown(self, store: Store) -> None:
        for ask in (store.get_job, store.get_tags, store.delete_job):
            with pytest.raises(NotFound, match="nobody"):
                ask("nobody")
        with pytest.raises(NotFound, match="nobody"):
            store.request_stop("nobody", intent=EndReason.USER_STOP, grace_seconds=None, now=START)
        with pytest.raises(NotFound, match="nobody"):
            store.set_tags("nobody", put=[], remove=[])

    def test_many_jobs_are_read_at_once_as_one_by_one(self, store: Store) -> None:
        """More than one statement takes; a name counts whatever its case, and one that is none not."""
        names = [f"job-{place}" for place in range(1100)]
        store.create_jobs(
            [
                NewJob(
                    make_spec(n, tags=[{"key": k, "value": n} for k in "ba"]), f"arn:{n}", START
                )
                for n in names
            ]
        )
        submit(store, "plain")
        assert store.apply([started(submit(store, "over"))], take_over(store)) == [True]
        asked = [*names, "PLAIN", "plain", "over", "nobody"]
        found = store.get_jobs(asked)
        assert sorted(found) == sorted(asked[:-1])
        few = [*names[::100], "PLAIN", "plain", "over"]
        assert [found[name] for name in few] == [store.get_job(name) for name in few]
        briefly = store.get_jobs(asked, history=False)
        nothing = {"transitions": (), "hosts": ()}
        assert {name: job.model_copy(update=nothing) for name, job in briefly.items()} == {
            name: job.model_copy(update=nothing) for name, job in found.items()
        }
        assert store.get_job("over").hosts
        tags = store.get_tags_of(asked)
        assert sorted(tags) == sorted(asked[:-1])
        assert [tags[name] for name in few] == [store.get_tags(name) for name in few]
        assert tags["plain"] == ()
        assert (store.get_jobs([]), store.get_tags_of([])) == ({}, {})

    def test_many_jobs_are_read_as_they_are_now(self, store: Store) -> None:
        submit(store, "one")
        store.get_job("one")
        store.set_tags("one", put=[Tag(key="a", value="b")], remove=[])
        store.request_stop("one", intent=EndReason.USER_STOP, grace_seconds=None, now=START)
        assert store.get_jobs(["one"]) == {"one": store.get_job("one")}
        assert store.get_tags_of(["one"]) == {"one": (Tag(key="a", value="b"),)}
        assert store.get_jobs(["one"])["one"].status is TrainingJobStatus.STOPPING

    def test_a_key_returns_the_job_of_the_first_call(self, store: Store) -> None:
        key = IdempotencyKey("key", "request")
        assert store.find_idempotent(key) is None
        first = store.create_job(make_spec("one"), arn="a", now=START, idempotency=key)
        again = store.create_job(
            make_spec("one"), arn="a", now=START + timedelta(days=1), idempotency=key
        )
        assert again == first == store.find_idempotent(key)

    def test_a_key_with_another_request_is_refused(self, store: Store) -> None:
        store.create_job(
            make_spec("one"), arn="a", now=START, idempotency=IdempotencyKey("key", "request")
        )
        other = IdempotencyKey("key", "other")
        with pytest.raises(AlreadyExists, match="key"):
            store.create_job(make_spec("two"), arn="a", now=START, idempotency=other)
        with pytest.raises(AlreadyExists, match="key"):
            store.find_idempotent(other)
        with pytest.raises(NotFound):
            store.get_job("two")

    @pytest.mark.parametrize("key", ["", "k" * 256, "line\nbreak", "\ud800", "nul\0"])
    def test_a_key_that_cannot_be_kept_is_refused(self, store: Store, key: str) -> None:
        with pytest.raises(InvalidSpec, match="idempotency key"):
            store.create_job(
                make_spec("one"), arn="a", now=START, idempotency=IdempotencyKey(key, "f")
            )

    def test_text_that_is_no_unicode_is_refused(self, store: Store) -> None:
        spec = make_spec("one").model_copy(update={"hyper_parameters": {"a": "\ud800"}})
        with pytest.raises(InvalidSpec, match="Unicode"):
            store.create_job(spec, arn="a", now=START)
        assert submit(store, "one").number == 1

    def test_of_many_with_one_name_one_wins(self, store: Store) -> None:
        got = in_threads(lambda _: submit(store, "race"))
        won = [answer for answer in got if isinstance(answer, TrainingJobRecord)]
        assert len(won) == 1
        assert all(isinstance(a, AlreadyExists) for a in got if a not in won)
        assert store.get_job("race") == won[0]

    def test_of_many_with_one_key_all_get_one_job(self, store: Store) -> None:
        key = IdempotencyKey("key", "request")
        got = in_threads(
            lambda _: store.create_job(make_spec("race"), arn="a", now=START, idempotency=key)
        )
        assert {answer.number for answer in got} == {store.get_job("race").number}

    def test_of_many_at_once_each_gets_its_own(self, store: Store) -> None:
        got = in_threads(lambda index: submit(store, f"mine-{index}"))
        assert [answer.name for answer in got] == [f"mine-{index}" for index in range(THREADS)]
        assert len({answer.number for answer in got}) == THREADS
        assert store.count_by_status()[TrainingJobStatus.IN_PROGRESS] == THREADS

    def test_creation_times_rise_with_numbers_although_callers_race(self, store: Store) -> None:
        first = submit(store, "first", START)
        second = submit(store, "second", START - timedelta(milliseconds=3))
        assert second.created_at == first.created_at

    def test_a_clock_that_was_set_back_is_believed(self, store: Store) -> None:
        submit(store, "first", START)
        second = submit(store, "second", START - timedelta(hours=1))
        assert second.created_at == START - timedelta(hours=1)

    # -- stop ------------------------------------------------------------------------------

    def test_a_stop_is_noted_once(self, store: Store) -> None:
        submit(store, "job")
        at = START + timedelta(seconds=5)
        first = store.request_stop("job", intent=EndReason.USER_STOP, grace_seconds=2.5, now=at)
        assert first.status is TrainingJobStatus.STOPPING
        assert first.secondary_status is SecondaryStatus.STOPPING
        assert (first.stop_intent, first.stop_requested_at) == (EndReason.USER_STOP, at)
        assert (first.stop_grace_seconds, first.revision) == (2.5, 1)
        assert first.transitions[0].ended_at == first.transitions[1].started_at == at
        again = store.request_stop(
            "job", intent=EndReason.RULE_STOP, grace_seconds=9, now=at + timedelta(seconds=1)
        )
        assert again == first == store.get_job("job")
        assert store.count_by_status()[TrainingJobStatus.STOPPING] == 1

    def test_a_stop_may_say_why(self, store: Store) -> None:
        submit(store, "job")
        why = "it does not get better " + "x" * 2000
        job = store.request_stop(
            "job", intent=EndReason.EARLY_STOPPED, grace_seconds=None, now=START, message=why
        )
        assert job.message == job.transitions[-1].message == why[:1024]
        assert store.get_job("job") == job
        submit(store, "other")
        other = store.request_stop(
            "other", intent=EndReason.USER_STOP, grace_seconds=None, now=START
        )
        assert other.message == STOPPING_MESSAGE

    def test_a_stop_by_a_clock_that_was_set_back_does_not_begin_before_the_step_before_it(
        self, store: Store
    ) -> None:
        submit(store, "job")
        at = START - timedelta(hours=1)
        job = store.request_stop("job", intent=EndReason.USER_STOP, grace_seconds=None, now=at)
        assert job.stop_requested_at == at
        assert [step.started_at for step in job.transitions] == [START, START]
        assert job.transitions[0].ended_at == START

    def test_an_ended_job_is_not_stopped(self, store: Store) -> None:
        job = submit(store, "job")
        assert store.apply([ended(job)], take_over(store)) == [True]
        before = store.get_job("job")
        after = store.request_stop(
            "job", intent=EndReason.USER_STOP, grace_seconds=None, now=START
        )
        assert after == before

    def test_a_stop_makes_an_older_decision_stale(self, store: Store) -> None:
        job = submit(store, "job")
        lease = take_over(store)
        store.request_stop("job", intent=EndReason.USER_STOP, grace_seconds=None, now=START)
        assert store.apply([started(job)], lease) == [False]
        assert store.get_job("job").attempt == 0

    def test_many_stops_at_once_are_one_stop(self, store: Store) -> None:
        submit(store, "job")
        got = in_threads(
            lambda index: store.request_stop(
                "job", intent=EndReason.USER_STOP, grace_seconds=float(index), now=START
            )
        )
        assert {answer.revision for answer in got} == {1}
        assert len({answer.stop_grace_seconds for answer in got}) == 1

    # -- delete, tags, counts --------------------------------------------------------------

    def test_a_deleted_job_is_forgotten_but_its_number_is_not_used_again(
        self, store: Store
    ) -> None:
        key = IdempotencyKey("key", "request")
        job = store.create_job(make_spec("job"), arn="a", now=START, idempotency=key)
        store.apply([ended(job)], take_over(store))
        store.delete_job("JOB")
        with pytest.raises(NotFound):
            store.get_job("job")
        assert store.find_idempotent(key) is None
        assert sum(store.count_by_status().values()) == 0
        fresh = store.create_job(make_spec("job"), arn="a", now=START, idempotency=key)
        assert fresh.number > job.number
        assert len(fresh.transitions) == 1

    def test_a_job_that_lives_is_not_deleted(self, store: Store) -> None:
        submit(store, "job")
        with pytest.raises(InvalidState, match="stop it first"):
            store.delete_job("job")

    def test_a_job_that_holds_resources_is_not_deleted(self, store: Store) -> None:
        job = submit(store, "job")
        lease = take_over(store)
        store.apply([started(job, take=(gpu(job, 0),))], lease)
        store.apply([ended(store.get_job("job"), release=False)], lease)
        with pytest.raises(InvalidState, match="resources"):
            store.delete_job("job")
        job = store.get_job("job")
        store.apply([JobUpdate(number=job.number, revision=job.revision, release=True)], lease)
        store.delete_job("job")

    def test_tags_start_as_the_specification_says_and_change(self, store: Store) -> None:
        submit(store, "job", tags=[{"key": "a", "value": "1"}, {"key": "b"}])
        assert store.get_tags("job") == (Tag(key="a", value="1"), Tag(key="b"))
        after = store.set_tags(
            "job", put=[Tag(key="a", value="2"), Tag(key="c")], remove=["b", "absent"]
        )
        assert after == store.get_tags("job") == (Tag(key="a", value="2"), Tag(key="c"))

    def test_a_job_has_fifty_tags_at_most(self, store: Store) -> None:
        submit(store, "job")
        tags = [Tag(key=f"k{place}") for place in range(51)]
        with pytest.raises(LimitExceeded, match="50"):
            store.set_tags("job", put=tags, remove=[])
        assert store.get_tags("job") == ()
        assert len(store.set_tags("job", put=tags[:50], remove=[])) == 50

    def test_every_status_is_counted(self, store: Store) -> None:
        assert store.count_by_status() == dict.fromkeys(TrainingJobStatus, 0)
        jobs = [submit(store, f"job-{place}") for place in range(4)]
        store.apply([ended(jobs[0]), ended(jobs[1], EndReason.EXIT_CODE)], take_over(store))
        store.request_stop("job-2", intent=EndReason.USER_STOP, grace_seconds=None, now=START)
        assert store.count_by_status() == dict.fromkeys(TrainingJobStatus, 1) | {
            TrainingJobStatus.STOPPED: 0
        }

    def test_a_fact_is_set_once(self, store: Store) -> None:
        with pytest.raises(NotFound, match="storage_id"):
            store.meta("storage_id")
        assert store.meta("storage_id", "first") == "first"
        assert store.meta("storage_id", "second") == "first"
        assert store.meta("storage_id") == "first"

    def test_closing_twice_is_once(self, store: Store) -> None:
        store.close()
        store.close()
