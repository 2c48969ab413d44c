"""A jump of the wall clock makes nobody older or younger while a driver looks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.scheduler.ages import Age, Ages
from orchestrator.scheduler.reconcile import View, reconcile
from orchestrator.spec.state import EndReason
from tests.unit.scheduler.seen import Desk
from tests.unit.scheduler.simulation import SteppedClock

HOUR = 3600
LIMITS = {"max_pending_time_in_seconds": 600, "max_wait_time_in_seconds": 900}


def seconds(job: float, step: float) -> Age:
    return Age(timedelta(seconds=job), timedelta(seconds=step))


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_job_that_waits_is_ended_in_time_whatever_the_clock_did(jump: int) -> None:
    clock, job = SteppedClock(), Desk(stopping_condition=LIMITS).job
    ages = Ages(clock)
    assert ages.of(job) == seconds(0, 0)
    clock.jumped += jump
    clock.seconds = 599
    assert ages.of(job) == seconds(599, 599)
    assert reconcile(job, View(age=ages.of(job)), clock.now()).update is None
    clock.seconds = 600
    update = reconcile(job, View(age=ages.of(job)), clock.now()).update
    assert update is not None
    assert update.end_reason is EndReason.MAX_PENDING
    assert update.ended_at is not None
    assert update.ended_at >= job.created_at


def test_the_next_driver_has_only_the_wall_clock_to_go_by() -> None:
    clock, job = SteppedClock(), Desk(stopping_condition=LIMITS).job
    clock.seconds, clock.jumped = 100, HOUR
    assert Ages(clock).of(job) == seconds(HOUR + 100, HOUR + 100)
    clock.jumped = -HOUR
    young = Ages(clock)
    assert young.of(job) == seconds(0, 0)  # accepted in the future: it begins to wait now
    clock.seconds += 5
    assert young.of(job) == seconds(5, 5)


def test_each_step_has_an_age_of_its_own() -> None:
    clock, desk = SteppedClock(), Desk(stopping_condition=LIMITS)
    ages = Ages(clock)
    ages.of(desk.job)
    clock.seconds = 50
    desk.place(clock.now())
    clock.seconds = 60
    assert ages.of(desk.job) == seconds(60, 10)


def test_nothing_is_remembered_of_jobs_without_limits_and_of_those_that_ended() -> None:
    ages = Ages(SteppedClock())
    assert ages.of(Desk().job) is None
    job = Desk(stopping_condition=LIMITS).job
    ages.of(job)
    ages.forget({job.number})
    assert len(ages._first) == 1
    ages.forget(set())
    assert ages._first == {}
