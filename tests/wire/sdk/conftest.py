"""The real SageMaker SDKs, each in an environment of its own, against a live service on either back end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from orchestrator.testing.plugin import end_jobs
from tests.setup.base_image import docker
from tests.setup.images import BASE, PYTORCH, TENSORFLOW
from tests.wire.sdk.place import HERE, Place, write_wheel

IMAGES = f"""
[[image]]
pattern = "*/pytorch-training:*"
docker = "{PYTORCH}:latest"
process = "default"

[[image]]
pattern = "*/huggingface-pytorch-training:*"
docker = "{PYTORCH}:latest"
process = "default"

[[image]]
pattern = "*/tensorflow-training:*"
docker = "{TENSORFLOW}:latest"
process = "default"

[[image]]
pattern = "*/sagemaker-base-python*"
docker = "{BASE}:latest"
process = "default"
"""


@pytest.fixture(scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A service whose jobs run on one back end; one after the other on both."""
    folder = tmp_path_factory.mktemp(request.param)
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "images.toml").write_text(IMAGES, encoding="utf-8")
    settings = Settings(home=home, aws_backend=request.param, cpu_slots=16)
    with Server(settings, ServeOptions(port=0)) as running:
        yield Place(request.param, running, folder)
        end_jobs(home)


@pytest.fixture(scope="module")
def code(place: Place) -> Path:
    """A folder with the scripts of ``code``, and requirements that need no network."""
    folder = place.folder / "code"
    shutil.copytree(HERE / "code", folder)
    wheel = write_wheel(folder, "a_local_package", "NAME = 'from a wheel'\n")
    (folder / "requirements.txt").write_text(f"./{wheel.name}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def classic(place: Place, base_image: str) -> Iterator[str]:
    """The name of an image for SageMaker's first contract: its program is ``train``; there on Docker only."""
    name = "orchestrator-test/classic:latest"
    if place.backend == "process":
        yield name
        return
    docker(
        "build", "--quiet", "--build-arg", f"BASE_IMAGE={base_image}", "-t", name,
        str(HERE / "classic"),
    )  # fmt: skip
    yield name
    docker("image", "rm", name)


@pytest.fixture(scope="module")
def data(place: Place) -> Path:
    """A folder with two files, as input."""
    folder = place.folder / "data"
    folder.mkdir()
    (folder / "a.csv").write_text("1,2\n", encoding="utf-8")
    (folder / "b.csv").write_text("3,4\n", encoding="utf-8")
    return folder
