"""Where a job's requirements live: one environment per requirements file and image digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator_runtime import contract

from orchestrator.backends.docker_values import DockerSettings, ImageFacts, Installed
from orchestrator.backends.requirements import OWN_DIRECTORY, may_install, wanted
from orchestrator.packaging.requirements import (
    environment_key,
    install_plan,
    is_installed,
    own_plan,
)

if TYPE_CHECKING:
    from orchestrator.backends.base import AttemptContext

ENVIRONMENTS = "envs"
TARGET = "/opt/orchestrator.envs"
OWN_TARGET = f"/tmp/{OWN_DIRECTORY}"  # noqa: S108  # the container's own


def installed(
    settings: DockerSettings, context: AttemptContext, image: ImageFacts
) -> Installed | None:
    """Return the environment of a job that has requirements; nothing is installed here.

    Raises:
        InputError: The archive lacks the requirements file.
    """
    want = wanted(context)
    if image.python is None:
        return None
    if want is None:
        return _own(image, image.python) if may_install(context.spec) else None
    key = environment_key(
        want.text,
        f"{image.id} {image.python}",
        f"linux-{image.architecture}",
        source=want.source,
    )
    directory, target = settings.home / ENVIRONMENTS / key, f"{TARGET}/{key}"
    step = install_plan(
        key=key,
        directory=target,
        requirements_path=f"{contract.ML}/{want.path}",
        python=image.python,
    )
    return Installed(
        directory=directory,
        target=target,
        python=step.python,
        environment=step.program_environment(image.path),
        install=None if is_installed(directory) else step.step(),
    )


def _own(image: ImageFacts, python: str) -> Installed:
    step = own_plan(directory=OWN_TARGET, python=python)
    return Installed(
        directory=None,
        target=OWN_TARGET,
        python=step.python,
        environment=step.program_environment(image.path),
        install=step.step(),
    )
