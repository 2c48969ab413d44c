"""What an ended job has left is collected whole, whatever is in the way at that moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.memory import MemoryStore
from tests.unit.service.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A service without processes."""
    world = World(tmp_path, lambda clock: MemoryStore(clock=clock))
    yield world
    world.close()


def test_an_engine_that_falls_silent_before_collecting_costs_no_artifact(world: World) -> None:
    """Hosts were seen ended, then are looked at again to collect: that look may show nothing."""
    spec = {
        "training_job_name": "job",
        "algorithm_specification": {"container_entrypoint": ["train"]},
        "hyper_parameters": {"program": "ends"},
    }
    world.call("submit", spec=spec, idempotency_key="key")
    silences = 0
    for _ in range(60):
        world.clock.seconds += 1
        world.driver.tick()
        ended = any(host.exit for host in world.engine.hosts.values())
        world.engine.reachable = not (ended and silences < 3)
        silences += not world.engine.reachable
        while world.executor.waiting:
            world.act()
        world.engine.reachable = True
    job = world.call("describe", name="job")
    assert silences == 3
    assert job["status"] == "Completed"
    assert list(job["artifacts"]) == ["model"]
    assert world.workspace.marked() == []
