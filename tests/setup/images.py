"""The images of the Docker tests, built from containers/images on the base image, and tagged by digest of all that went in.

`orchestrator-test/base`, `orchestrator-test/pytorch` and `orchestrator-test/tensorflow`: a second call finds them and builds nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.setup.base_image import docker, ensure_base, has_image
from tests.setup.cache import SetupError, cache_folder, locked, say
from tests.setup.environment import (
    CONSTRAINTS,
    ROOT,
    TENSORFLOW_CONSTRAINTS,
    TORCH_CPU_INDEX,
    pinned,
)
from tests.setup.wheelhouse import container_pip_conf, pip_settings, wheelhouse

BASE = "orchestrator-test/base"
PYTORCH = "orchestrator-test/pytorch"
TENSORFLOW = "orchestrator-test/tensorflow"
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class Build:
    """One call of `docker build`."""

    name: str
    base: str
    arguments: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    wheels: Path | None = None

    @property
    def source(self) -> Path:
        """The Dockerfile."""
        return ROOT / "containers" / "images" / self.name.rpartition("/")[2] / "Dockerfile"

    def tag(self) -> str:
        """Name of the image with the digest of everything that decides what it holds."""
        digest = hashlib.sha256(self.source.read_bytes())
        digest.update(f"{self.base} {sorted(self.arguments.items())} {self.wheels}".encode())
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + content)
        return f"{self.name}:{digest.hexdigest()[:16]}"


def host_certificates() -> bytes | None:
    """The certificate bundle that this machine's programs are told to use, if any."""
    for path in [*(os.environ.get(name) for name in CERTIFICATES), pip_settings().get("cert")]:
        if path and Path(path).is_file():
            return Path(path).read_bytes()
    return None


def fill_context(build: Build, folder: Path) -> None:
    """Lay out the build folder; wheels are linked where the file system allows it."""
    shutil.copy(build.source, folder / "Dockerfile")
    for name, content in build.files.items():
        (folder / name).write_bytes(content)
    if build.wheels is not None:
        (folder / "wheelhouse").mkdir()
        for wheel in build.wheels.iterdir():
            (folder / "wheelhouse" / wheel.name).hardlink_to(wheel)


def run_build(build: Build, folder: Path, *words: str) -> None:
    """One call of the legacy builder, which every engine has."""
    arguments = {"BASE_IMAGE": build.base, **build.arguments}
    command = ["docker", "build", "--network=host", "--force-rm", *words]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    result = subprocess.run(
        [*command, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        tail = "\n".join((result.stdout + result.stderr).splitlines()[-15:])
        raise SetupError(f"building {build.name} failed:\n{tail}")


def ensure_image(build: Build) -> str:
    """Build the image unless the engine has it; returns its name with the digest."""
    tag = build.tag()
    if not has_image(tag):
        say(f"  docker build {tag}")
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache_folder()) as scratch:
            folder = Path(scratch)
            fill_context(build, folder)
            if build.wheels is None:
                run_build(build, folder, "--tag", tag)
            else:  # name the first stage, so that it can be removed: it holds every wheel
                stage = f"{build.name}-stage:latest"
                run_build(build, folder, "--target", "build", "--tag", stage)
                run_build(build, folder, "--tag", tag)
                docker("image", "rm", stage)
    docker("tag", tag, f"{build.name}:latest")
    remove_older(build.name, tag)
    return tag


def remove_older(name: str, tag: str) -> None:
    """Remove what earlier versions of the recipe left; an image that a container uses stays."""
    for other in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name).split():
        if other not in {tag, f"{name}:latest"}:
            with contextlib.suppress(SetupError):
                docker("image", "rm", other)


def base_build() -> Build:
    """The base image, with this machine's certificates and pip settings inside."""
    files = {"pip.conf": container_pip_conf(pip_settings()).encode()}
    if (bundle := host_certificates()) is not None:
        files["ca-bundle.crt"] = bundle
    return Build(BASE, ensure_base(), files=files)


def image_python(image: str) -> tuple[str, str]:
    """Version (`3.11`) and machine type of the Python in an image."""
    program = "import platform, sys; print(*sys.version_info[:2], platform.machine())"
    major, minor, machine = docker("run", "--rm", image, "python3", "-c", program).split()
    return f"{major}.{minor}", machine


def torch_wheels(python: str, machine: str) -> tuple[tuple[str, ...], Path]:
    """Requirements and wheels of the PyTorch image, from the configured sources or else from PyTorch's CPU index."""
    requirements = (f"{pinned('torch')}+cpu", pinned("numpy"), pinned("scikit-learn"))
    try:
        return requirements, wheelhouse(requirements, CONSTRAINTS, python, machine)
    except SetupError:
        index = ("--extra-index-url", TORCH_CPU_INDEX)
        return requirements, wheelhouse(requirements, CONSTRAINTS, python, machine, *index)


def tensorflow_wheels(python: str, machine: str) -> tuple[tuple[str, ...], Path]:
    """Requirements and wheels of the TensorFlow image."""
    names = ("tensorflow-cpu", "keras", "scikit-learn")
    requirements = tuple(pinned(name, TENSORFLOW_CONSTRAINTS) for name in names)
    return requirements, wheelhouse(requirements, TENSORFLOW_CONSTRAINTS, python, machine)


def framework_build(name: str, base: str, wheels: tuple[tuple[str, ...], Path]) -> Build:
    """An image with a framework, installed from wheels only."""
    requirements, folder = wheels
    arguments = {"REQUIREMENTS": " ".join(requirements), "PIP_NO_INDEX": "1"}
    return Build(name, base, arguments, wheels=folder)


def ensure_images() -> None:
    """Make sure that the engine has the three images.

    Raises:
        SetupError: One of them cannot be made here.
    """
    with locked("images"):
        base = ensure_image(base_build())
        python, machine = image_python(base)
        ensure_image(framework_build(PYTORCH, base, torch_wheels(python, machine)))
        ensure_image(framework_build(TENSORFLOW, base, tensorflow_wheels(python, machine)))
