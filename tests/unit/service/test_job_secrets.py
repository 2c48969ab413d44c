"""Secrets on the way of training jobs and tuning jobs through a whole service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import AlreadyExists, InvalidSpec
from orchestrator.service.admission import Admission
from orchestrator.service.tunings import TuningService
from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.store_jobs import make_spec
from tests.unit.scheduler.simulation import MACHINE
from tests.unit.service.world import Refused, World
from tests.unit.tuner.world import RATE, tuning_spec

SECRETS = {"TOKEN": "hidden value"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A service without processes."""
    world = World(tmp_path, lambda clock: MemoryStore(clock=clock))
    yield world
    world.close()


def submit(world: World, key: str = "key", secrets: Any = SECRETS, **more: Any) -> None:
    spec = {
        "training_job_name": "job",
        "algorithm_specification": {"container_entrypoint": ["train"]},
        "hyper_parameters": {"program": "waits"},
        "secrets": list(SECRETS),
        **more,
    }
    world.call("submit", spec=spec, secrets=secrets, idempotency_key=key)


def rounds(world: World) -> None:
    for _ in range(8):
        world.clock.seconds += 1
        world.round()


def kept(home: Path) -> list[str]:
    """Which files of a home hold the value."""
    value = SECRETS["TOKEN"].encode()
    return [p.name for p in home.rglob("*") if p.is_file() and value in p.read_bytes()]


class TestTrainingJobs:
    def test_until_it_has_ended(self, world: World) -> None:
        submit(world)
        rounds(world)
        assert kept(world.home) == ["job.json"]
        world.call("stop", name="job")
        rounds(world)
        assert kept(world.home) == []

    def test_until_it_is_stopped_before_it_began(self, world: World) -> None:
        """Nothing of it ran, so there is nothing else to clean up after."""
        submit(world)
        world.call("stop", name="job")
        rounds(world)
        assert world.call("describe", name="job")["hosts"] == []
        assert kept(world.home) == []

    def test_a_job_whose_values_are_gone_does_not_run_without_them(self, world: World) -> None:
        submit(world)
        world.workspace.secrets.forget("job")
        rounds(world)
        job = world.call("describe", name="job")
        assert (job["status"], job["end_reason"]) == ("Failed", "input_error")
        assert "that of 'TOKEN' is not in the home directory any more" in job["failure_reason"]
        assert job["training_started_at"] is None

    def test_the_late_end_of_one_is_not_that_of_the_next_one_of_its_name(
        self, world: World
    ) -> None:
        submit(world)
        world.call("stop", name="job")
        world.driver.tick()  # it has ended; what follows from that has not been done yet
        world.call("delete", name="job")
        submit(world, "another key", priority=1)
        rounds(world)
        assert world.call("describe", name="job")["status"] == "InProgress"
        assert world.workspace.secrets.read("job") == SECRETS

    def test_a_driver_that_takes_over_removes_what_a_killed_one_left(self, world: World) -> None:
        submit(world)
        world.workspace.secrets.write("never-accepted", SECRETS)
        world.call("stop", name="job")
        world.driver.tick()
        world.take_over()
        assert kept(world.home) == []

    def test_values_that_nobody_asks_for_are_refused(self, world: World) -> None:
        with pytest.raises(Refused, match="got 'OTHER' too; name it there, or leave its value"):
            submit(world, secrets=SECRETS | {"OTHER": "hidden value"})
        assert kept(world.home) == []


@pytest.fixture
def tunings(world: World) -> TuningService:
    return TuningService(
        world.store.tunings,
        world.workspace,
        Admission(world.home, world.backends, MACHINE),
        world.changes,
        world.clock,
        lambda: None,
        lambda: 0.0,
    )


def search(*names: str, **more: Any) -> TuningJobSpec:
    """A tuning job whose definitions need these secrets, each one of them."""
    definitions = tuple(
        TrainingJobDefinition(
            definition_name=f"needs-{n}",
            job=make_spec("template", secrets=(name,)),
            parameters=(RATE,),
        )
        for n, name in enumerate(names)
    )
    return tuning_spec(definitions=definitions, **more)


class TestTuningJobs:
    def test_they_are_kept_for_all_definitions_and_are_not_in_the_record(
        self, world: World, tunings: TuningService
    ) -> None:
        record = tunings.create(search("TOKEN", "KEY"), secrets=SECRETS | {"KEY": "k"})
        assert tunings.secrets.read("t") == SECRETS | {"KEY": "k"}
        assert "hidden value" not in repr(record)
        assert kept(world.home) == ["t.json"]

    def test_each_needs_a_value_and_none_may_be_left_over(
        self, world: World, tunings: TuningService
    ) -> None:
        spec = search("TOKEN", "KEY")
        with pytest.raises(InvalidSpec, match=r"'needs-1': every secret .* for 'KEY'; set the va"):
            tunings.create(spec, secrets=SECRETS)
        more = SECRETS | {"KEY": "k", "OTHER": "hidden value"}
        with pytest.raises(InvalidSpec, match="got 'OTHER' too; name it there"):
            tunings.create(spec, secrets=more)
        assert kept(world.home) == []

    def test_the_same_request_again_is_the_same_and_another_one_changes_nothing(
        self, tunings: TuningService
    ) -> None:
        spec = search("TOKEN")
        first = tunings.create(spec, secrets=SECRETS, idempotency_key="key")
        other = {"TOKEN": "another value"}
        assert tunings.create(spec, secrets=other, idempotency_key="key") == first
        assert tunings.create(spec, idempotency_key="key") == first  # accepted once, without any
        for key in ("key", "another key", None):
            with pytest.raises(AlreadyExists):
                tunings.create(search("TOKEN", random_seed=5), secrets=other, idempotency_key=key)
        assert tunings.secrets.read("t") == SECRETS

    def test_a_key_of_another_tuning_job_leaves_nothing(
        self, world: World, tunings: TuningService
    ) -> None:
        tunings.create(search("TOKEN"), secrets=SECRETS, idempotency_key="key")
        with pytest.raises(AlreadyExists):
            tunings.create(
                search("TOKEN", tuning_job_name="u"), secrets=SECRETS, idempotency_key="key"
            )
        assert kept(world.home) == ["t.json"]

    def test_they_go_with_its_end(self, world: World, tunings: TuningService) -> None:
        tunings.create(search("TOKEN"), secrets=SECRETS)
        tunings.stop("t")
        assert tunings.secrets.sweep()
        assert kept(world.home) == ["t.json"]  # it may still submit what it has written down
