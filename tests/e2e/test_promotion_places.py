"""Promotion in containers, and from checkpoints that are kept in S3: the same results as anywhere."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator import CheckpointConfig, ModelTrainer, TrainingJob, TuningJob
from orchestrator.backends.docker_values import LABEL_HOME, LABEL_JOB
from orchestrator.blobs.bucket_values import ListQuery
from orchestrator.blobs.buckets import BucketStore
from orchestrator.embedded import LocalTransport
from orchestrator.spec.tuned import TunedJob
from orchestrator.tuner.configuration import configurations
from tests.e2e.channels import read
from tests.e2e.conftest import eventually
from tests.e2e.s3_server import Bucket, bucket, s3_server
from tests.e2e.test_promotion import JOBS, SCRIPT, began_behind, check_goes_on, tuner
from tests.e2e.test_tuning import driver_of, wait_for

__all__ = ["bucket", "s3_server"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

HANGS = f"""{SCRIPT}
    hung = kept.with_name("hung")
    if state["epoch"] == 3 and not hung.exists():
        hung.touch()
        print("hangs", flush=True)
        time.sleep(600)
"""
"""Goes on behind its third epoch only when it is begun again."""
DOCKER = pytest.param("docker", marks=pytest.mark.docker)
Trainer = Callable[..., ModelTrainer]


@dataclass(frozen=True)
class Place:
    """Where checkpoints are kept.

    Attributes:
        uri: What users say; None = they say nothing.
        files: Returns the files there, by names below it.
    """

    uri: str | None
    files: Callable[[], Mapping[str, bytes]]


def in_directory(directory: Path) -> Mapping[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture(params=["own bucket", "S3", "directory", "nowhere"])
def place(request: pytest.FixtureRequest, orchestrator_home: Path, tmp_path: Path) -> Place:
    """A place for checkpoints, of each kind."""
    if request.param == "S3":
        theirs: Bucket = request.getfixturevalue("bucket")
        return Place(
            f"{theirs.uri}/kept/",
            lambda: {name: theirs.read(f"kept/{name}") for name in theirs.names("kept/")},
        )
    if request.param == "own bucket":
        ours: BucketStore = request.getfixturevalue("buckets")
        ours.create_bucket("ours")
        return Place(
            "s3://ours/kept",
            lambda: {
                each.key.removeprefix("kept/"): read(ours, "ours", each.key)
                for each in ours.list("ours", ListQuery()).objects
            },
        )
    if request.param == "directory":
        return Place(str(tmp_path / "kept"), lambda: in_directory(tmp_path / "kept"))
    jobs = orchestrator_home / "jobs"
    return Place(
        None,
        lambda: {
            f"{kept.parent.name}/{name}": content
            for kept in jobs.glob("*/checkpoints")  # what is beside them is being removed
            for name, content in in_directory(kept).items()
        },
    )


@pytest.fixture(params=["process", DOCKER])
def engine(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """What a trainer is told of where its programs run."""
    if request.param == "process":
        return {}
    return {"training_image": request.getfixturevalue("base_image")}


def outcome(tuned: list[TunedJob]) -> list[tuple[Any, ...]]:
    return [(each.values, each.continues, each.resource, each.objectives) for each in tuned]


def containers_of(home: Path) -> list[str]:
    """Names of the containers that a home still has."""
    import docker

    client = docker.from_env()
    try:
        label = {"label": f"{LABEL_HOME}={home}"}
        return [str(each.name) for each in client.containers.list(all=True, filters=label)]
    finally:
        client.close()


def remove_containers(home: Path, job_name: str) -> None:
    """Take the containers of a training job away, as an engine does that loses its data."""
    import docker

    client = docker.from_env()
    try:
        labels = [f"{LABEL_HOME}={home}", f"{LABEL_JOB}={job_name}"]
        for each in client.containers.list(filters={"label": labels}):
            each.remove(force=True)
    finally:
        client.close()


def check_same(job: TuningJob, quiet: TuningJob) -> list[TunedJob]:
    """Check that each went on where the one before had ended, to the results of a quiet one."""
    assert job.status == "Completed"
    tuned = check_goes_on(job)
    assert len(tuned) == JOBS
    assert outcome(tuned) == outcome(check_goes_on(quiet))
    return tuned


def test_the_best_train_on_from_wherever_their_checkpoints_are(
    trainer: Trainer, place: Place, engine: Mapping[str, Any], orchestrator_home: Path
) -> None:
    quiet = tuner(trainer(SCRIPT, hyperparameters={"epochs": 4})).tune()
    before = set(place.files())
    kept = CheckpointConfig(s3_uri=place.uri) if place.uri else None
    program = trainer(SCRIPT, hyperparameters={"epochs": 4}, checkpoint_config=kept, **engine)
    job = tuner(program).tune()
    tuned = check_same(job, quiet)
    found = {
        name: json.loads(content)["epoch"]
        for name, content in place.files().items()
        if name not in before
    }
    assert found == {
        f"{chain.first.job_name}/state.json": chain.last.resource
        for chain in configurations(tuned)
    }
    if engine:
        eventually(lambda: not containers_of(orchestrator_home))


@pytest.mark.docker
def test_a_killed_driver_promotes_nobody_twice_in_docker(
    trainer: Trainer, orchestrator_transport: LocalTransport, base_image: str
) -> None:
    quiet = tuner(trainer(SCRIPT, hyperparameters={"epochs": 4})).tune()
    words = {"epochs": 4, "seconds": 0.1}
    job = tuner(trainer(SCRIPT, hyperparameters=words, training_image=base_image)).tune(wait=False)
    for ended in (2, 3, 6):
        wait_for(job, ended)
        os.kill(driver_of(orchestrator_transport.home), signal.SIGKILL)
    job.wait()
    check_same(job, quiet)
    eventually(lambda: not containers_of(orchestrator_transport.home))


@pytest.mark.docker
def test_a_container_that_is_taken_away_goes_on_from_its_last_epoch(
    trainer: Trainer, orchestrator_home: Path, base_image: str
) -> None:
    quiet = tuner(trainer(SCRIPT, hyperparameters={"epochs": 4})).tune()
    program = trainer(HANGS, hyperparameters={"epochs": 4}, training_image=base_image)
    job = tuner(program).tune(wait=False)

    def hanging() -> TrainingJob | None:
        for each in job.training_jobs():
            if each.continues is not None and each.status == "InProgress":
                promoted = TrainingJob.get(each.job_name, job._transport)
                if "hangs" in map(str, promoted.logs()):
                    return promoted
        return None

    promoted: TrainingJob = eventually(hanging, 120)
    remove_containers(orchestrator_home, promoted.name)
    job.wait()
    tuned = list(job.training_jobs())
    assert outcome(tuned) == outcome(list(quiet.training_jobs()))
    assert promoted.refresh().record.attempt == 2
    (mine,) = (each for each in tuned if each.job_name == promoted.name)
    assert began_behind(job, mine) == 3
    eventually(lambda: not containers_of(orchestrator_home))
