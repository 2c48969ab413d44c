"""Real jobs in fresh homes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import ModelTrainer, TrainingJob
from orchestrator.blobs.buckets import BucketStore
from orchestrator.embedded import LocalTransport
from orchestrator.home import prepare_home
from orchestrator.testing.plugin import end_driver, end_jobs

if TYPE_CHECKING:
    from tests.e2e.channels import Runner


@pytest.fixture
def trainer(tmp_path: Path, orchestrator_transport: LocalTransport) -> Callable[..., ModelTrainer]:
    """Make a trainer of a script's text."""

    def make(script: str, *, name: str = "train.py", **arguments: Any) -> ModelTrainer:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        (source / name).write_text(script, encoding="utf-8")
        return ModelTrainer(
            source_code=arguments.pop("source_code", str(source / name)),
            transport=orchestrator_transport,
            **arguments,
        )

    return make


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Return the condition's value once it is true; real processes give no events to wait for."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not so within {seconds} s: {condition}"
        time.sleep(0.01)


def training(job: TrainingJob) -> TrainingJob:
    """Wait until a job's program runs and has printed something."""
    eventually(lambda: job.refresh().record.secondary_status == "Training" and list(job.logs()))
    return job


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for all tests of a module, with an ended job: what is refused leaves nothing in it."""
    from tests.e2e.machine import ended, request

    directory = prepare_home(tmp_path_factory.mktemp("shared") / "home")
    with pytest.MonkeyPatch.context() as patch, closing(LocalTransport(directory)) as transport:
        patch.setenv("ORCHESTRATOR_HOME", str(directory))
        patch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "20")
        transport.submit(request("before"), secrets={}, idempotency_key="before")
        ended(directory, "before")
    yield directory
    end_jobs(directory)
    end_driver(directory)


KINDS = ("bubblewrap", "namespaces", "none")


@pytest.fixture(params=KINDS)
def isolation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with each kind of fence."""
    kind: str = request.param
    if kind == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", kind)
    return kind


CONTAINERS = [pytest.param(kind, marks=pytest.mark.docker) for kind in ("docker", "root")]


@pytest.fixture(params=[*KINDS, *CONTAINERS])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with each kind of fence, and in containers, also with root inside."""
    kind: str = request.param
    if kind == "root":
        monkeypatch.setenv("ORCHESTRATOR_DOCKER_PROFILE", "compatible")
    elif kind != "docker":
        monkeypatch.setenv("ORCHESTRATOR_ISOLATION", kind)
    return kind


@pytest.fixture
def runner(
    request: pytest.FixtureRequest, where: str, orchestrator_home: Path, tmp_path: Path
) -> Runner:
    """A home whose jobs run there."""
    from tests.e2e.channels import Runner

    image = request.getfixturevalue("base_image") if where in {"docker", "root"} else None
    transport: LocalTransport = request.getfixturevalue("orchestrator_transport")
    return Runner(transport, orchestrator_home, tmp_path, image)


@pytest.fixture
def buckets(orchestrator_home: Path) -> Iterator[BucketStore]:
    """The buckets of a fresh home."""
    store = BucketStore(orchestrator_home)
    yield store
    store.close()
