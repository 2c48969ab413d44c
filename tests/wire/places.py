"""Fixtures: a service on either back end, and all programs of users that the chosen tests look at, running at once.

The SDKs spend most of their time asleep between two questions, so the programs share the time.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from orchestrator.testing.plugin import end_jobs
from tests.plugins.needs import SAGEMAKER2_PYTHON, SAGEMAKER3_PYTHON, no_sagemaker2, no_sagemaker3
from tests.setup.base_image import docker
from tests.setup.images import BASE, PYTORCH, TENSORFLOW
from tests.wire.place import HERE, Place, Program, write_wheel

CLASSIC = "orchestrator-test/classic:latest"
STRAIGHT_LINE = "orchestrator-test/straight-line:latest"
MAP = {
    "*/pytorch-training:*": (f"{PYTORCH}:latest", "default"),
    "*/huggingface-pytorch-training:*": (f"{PYTORCH}:latest", "default"),
    "*/tensorflow-training:*": (f"{TENSORFLOW}:latest", "default"),
    "*/sagemaker-base-python*": (f"{BASE}:latest", str(SAGEMAKER3_PYTHON)),
    "*/straight-line:*": (STRAIGHT_LINE, None),
}
"""What stands for an image: one of the engine, and an interpreter."""
SDK, ACCEPTANCE = HERE / "sdk", HERE / "acceptance"


def image_map() -> str:
    """The image map of a user who has built the images on this machine."""
    rules = []
    for pattern, (image, python) in MAP.items():
        rule = f'[[image]]\npattern = "{pattern}"\ndocker = "{image}"\n'
        rules.append(rule + (f'process = "{python}"\n' if python else ""))
    return "\n".join(rules)


@pytest.fixture(
    scope="session", params=["process", pytest.param("docker", marks=pytest.mark.docker)]
)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A service whose jobs run on one back end; one after the other on both."""
    folder = tmp_path_factory.mktemp(request.param)
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "images.toml").write_text(image_map(), encoding="utf-8")
    settings = Settings(home=home, aws_backend=request.param, cpu_slots=32)
    with Server(settings, ServeOptions(port=0)) as running:
        yield Place(request.param, running, folder)
        end_jobs(home)


@pytest.fixture(scope="session")
def code(place: Place) -> str:
    """A folder with the scripts of ``sdk/code``, and requirements that need no network."""
    folder = place.folder / "code"
    shutil.copytree(SDK / "code", folder)
    wheel = write_wheel(folder, "a_local_package", "NAME = 'from a wheel'\n")
    (folder / "requirements.txt").write_text(f"./{wheel.name}\n", encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="session")
def data(place: Place) -> str:
    """A folder with two files, as input."""
    folder = place.folder / "data"
    folder.mkdir()
    (folder / "a.csv").write_text("1,2\n", encoding="utf-8")
    (folder / "b.csv").write_text("3,4\n", encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="session")
def own_images(place: Place) -> Iterator[None]:
    """Images for SageMaker's first contract, whose program is ``train``; on Docker only."""
    built = {CLASSIC: SDK / "classic", STRAIGHT_LINE: ACCEPTANCE / "own_container"}
    if place.backend == "process":
        built = {}
    for name, folder in built.items():
        docker("build", "-q", "--build-arg", f"BASE_IMAGE={BASE}:latest", "-t", name, str(folder))
    yield
    for name in built:
        docker("image", "rm", name)


@pytest.fixture(scope="session")
def programs(
    request: pytest.FixtureRequest, place: Place, code: str, data: str, own_images: None
) -> Iterator[dict[str, Program]]:
    """The programs that the chosen tests look at, by name. All run at once."""
    del own_images
    v2, v3, ours = SAGEMAKER2_PYTHON, SAGEMAKER3_PYTHON, Path(sys.executable)
    more = (
        ["hosts"] if any(item.get_closest_marker("slow") for item in request.session.items) else []
    )
    starts: dict[str, Callable[[str], Program]] = {
        "v2": lambda name: place.start(
            name, v2, SDK / "v2_program.py", code, data, str(SDK / "code_library")
        ),
        "v3": lambda name: place.start(name, v3, SDK / "v3_program.py", code, data, *more),
        "v3_tuner": lambda name: place.start(name, v3, SDK / "v3_tuner_program.py", code, data),
        "remote": lambda name: place.start(name, v3, SDK / "remote_program.py"),
        "script_mode": lambda name: place.start_in_shell(name, v2, ACCEPTANCE / name),
        "model_trainer": lambda name: place.start_in_shell(name, v3, ACCEPTANCE / name),
        "own_container": lambda name: place.start_in_shell(name, ours, ACCEPTANCE / name),
    }
    chosen = {item.path.stem.removeprefix("test_") for item in request.session.items}
    absent = {"v2", "script_mode"} if no_sagemaker2() else set()
    absent |= {"v3", "v3_tuner", "remote", "model_trainer"} if no_sagemaker3() else set()
    running = {name: start(name) for name, start in starts.items() if name in chosen - absent}
    yield running
    for program in running.values():
        program.end()
