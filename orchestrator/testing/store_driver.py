"""What every store does for the driver: hold the lease, change jobs."""

# ruff: noqa: D102 - each test is named as a sentence

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.errors import (
    InvalidState,
    StaleLock,
)
from orchestrator.spec.record import (
    Artifact,
    Explanation,
    MetricValue,
)
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus
from orchestrator.store.base import (
    JobUpdate,
    ResourceLease,
    Store,
)
from orchestrator.testing.store_jobs import (
    SCOPE,
    START,
    SetClock,
    StoreFixtures,
    ended,
    gpu,
    host,
    in_threads,
    started,
    step,
    submit,
    take_over,
)


class DriverContract(StoreFixtures):
    """What the driver does: hold the lease, change jobs."""

    def test_one_owner_drives_at_a_time(self, store: Store) -> None:
        first = store.acquire_driver(SCOPE, owner="a", now=START, ttl_seconds=30)
        assert first is not None
        assert store.acquire_driver(SCOPE, owner="b", now=START, ttl_seconds=30) is None
        other = store.acquire_driver("host:two", owner="b", now=START, ttl_seconds=30)
        assert other is not None
        late = START + timedelta(seconds=31)
        second = store.acquire_driver(SCOPE, owner="b", now=late, ttl_seconds=30)
        assert second is not None
        assert second.token > first.token

    def test_a_renewed_lease_holds_longer(self, store: Store) -> None:
        lease = store.acquire_driver(SCOPE, owner="a", now=START, ttl_seconds=30)
        assert lease is not None
        soon, late = START + timedelta(seconds=20), START + timedelta(seconds=40)
        renewed = store.renew_driver(lease, now=soon, ttl_seconds=30)
        assert renewed.token == lease.token
        assert renewed.expires_at == START + timedelta(seconds=50)
        assert store.acquire_driver(SCOPE, owner="b", now=late, ttl_seconds=30) is None

    def test_force_takes_a_lease_that_holds(self, store: Store) -> None:
        first = take_over(store, owner="a")
        second = take_over(store, owner="b")
        assert second.token > first.token
        with pytest.raises(StaleLock, match="'a'"):
            store.renew_driver(first, now=START, ttl_seconds=30)

    def test_a_lease_given_back_is_free_and_used_up(self, store: Store) -> None:
        job = submit(store, "job")
        lease = take_over(store, owner="a")
        store.release_driver(lease)
        with pytest.raises(StaleLock):
            store.apply([started(job)], lease)
        with pytest.raises(StaleLock):
            store.renew_driver(lease, now=START, ttl_seconds=30)
        second = store.acquire_driver(SCOPE, owner="b", now=START, ttl_seconds=30)
        assert second is not None
        store.release_driver(lease)  # stale: nothing happens
        assert store.apply([started(job)], second) == [True]

    def test_of_many_that_race_one_drives(self, store: Store) -> None:
        got = in_threads(
            lambda index: store.acquire_driver(
                SCOPE, owner=f"owner-{index}", now=START, ttl_seconds=30
            )
        )
        assert len([lease for lease in got if lease is not None]) == 1

    def test_a_stale_driver_changes_nothing(self, store: Store) -> None:
        job = submit(store, "job")
        old = take_over(store, owner="a")
        take_over(store, owner="b")
        with pytest.raises(StaleLock, match="token"):
            store.apply([started(job)], old)
        assert store.get_job("job") == job
        assert store.resource_leases(SCOPE) == []

    # -- apply -----------------------------------------------------------------------------

    def test_an_update_counts_once(self, store: Store, clock: SetClock) -> None:
        job = submit(store, "job")
        lease = take_over(store)
        clock.move(7)
        assert store.apply([started(job)], lease) == [True]
        assert store.apply([started(job)], lease) == [False]
        after = store.get_job("job")
        assert (after.revision, after.attempt, after.modified_at) == (1, 1, clock.now())
        assert after.hosts == (host(),)

    def test_updates_of_one_call_are_judged_each(self, store: Store) -> None:
        first, second = submit(store, "first"), submit(store, "second")
        lease = take_over(store)
        stale = started(second, revision=4)
        gone = JobUpdate(number=999, revision=0, message="nobody")
        note = JobUpdate(number=first.number, revision=1, message="again")
        assert store.apply([started(first), stale, gone, note], lease) == [
            True,
            False,
            False,
            True,
        ]
        assert store.get_job("first").message == "again"
        assert store.get_job("second") == second

    def test_transitions_close_one_another(self, store: Store) -> None:
        job = submit(store, "job")
        times = [START + timedelta(seconds=second) for second in range(4)]
        steps = (
            step(SecondaryStatus.STARTING, times[1]),
            step(SecondaryStatus.TRAINING, times[2]),
        )
        lease = take_over(store)
        store.apply([started(job, transitions=steps)], lease)
        after = store.get_job("job")
        assert [t.ended_at for t in after.transitions] == [times[1], times[2], None]
        assert after.secondary_status is SecondaryStatus.TRAINING
        assert after.message == "now Training"
        end = step(SecondaryStatus.COMPLETED, times[3])
        store.apply([ended(after, transitions=(end,))], lease)
        final = store.get_job("job")
        assert [t.ended_at for t in final.transitions] == [*times[1:], times[3]]
        assert final.transitions[-1].message == "now Completed"

    def test_an_illegal_transition_raises_and_changes_nothing(self, store: Store) -> None:
        first, second = submit(store, "first"), submit(store, "second")
        skips = started(second, transitions=(step(SecondaryStatus.TRAINING),))
        with pytest.raises(InvalidState, match="Training may not follow Pending"):
            store.apply([started(first, take=(gpu(first, 0),)), skips], take_over(store))
        assert store.get_job("first") == first
        assert store.get_job("second") == second
        assert store.resource_leases(SCOPE) == []
        assert store.count_by_status()[TrainingJobStatus.IN_PROGRESS] == 2

    @pytest.mark.parametrize(
        "changes",
        [
            {"end_reason": None},
            {"end_reason": EndReason.EXIT_CODE},
            {"status": None},
            {"transitions": ()},
            {"status": TrainingJobStatus.FAILED},
        ],
    )
    def test_an_end_has_one_reason_that_fits(self, store: Store, changes: dict[str, Any]) -> None:
        job = submit(store, "job")
        with pytest.raises(InvalidState):
            store.apply([ended(job, **changes)], take_over(store))
        assert store.get_job("job") == job

    @pytest.mark.parametrize("reason", list(EndReason))
    def test_every_end_is_written_once(self, store: Store, reason: EndReason) -> None:
        job = submit(store, "job")
        lease = take_over(store)
        assert store.apply([ended(job, reason)], lease) == [True]
        final = store.get_job("job")
        assert (final.status, final.end_reason) == (reason.status, reason)
        for other in (ended(final, EndReason.LOST), JobUpdate(1, 1, message="late")):
            with pytest.raises(InvalidState, match="ended"):
                store.apply([other], lease)
        assert store.get_job("job") == final
        assert store.active_jobs(SCOPE, ["process"]) == []

    def test_a_long_queue_is_shown_from_its_head_and_placed_jobs_always(
        self, store: Store
    ) -> None:
        placed = submit(store, "placed", priority=-9)
        store.apply([started(placed)], take_over(store))
        for number, priority in enumerate((0, 5, 0, 5)):
            submit(store, f"queued-{number}", priority=priority)
        seen = store.active_jobs(SCOPE, ["process"], queued_limit=3)
        assert [job.name for job in seen] == ["queued-1", "queued-3", "queued-0", "placed"]

    def test_notes_and_release_may_follow_the_end(self, store: Store) -> None:
        job = submit(store, "job")
        lease = take_over(store)
        store.apply([started(job, take=(gpu(job, 0),), notes={"a": "1"})], lease)
        store.apply([ended(store.get_job("job"), release=False)], lease)
        final = store.get_job("job")
        late = JobUpdate(final.number, final.revision, notes={"b": "2"}, release=True)
        assert store.apply([late], lease) == [True]
        assert store.get_job("job").notes == {"a": "1", "b": "2"}
        assert store.resource_leases(SCOPE) == []

    def test_a_stop_is_never_taken_back(self, store: Store) -> None:
        submit(store, "job")
        job = store.request_stop("job", intent=EndReason.USER_STOP, grace_seconds=None, now=START)
        back = JobUpdate(job.number, job.revision, status=TrainingJobStatus.IN_PROGRESS)
        with pytest.raises(InvalidState, match="InProgress may not follow Stopping"):
            store.apply([back], take_over(store))

    def test_attempts_only_grow_and_have_their_own_hosts(self, store: Store) -> None:
        job = submit(store, "job")
        lease = take_over(store)
        store.apply([started(job, hosts=(host(0), host(1, gpus=(0, 1))))], lease)
        running = store.get_job("job")
        assert [h.host for h in running.hosts] == ["algo-1", "algo-2"]
        lost = JobUpdate(
            running.number, running.revision, transitions=(step(SecondaryStatus.RESTARTING),)
        )
        store.apply([lost], lease)
        again = started(store.get_job("job"), hosts=None)
        store.apply([again], lease)
        second = store.get_job("job")
        assert (second.attempt, second.hosts) == (2, ())
        back = JobUpdate(second.number, second.revision, attempt=1)
        with pytest.raises(InvalidState, match="attempts only grow"):
            store.apply([back], lease)

    def test_what_the_driver_learns_reads_back(self, store: Store) -> None:
        job = submit(store, "job")
        lease = take_over(store)
        hosts = (
            host(0, engine="process", handle={"pid": 7, "boot": "ü"}, gpus=(1,)),
            host(1, outcome="exit_code", exit_code=-9),
        )
        store.apply([started(job, hosts=hosts, training_started_at=START)], lease)
        assert store.get_job("job").hosts == hosts
        late = START + timedelta(microseconds=1)
        learned: dict[str, Any] = {
            "failure_reason": "AlgorithmError: ü",
            "message": "no",
            "artifacts": {"model": Artifact(uri="file:///m", bytes=2**40, files=3)},
            "final_metrics": (
                MetricValue(name="loss", value=0.1 + 0.2, step=3, at=late),
                MetricValue(name="bad", value=math.inf, at=late),
            ),
            "explanation": Explanation(
                reason=EndReason.EXIT_CODE, summary="it broke", log_tail=("a", "\x1b[0mb")
            ),
            "training_ended_at": late,
            "ended_at": late,
        }
        store.apply([ended(store.get_job("job"), EndReason.EXIT_CODE, **learned)], lease)
        final = store.get_job("job")
        assert {name: getattr(final, name) for name in learned} == learned
        assert final.training_started_at == START

    def test_not_a_number_reads_back(self, store: Store) -> None:
        job = submit(store, "job")
        metrics = (MetricValue(name="loss", value=math.nan, at=START),)
        store.apply([started(job, final_metrics=metrics)], take_over(store))
        assert math.isnan(store.get_job("job").final_metrics[0].value)

    def test_text_of_programs_never_breaks_a_store(self, store: Store) -> None:
        hostile = "lone \ud800, nul \0, end"
        job = submit(store, "job")
        lease = take_over(store)
        store.apply([started(job, message=hostile, notes={"a": hostile})], lease)
        explanation = Explanation(reason=EndReason.EXIT_CODE, summary=hostile, log_tail=(hostile,))
        end = ended(
            store.get_job("job"),
            EndReason.EXIT_CODE,
            failure_reason=hostile,
            explanation=explanation,
        )
        assert store.apply([end], lease) == [True]
        final = store.get_job("job")
        assert final.failure_reason is not None
        assert final.failure_reason.startswith("lone ")
        assert final.failure_reason.endswith(", end")
        assert final.explanation is not None
        assert final.explanation.log_tail[0].endswith(", end")

    # -- what is whose ---------------------------------------------------------------------

    def test_a_driver_sees_its_jobs_in_order(self, store: Store) -> None:
        low = submit(store, "low")
        submit(store, "high", priority=5)
        submit(store, "low-too")
        submit(store, "docker", backend="docker")
        ended_job = submit(store, "ended")
        placed = submit(store, "placed-elsewhere")
        store.apply([ended(ended_job)], take_over(store))
        elsewhere = store.acquire_driver("host:two", owner="b", now=START, ttl_seconds=30)
        assert elsewhere is not None
        store.apply([started(placed, scope="host:two")], elsewhere)
        mine = store.active_jobs(SCOPE, ["process"])
        assert [job.name for job in mine] == ["high", "low", "low-too"]
        assert mine[1] == low
        theirs = store.active_jobs("host:two", ["docker"])
        assert [job.name for job in theirs] == ["docker", "placed-elsewhere"]
        assert store.active_jobs("host:three", []) == []

    def test_resources_are_held_until_released(self, store: Store) -> None:
        job = submit(store, "job")
        lease = take_over(store)
        take = (ResourceLease(job.number, 0, "cpu", 0, 1.5), gpu(job, 3))
        store.apply([started(job, take=take)], lease)
        assert store.resource_leases(SCOPE) == sorted(take, key=lambda each: each.kind)
        assert store.resource_leases("host:two") == []
        store.apply([ended(store.get_job("job"))], lease)
        assert store.resource_leases(SCOPE) == []

    @pytest.mark.parametrize(
        ("first", "second", "fits"),
        [(False, False, False), (False, True, False), (True, False, False), (True, True, True)],
    )
    def test_a_gpu_is_shared_only_by_those_who_share(
        self, store: Store, first: bool, second: bool, fits: bool
    ) -> None:
        one, two = submit(store, "one"), submit(store, "two")
        lease = take_over(store)
        store.apply([started(one, take=(gpu(one, 0, shared=first),))], lease)
        update = started(two, take=(gpu(two, 0, shared=second),))
        if fits:
            assert store.apply([update], lease) == [True]
            return
        with pytest.raises(InvalidState, match="gpu 0"):
            store.apply([update], lease)
        assert store.get_job("two") == two
        assert store.apply([replace(update, take=(gpu(two, 1),))], lease) == [True]
