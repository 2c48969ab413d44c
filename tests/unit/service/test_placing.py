"""A job that is placed is started in the same round, and what its start gave is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec.record import TrainingJobRecord
from orchestrator.store.memory import MemoryStore
from tests.unit.service.world import World


class AtOnce(Executor):
    """Has done an action before the driver goes on."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*args, **kwargs))
        return done


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A service without processes."""
    world = World(tmp_path, lambda clock: MemoryStore(clock=clock))
    yield world
    world.close()


def submit(world: World) -> None:
    spec = {
        "training_job_name": "job",
        "algorithm_specification": {"container_entrypoint": ["train"]},
        "hyper_parameters": {"program": "waits"},
    }
    world.call("submit", spec=spec, idempotency_key="key")


def record(world: World) -> TrainingJobRecord:
    return world.store.get_job("job")


def test_one_round_places_it_and_starts_its_hosts(world: World) -> None:
    submit(world)
    assert world.driver.tick() == 1
    assert record(world).attempt == 1
    assert not world.engine.hosts
    while world.executor.waiting:
        world.act()
    assert len(world.engine.hosts) == 1


def test_handles_are_kept_however_fast_the_start_is(world: World) -> None:
    world.take_over(AtOnce())
    submit(world)
    world.driver.tick()
    starts = len(world.engine.hosts)
    world.driver.tick()
    assert all(host.handle is not None for host in record(world).hosts)
    world.driver.tick()
    assert len(world.engine.hosts) == starts == 1
