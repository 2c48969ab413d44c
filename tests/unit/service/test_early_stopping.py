"""A run that gets no better is asked to stop, says why, and leaves its best checkpoint as its model."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.metrics.points import GivenValue
from orchestrator.store.memory import MemoryStore
from tests.unit.service.world import World

WHY = "validation:loss has not improved by more than 0 for 2 values: its best is 2 at step 1"
LOSSES = (3.0, 2.0, 2.5, 2.6)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A service without processes."""
    world = World(tmp_path, lambda clock: MemoryStore(clock=clock))
    yield world
    world.close()


def submit(world: World, program: str = "waits", **more: Any) -> None:
    spec = {
        "training_job_name": "job",
        "algorithm_specification": {"container_entrypoint": ["train"]},
        "hyper_parameters": {"program": program},
        "early_stopping": {"metric": "validation:loss", "patience": 2},
        **more,
    }
    world.call("submit", spec=spec, idempotency_key="key")
    for _ in range(5):
        world.clock.seconds += 1
        world.round()


def report(world: World, *losses: float, first: int = 0, name: str = "validation:loss") -> None:
    """Let the program report, and save a checkpoint after each value."""
    folder = world.workspace.job_directory("job") / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    for step, loss in enumerate(losses, first):
        now = world.clock.now().timestamp()
        world.metrics.put({"job": [GivenValue(name, loss, round(now * 1e6), step)]})
        path = folder / f"epoch-{step}.pt"
        path.write_text(f"weights {step}")
        os.utime(path, (now, now))
        world.clock.seconds += 0.1


def ended(world: World) -> dict[str, Any]:
    for _ in range(30):
        world.clock.seconds += 1
        world.round()
    job: dict[str, Any] = world.call("describe", name="job")
    return job


def model(job: dict[str, Any], kind: str = "model") -> list[str]:
    with tarfile.open(Path(job["artifacts"][kind]["uri"].removeprefix("file://"))) as archive:
        return archive.getnames()


def test_its_best_checkpoint_becomes_the_model_and_the_reason_is_said(world: World) -> None:
    submit(world)
    report(world, *LOSSES)
    job = ended(world)
    assert (job["status"], job["end_reason"], job["message"]) == ("Stopped", "early_stopped", WHY)
    assert job["failure_reason"] == f"EarlyStopped: {WHY}"
    assert [step["message"] for step in job["transitions"]].count(WHY) == 2
    assert (model(job), model(job, "last_model")) == (["epoch-1.pt"], ["weights"])
    assert "epoch-1.pt: its name has the number 1" in job["notes"]["early stopping"]


def test_one_that_gets_better_goes_on_to_its_end(world: World) -> None:
    submit(world)
    report(world, 3, 2, 1, 0.5)
    world.round()
    assert world.call("describe", name="job")["status"] == "InProgress"


def test_a_new_driver_decides_the_same(world: World) -> None:
    submit(world)
    report(world, *LOSSES)
    world.clock.seconds += 1
    world.driver.tick()
    world.act()  # it was judged, and the driver dies before it asks for the stop
    world.take_over()
    assert world.call("describe", name="job")["stop_intent"] is None
    assert ended(world)["message"] == WHY


def test_an_attempt_that_resumes_is_judged_with_what_was_before(world: World) -> None:
    submit(world)
    report(world, 3, 2, 2.5)
    world.engine.lose("job", "algo-1")
    for _ in range(5):
        world.clock.seconds += 1
        world.round()
    job = world.call("describe", name="job")
    assert (job["attempt"], job["secondary_status"]) == (2, "Training")
    report(world, 2.4, first=2)  # it has resumed behind step 1 and does step 2 again
    world.round()
    assert world.call("describe", name="job")["stop_intent"] is None
    report(world, 2.6, first=3)
    job = ended(world)
    assert (job["message"], model(job)) == (WHY, ["epoch-1.pt"])


def test_a_job_that_is_ending_is_not_judged(world: World) -> None:
    submit(world)
    report(world, *LOSSES)
    world.call("stop", name="job")
    job = ended(world)
    assert (job["end_reason"], model(job)) == ("user_stop", ["weights"])
    assert "early stopping" not in job["notes"]


def test_a_stop_that_comes_between_is_the_first(world: World) -> None:
    submit(world)
    report(world, *LOSSES)
    world.clock.seconds += 1
    world.driver.tick()
    world.call("stop", name="job")
    assert ended(world)["end_reason"] == "user_stop"


def test_without_keep_best_the_model_is_the_programs(world: World) -> None:
    submit(
        world,
        early_stopping={"metric": "validation:loss", "patience": 2, "keep_best": False},
    )
    report(world, *LOSSES)
    job = ended(world)
    assert (job["end_reason"], list(job["artifacts"])) == ("early_stopped", ["model"])
    assert model(job) == ["weights"]
    assert "keep_best is off" in job["notes"]["early stopping"]


def test_without_a_checkpoint_the_model_is_the_programs_and_that_is_said(world: World) -> None:
    submit(world)
    report(world, *LOSSES)
    for path in (world.workspace.job_directory("job") / "checkpoints").iterdir():
        path.unlink()
    job = ended(world)
    assert model(job) == ["weights"]
    assert "no checkpoint of the best validation:loss" in job["notes"]["early stopping"]


def test_a_metric_that_was_never_reported_is_named(world: World) -> None:
    submit(world, "waits")
    report(world, 1, 2, 3, name="val_loss")
    world.call("stop", name="job")
    note = ended(world)["notes"]["early stopping"]
    assert "must report 'validation:loss', it reported val_loss" in note


def test_a_model_that_is_no_archive_is_a_directory(world: World) -> None:
    submit(world, output_data_config={"compression_type": "NONE"})
    report(world, *LOSSES)
    job = ended(world)
    place = Path(job["artifacts"]["model"]["uri"].removeprefix("file://"))
    assert [path.name for path in place.iterdir()] == ["epoch-1.pt"]


def test_what_is_hostile_among_checkpoints_is_left_out(world: World, tmp_path: Path) -> None:
    submit(world)
    report(world, *LOSSES)
    folder = world.workspace.job_directory("job") / "checkpoints"
    (folder / "epoch-1.pt").unlink()
    best = folder / "epoch-1"
    best.mkdir()
    (best / "weights").write_text("w")
    now = world.clock.now().timestamp()
    os.utime(best / "weights", (now, now))
    secret = tmp_path / "secret"
    secret.write_text("s")
    (best / "link").symlink_to(secret)
    os.mkfifo(best / "pipe")
    job = ended(world)
    assert model(job) == ["epoch-1", "epoch-1/weights"]
    assert "left out: epoch-1/link" in job["notes"]["early stopping"]
