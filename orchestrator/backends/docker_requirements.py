"""Where a job's requirements live: one environment per requirements file and image digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator_runtime import contract

from orchestrator.backends.docker_values import DockerSettings, ImageFacts, Installed
from orchestrator.backends.requirements import wanted
from orchestrator.packaging.requirements import environment_key, install_plan, is_installed

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
    want = wanted(context)
    if want is None or image.python is None:
        return None
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
