"""Where a job's requirements live: one environment per requirements file and image digest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator_runtime import contract

from orchestrator.backends.docker_values import DockerSettings, ImageFacts, Installed
from orchestrator.errors import InputError
from orchestrator.packaging.requirements import (
    environment_key,
    install_plan,
    is_installed,
    names_local_files,
)
from orchestrator.packaging.tar_reader import SOURCE_LIMITS, ArchiveReader

if TYPE_CHECKING:
    from orchestrator.backends.base import AttemptContext

ENVIRONMENTS = "envs"
TARGET = "/opt/orchestrator.envs"


def installed(
    settings: DockerSettings, context: AttemptContext, image: ImageFacts
) -> Installed | None:
    """Return the environment of a job that has requirements; nothing is installed here.

    Raises:
        InputError: The archive lacks the requirements file.
    """
    source, archive = context.spec.source_code, context.source_archive
    if source is None or source.requirements is None or archive is None or image.python is None:
        return None
    text = read_member(archive, source.requirements)
    key = environment_key(
        text,
        f"{image.id} {image.python}",
        f"linux-{image.architecture}",
        source=source.digest if names_local_files(text) else "",
    )
    directory, target = settings.home / ENVIRONMENTS / key, f"{TARGET}/{key}"
    step = install_plan(
        key=key,
        directory=target,
        requirements_path=f"{contract.ML}/{contract.CODE}/{source.requirements}",
        python=image.python,
    )
    return Installed(
        directory=directory,
        target=target,
        python=step.python,
        environment=step.program_environment(image.path),
        install=None if is_installed(directory) else step.step(),
    )


def read_member(archive: Path, name: str) -> str:
    """Return the text of one file of a source archive.

    Raises:
        InputError: There is no such file, or the archive is damaged.
    """
    with archive.open("rb") as stream:
        reader = ArchiveReader(stream, f"archive {archive.name}", SOURCE_LIMITS)
        for member in reader.members():
            if member.name == name:
                return b"".join(reader.chunks()).decode("utf-8", "replace")
    raise InputError(
        f"requirements must name a file of the source directory, got {name!r}; check the path"
    )
