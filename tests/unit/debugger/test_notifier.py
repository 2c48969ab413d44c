"""Findings are told once, not before their time, and not lost by a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.debugger.deliveries import MOST_DELIVERIES, read_deliveries
from orchestrator.debugger.notifier import NO_WEBHOOK, PAUSE_SECONDS, Notifier
from orchestrator.debugger.post import PostFailed
from orchestrator.errors import NotFound
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.store.base import Store
from tests.unit.debugger.seen import RUNNING, finding, watched, write
from tests.unit.scheduler.simulation import SteppedClock

HOOK = "https://me:pass@hooks.example.com/secret"
DEBUGGER = {
    "rules": [{"rule": "non_finite", "notify": ["mailto:me@example.com"]}, "dead_units"],
    "webhook": HOOK,
}


class Jobs:
    """A store with one job."""

    def __init__(self, job: TrainingJobRecord | None) -> None:
        self.job = job

    def get_job(self, name: str) -> TrainingJobRecord:
        if self.job is None or self.job.name != name:
            raise NotFound(name)
        return self.job


class World:
    """A home with one job, an addressee, and a clock."""

    def __init__(self, home: Path, webhook_url: str | None = "http://mail.example.com") -> None:
        self.home = home
        self.clock = SteppedClock()
        self.jobs = Jobs(watched(DEBUGGER, **RUNNING))
        self.folder = home / "jobs" / "digits-1"
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.refuse: Callable[[str], PostFailed | None] = lambda _url: None
        self.webhook_url = webhook_url
        (home / "untold").mkdir(parents=True)
        (home / "untold" / "digits-1").touch()
        self.restart()

    def restart(self) -> None:
        self.notifier = Notifier(
            cast("Store", self.jobs),
            self.home,
            self.clock,
            self._post,
            webhook_url=self.webhook_url,
        )

    def _post(self, url: str, value: dict[str, Any]) -> None:
        error = self.refuse(url)
        if error is not None:
            raise error
        self.taken.append((url, value))

    def end(self) -> None:
        self.jobs.job = watched(DEBUGGER)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_finding_is_told_to_the_webhook_and_to_who_is_named(world: World):
    write(world.folder, finding())
    world.notifier.look()
    (to_hook, hooked), (to_mail, mailed) = world.taken
    assert (to_hook, to_mail) == (HOOK, "http://mail.example.com")
    assert hooked["job"] == "digits-1"
    assert hooked["finding"]["message"] == "a gradient is not finite"
    assert "action" not in hooked
    assert mailed["action"] == {"name": "email", "endpoint": "me@example.com"}
    assert hooked["id"] != mailed["id"]
    told = read_deliveries(world.folder)
    assert [(each.to, each.delivered) for each in told] == [
        ("https://hooks.example.com/***", True),
        ("mailto:me@example.com", True),
    ]


def test_it_is_told_once_also_after_a_restart_and_later_ones_follow(world: World):
    write(world.folder, finding("dead_units"))
    world.notifier.look()
    world.notifier.look()
    world.restart()
    world.notifier.look()
    assert len(world.taken) == 1
    write(world.folder, finding("dead_units", step=9))
    world.notifier.look()
    assert [value["finding"]["step"] for _, value in world.taken] == [7, 9]


def test_the_mark_goes_when_the_job_has_ended_and_all_is_told(world: World):
    write(world.folder, finding())
    world.notifier.look()
    assert world.notifier.has_work()
    write(world.folder, finding("dead_units"))
    world.end()
    world.notifier.look()
    assert len(world.taken) == 3
    assert not world.notifier.has_work()


def test_a_job_that_was_deleted_is_forgotten(world: World):
    world.jobs.job = None
    world.notifier.look()
    assert not world.notifier.has_work()


def test_it_is_tried_again_with_pauses_and_then_given_up(world: World):
    world.refuse = lambda _url: PostFailed("it answered 503", is_final=False)
    write(world.folder, finding("dead_units"))
    world.end()
    for tries, pause in enumerate(PAUSE_SECONDS, 1):
        world.notifier.look()
        world.notifier.look()  # too early: nothing is tried
        (told,) = read_deliveries(world.folder)
        assert (told.tries, told.final) == (tries, False)
        assert world.notifier.has_work()
        world.clock.seconds += pause
    world.notifier.look()
    (told,) = read_deliveries(world.folder)
    assert (told.tries, told.final, told.error) == (5, True, "it answered 503")
    assert not world.notifier.has_work()


def test_what_could_not_be_told_is_told_after_a_restart(world: World):
    world.refuse = lambda _url: PostFailed("it does not answer", is_final=False)
    write(world.folder, finding("dead_units"))
    world.notifier.look()
    world.refuse = lambda _url: None
    world.restart()
    world.notifier.look()
    assert len(world.taken) == 1
    assert [each.tries for each in read_deliveries(world.folder)] == [2]


def test_an_address_that_was_given_up_holds_nobody_up(world: World):
    world.refuse = lambda url: PostFailed("gone", is_final=True) if url == HOOK else None
    write(world.folder, finding(), finding())
    world.notifier.look()
    assert [url for url, _ in world.taken] == ["http://mail.example.com"] * 2
    assert [each.final for each in read_deliveries(world.folder)] == [True, False, True, False]


def test_mail_without_a_service_for_it_is_reported_as_not_told(tmp_path: Path):
    world = World(tmp_path, webhook_url=None)
    write(world.folder, finding())
    world.end()
    world.notifier.look()
    _, mail = read_deliveries(world.folder)
    assert (mail.delivered, mail.final, mail.error) == (False, True, NO_WEBHOOK)
    assert not world.notifier.has_work()


def test_a_program_that_finds_too_much_is_not_told_for_ever(world: World):
    write(world.folder, *[finding("dead_units")] * (MOST_DELIVERIES + 20))
    world.notifier.look()
    assert len(world.taken) == MOST_DELIVERIES


def test_the_thread_sleeps_until_it_is_woken_and_ends(world: World):
    (world.home / "untold" / "digits-1").unlink()
    world.notifier.start()
    world.notifier.wake()
    world.notifier.close()
    world.notifier.close()
    assert world.taken == []
