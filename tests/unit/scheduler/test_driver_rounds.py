"""When the driver asks for another round, and how many jobs it says are left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.blobs.local import LocalBlobStore
from orchestrator.errors import EngineUnreachable, StaleLock
from orchestrator.scheduler.capacity import Machine
from orchestrator.scheduler.effects import Effects
from orchestrator.scheduler.loop import Driver
from orchestrator.scheduler.workspace import Workspace
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason
from orchestrator.store.base import QUEUED_LIMIT, DriverLease, JobUpdate
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.fake_backend import FakeBackend, FakeEngine, Script
from tests.unit.scheduler.judges import NoJudge
from tests.unit.scheduler.simulation import Deferred, NoMetrics, SteppedClock

SCOPE = "host:one"


WHY = "it gets no better"


class BusyStore(MemoryStore):
    """A store in which somebody else may do something right before the driver."""

    meanwhile: Callable[[], Any] | None = None

    def apply(self, updates: Sequence[JobUpdate], lease: DriverLease) -> list[bool]:
        if self.meanwhile is not None:
            self.meanwhile()
            self.meanwhile = None
        return super().apply(updates, lease)


class Harsh(NoJudge):
    """Ends every run."""

    def ends(self, job: TrainingJobRecord) -> str | None:
        return WHY


class Desk:
    """A driver of a machine for one job at a time, whose rounds and actions a test calls for."""

    def __init__(self, directory: Path, judge: NoJudge | None = None) -> None:
        self.clock = SteppedClock()
        self.store = BusyStore(clock=self.clock)
        self.engine = FakeEngine(self.clock, lambda *_: Script(exit_code=None))
        self.executor = Deferred()
        self.wakes = 0
        backends = {"process": FakeBackend(self.engine)}
        workspace = Workspace(directory)
        lease = self.store.acquire_driver(
            SCOPE, owner="test", now=self.clock.now(), ttl_seconds=60, force=True
        )
        assert lease is not None
        self.driver = Driver(
            store=self.store,
            effects=Effects(
                backends,
                workspace,
                LocalBlobStore(directory / "blobs"),
                NoMetrics(),
                judge or NoJudge(),
                workspace.secrets.forget,
            ),
            machine=Machine(cpus=1, memory_gib=8, gpus=()),
            lease=lease,
            clock=self.clock,
            executor=self.executor,
            wake=self._wake,
            changed=lambda: None,
            ended=lambda _names: None,
            gpus_of=lambda _job: 0,
            backends=backends,
        )

    def _wake(self) -> None:
        self.wakes += 1

    def submit(self, name: str, retries: int = 0, **changes: Any) -> None:
        spec = TrainingJobSpec.parse(
            {
                "training_job_name": name,
                "algorithm_specification": {"container_entrypoint": ["train"]},
                "retry_strategy": {"maximum_retry_attempts": retries, "retry_user_errors": True},
                **changes,
            }
        )
        self.store.create_job(spec, arn=f"arn:{name}", now=self.clock.now())

    def act(self) -> None:
        """Carry out the actions that are asked for."""
        while self.executor.waiting:
            self.executor.waiting.pop(0)()

    def run(self, name: str) -> None:
        """Bring a job that waits to where its program runs."""
        self.driver.tick()
        self.act()
        self.driver.tick()
        assert self.store.get_job(name).secondary_status.value == "Training"

    def bring_to_its_end(self, name: str, code: int = 0) -> tuple[int, int]:
        """End a job's program; return what the last round says is left, and how often it woke."""
        self.engine.exit(name, code=code)
        self.driver.tick()
        self.act()
        before = self.wakes
        return self.driver.tick(), self.wakes - before


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.act()


def test_behind_an_end_nothing_is_looked_at_again_for_nobody(desk: Desk) -> None:
    desk.submit("only")
    desk.run("only")
    assert desk.bring_to_its_end("only") == (0, 0)
    assert desk.store.get_job("only").status.value == "Completed"


def test_what_an_end_gives_back_is_given_out_at_once(desk: Desk) -> None:
    desk.submit("first")
    desk.submit("second")
    desk.run("first")
    assert desk.bring_to_its_end("first") == (1, 1)
    desk.run("second")


def test_a_job_that_is_tried_again_is_placed_at_once(desk: Desk) -> None:
    desk.submit("again", retries=1)
    desk.run("again")
    assert desk.bring_to_its_end("again", code=1) == (1, 1)
    desk.run("again")
    assert desk.store.get_job("again").attempt == 2


def test_behind_the_end_of_the_first_of_a_long_queue_the_others_are_looked_at(desk: Desk) -> None:
    for number in range(QUEUED_LIMIT):
        condition = {"max_pending_time_in_seconds": 60}
        desk.submit(f"late-{number}", stopping_condition=condition, resources={"gpus": 1})
    desk.submit("behind")
    desk.clock.seconds = 61
    desk.driver.tick()
    assert desk.store.get_job("late-0").status.value == "Stopped"
    assert desk.wakes == 1
    desk.run("behind")


def test_what_somebody_else_has_changed_is_decided_anew(desk: Desk) -> None:
    desk.submit("stopped")
    desk.run("stopped")
    desk.engine.exit("stopped")
    desk.driver.tick()
    desk.act()
    desk.store.meanwhile = lambda: desk.store.request_stop(
        "stopped",
        intent=EndReason.USER_STOP,
        grace_seconds=None,
        now=desk.clock.now(),
        message="enough",
    )
    before = desk.wakes
    desk.driver.tick()
    assert desk.wakes == before + 1
    assert desk.driver.tick() == 0


def test_what_was_decided_before_the_lease_ran_out_is_decided_anew(desk: Desk) -> None:
    desk.submit("late")
    desk.driver.tick()
    desk.clock.seconds = 31
    before = desk.wakes
    desk.act()
    assert (desk.engine.starts, desk.wakes) == ([], before + 1)
    desk.run("late")
    assert desk.engine.starts == [("late", 1, "algo-1")]


def test_a_driver_whose_lease_was_taken_before_its_first_round_begins_nothing(
    desk: Desk,
) -> None:
    desk.submit("anothers")
    desk.store.acquire_driver(
        SCOPE, owner="another", now=desk.clock.now(), ttl_seconds=60, force=True
    )
    with pytest.raises(StaleLock):
        desk.driver.tick()
    assert desk.executor.waiting == []


def test_what_could_not_be_cleaned_up_is_left_to_do(desk: Desk) -> None:
    desk.submit("only")
    desk.run("only")
    desk.engine.fail("release", EngineUnreachable("no answer"))
    assert desk.bring_to_its_end("only") == (0, 0)
    desk.act()
    assert desk.driver.tick() == 1
    desk.clock.seconds = 60
    desk.driver.tick()
    desk.act()
    assert desk.driver.tick() == 0
    assert desk.engine.released == [("only", 1)]


@pytest.mark.parametrize(("packing", "intent"), [(1, EndReason.EARLY_STOPPED), (2, None)])
def test_a_run_whose_programs_have_all_ended_is_not_ended_early(
    tmp_path: Path, packing: int, intent: EndReason | None
) -> None:
    """The record may say Training while it is packed."""
    desk = Desk(tmp_path, Harsh())
    desk.submit("two", resource_config={"instance_count": 2}, resources={"cpus": 0.5})
    desk.run("two")
    desk.clock.seconds = 60
    desk.driver.tick()
    desk.act()
    for number in range(1, packing + 1):
        desk.engine.enter("two", "Uploading", f"algo-{number}")
    desk.driver.tick()
    assert desk.store.get_job("two").stop_intent is intent


def test_the_end_says_which_phases_nobody_has_seen(desk: Desk) -> None:
    desk.submit("quick")
    desk.driver.tick()
    desk.act()
    desk.clock.seconds = 5
    desk.bring_to_its_end("quick")
    job = desk.store.get_job("quick")
    steps = [step.status.value for step in job.transitions]
    assert steps[2:] == ["Downloading", "Training", "Uploading", "Completed"]
    starts = [step.started_at for step in job.transitions]
    assert starts == sorted(starts)
    assert job.training_started_at == job.transitions[3].started_at
    assert job.ended_at == job.transitions[-1].started_at
