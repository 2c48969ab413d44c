"""Functions that the SageMaker SDK v3 runs as jobs in containers, which reach the service on loopback.

Their image has the caller's version of Python, and the SDK, as the SDK asks for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import aws_environment
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from orchestrator.testing.plugin import end_jobs
from tests.plugins.needs import SAGEMAKER3_PYTHON
from tests.setup.base_image import docker
from tests.setup.images import BASE
from tests.wire.place import HERE, PATH, Program

pytestmark = [
    pytest.mark.docker,
    pytest.mark.sagemaker3,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
IMAGE = "orchestrator-test/sagemaker-sdk:latest"
RULE = f'[[image]]\npattern = "*/sagemaker-base-python*"\ndocker = "{IMAGE}"\n'
DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY . /opt/venv/lib/python3.11/site-packages/
"""


@pytest.fixture
def image(tmp_path: Path) -> Iterator[None]:
    """The base image with the SDK of the environment for tests."""
    (packages,) = SAGEMAKER3_PYTHON.parent.parent.glob("lib/python*/site-packages")
    recipe = tmp_path / "Dockerfile"
    recipe.write_text(DOCKERFILE, encoding="utf-8")
    words = ["build", "-q", "-f", str(recipe), "--build-arg", f"BASE_IMAGE={BASE}:latest"]
    docker(*words, "-t", IMAGE, str(packages))
    yield
    docker("image", "rm", IMAGE)


@pytest.fixture
def server(tmp_path: Path, image: None) -> Iterator[Server]:
    del image
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "images.toml").write_text(RULE, encoding="utf-8")
    # The SDK asks for sudo where it is not root.
    settings = Settings(home=home, aws_backend="docker", docker_profile="compatible")
    with Server(settings, ServeOptions(port=0)) as running:
        yield running
        end_jobs(home)


def test_functions_run_in_containers(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", server.token)
    environment = {
        "HOME": str(tmp_path),
        "PATH": PATH,
        "TMPDIR": os.environ["TMPDIR"],
        "PYTHONPATH": str(HERE / "guard"),
        **aws_environment.variables(server.service.home, server.url),
    }
    words = [str(SAGEMAKER3_PYTHON), str(HERE / "sdk" / "remote_program.py")]
    folder = tmp_path / "program"
    folder.mkdir()
    program = Program([*words, str(folder / "answer.json")], folder, environment)
    try:
        found = program.answer()
    finally:
        program.end()
    assert found["decorated"]["numbers"] == [3, 7.5]
    assert found["decorated"]["python"] == found["here"]
    assert (found["halved"], found["error"], found["again"]) == (4.0, "7 is odd", 4.0)
