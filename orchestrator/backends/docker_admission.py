"""What can be said of a specification before it is accepted: fast, nothing is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestrator.backends import gpus, inputs
from orchestrator.backends.docker_plan import reserved_target
from orchestrator.backends.docker_stage import unreadable_channels
from orchestrator.errors import CapacityUnavailable, ImageError, InvalidSpec

if TYPE_CHECKING:
    from orchestrator.backends.docker_values import DockerSettings, EngineFacts
    from orchestrator.spec.job import TrainingJobSpec

SMALLEST_MEMORY_GIB = 6 / 1024
"""The engine refuses less."""


def check_job(
    spec: TrainingJobSpec, settings: DockerSettings, engine: EngineFacts, user: tuple[int, int]
) -> tuple[str, ...]:
    """Check a job against engine and settings; return warnings.

    Raises:
        InvalidSpec: The job breaks a rule of this back end.
        CapacityUnavailable: The machine does not have what it asks for.
    """
    if spec.algorithm_specification.training_image is None:
        raise ImageError("backend='docker' needs algorithm_specification.training_image, got none")
    _check_profile(settings, engine)
    _check_kept_places(spec)
    _check_resources(spec, engine)
    warnings = []
    if spec.python is not None:
        warnings.append(f"python={spec.python!r} is ignored: the image's own Python runs the job")
    places = tuple(
        (channel.channel_name, path)
        for channel in spec.input_data_config
        if (path := inputs.local_path(channel.uri)) is not None and not channel.writable
    )
    warnings += [
        f"channel {name!r} cannot be read by user {user[0]}, as whom the container runs; make it "
        "readable for all users, or set writable=true for a copy"
        for name in unreadable_channels(places, user)
    ]
    return tuple(warnings)


def _check_profile(settings: DockerSettings, engine: EngineFacts) -> None:
    if settings.profile == "compatible" and os.geteuid() != 0 and not engine.rootless:
        raise InvalidSpec(
            "ORCHESTRATOR_DOCKER_PROFILE=compatible runs containers as root, which needs a "
            "service that runs as root or a rootless engine; use the hardened profile"
        )


def _check_kept_places(spec: TrainingJobSpec) -> None:
    places = {
        "checkpoint_config": spec.checkpoint_config,
        "tensor_board_output_config": spec.tensor_board_output_config,
        "debugger": spec.debugger,
    }
    for name, config in places.items():
        if config is not None and reserved_target(config.local_path):
            raise InvalidSpec(
                f"{name}.local_path must be an absolute path that nothing else uses, got "
                f"{config.local_path!r}; leave it out for the usual place below /opt/ml"
            )


def _check_resources(spec: TrainingJobSpec, engine: EngineFacts) -> None:
    resources = spec.resources
    if resources.memory_gib is not None and resources.memory_gib < SMALLEST_MEMORY_GIB:
        raise InvalidSpec(
            f"resources.memory_gib must be at least {SMALLEST_MEMORY_GIB:.4f} (6 MiB) in Docker, "
            f"got {resources.memory_gib}"
        )
    if resources.limit_cpus and resources.cpus > engine.cpus:
        raise CapacityUnavailable(
            f"resources.cpus must be at most the {engine.cpus} processors of the engine when "
            f"limit_cpus is set, got {resources.cpus:g}"
        )
    present = gpus.present_gpus()
    if (resources.gpus or 0) > len(present):
        raise CapacityUnavailable(
            f"resources.gpus must be at most the {len(present)} GPUs of this machine, "
            f"got {resources.gpus}"
        )
