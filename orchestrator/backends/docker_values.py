"""The words of the Docker back end: its settings, what engine and image are like, names, labels."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.backends.base import AttemptContext

if TYPE_CHECKING:
    from orchestrator_runtime.contract import HostPlan, InstallPlan

LABEL_HOME = "orchestrator.home"
LABEL_JOB = "orchestrator.job"
LABEL_IDENTITY = "orchestrator.identity"
LABEL_ATTEMPT = "orchestrator.attempt"
LABEL_HOST = "orchestrator.host"
LABEL_IMAGE = "orchestrator.image"


@dataclass(frozen=True)
class DockerSettings:
    """What the Docker back end needs to know of its surroundings.

    Attributes:
        home: The home directory; what belongs to it on the engine is labelled with its path.
        runtime: Directory with ``__main__.py`` and ``orchestrator_runtime/``.
        base_url: Address of the engine; None = ``DOCKER_HOST``, else the default socket.
        notify: Datagram socket that supervisors poke; None = the engine's events do.
        relay: Directory with the sockets of services on loopback addresses, see ``home.relay_name``.
        pull: Pull images that are missing.
        profile: ``hardened``: not root, no capabilities. ``compatible``: root inside the
            container with the engine's default capabilities, for images that need it.
        read_only_root: Images' own files cannot be changed (hardened profile only).
        pids_limit: Processes and threads of one container.
        timeout_seconds: How long one call of the engine may take.
        kill_slack_seconds: How long after its deadline a container that should have ended is
            killed by the service.
        log_bytes: Log quota of one host.
        python: Interpreter that runs supervisors of images without Python.
    """

    home: Path
    runtime: Path
    base_url: str | None = None
    notify: Path | None = None
    relay: Path | None = None
    pull: bool = False
    profile: Literal["hardened", "compatible"] = "hardened"
    read_only_root: bool = False
    pids_limit: int = 4096
    timeout_seconds: float = 10
    kill_slack_seconds: float = 10
    log_bytes: int = 2 << 30
    python: str = sys.executable

    @property
    def home_id(self) -> str:
        """Short name of the home, part of the names of containers and networks."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class EngineFacts:
    """What the engine is like.

    Attributes:
        architecture: As images name it: ``amd64``, ``arm64``.
        rootless: Root of a container is the engine's own, unprivileged user.
        remaps_users: The engine shifts the user ids of containers.
        cgroup_version: 1 or 2.
        cpus: Processors.
    """

    architecture: str
    rootless: bool
    remaps_users: bool
    cgroup_version: int
    cpus: int


@dataclass(frozen=True)
class ImageFacts:
    """What an image is like.

    Attributes:
        reference: The name it was asked for by.
        id: Its digest on the engine; what containers are created from.
        python: Path of its Python >= 3.9; None when it has none.
        version: Version of that, such as ``3.11.7``.
        path: Its PATH.
        has_train: Whether its PATH has a program named ``train``.
        runtime: The runtime that its containers are shown; None = the service's own.
    """

    reference: str
    id: str
    architecture: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_directory: str = "/"
    path: str = "/usr/local/bin:/usr/bin:/bin"
    python: str | None = None
    version: str | None = None
    has_train: bool = False
    runtime: Path | None = None


@dataclass(frozen=True)
class Installed:
    """The environment that a job's requirements live in.

    Attributes:
        directory: Where it is kept on this machine; None = in the container's own scratch.
        target: Where containers see it: the same at each use.
        python: Its interpreter, as containers see it.
        environment: What makes it the program's default.
        install: The step that makes it; None when it is complete.
    """

    directory: Path | None
    target: str
    python: str
    environment: dict[str, str]
    install: InstallPlan | None


@dataclass(frozen=True)
class Surroundings:
    """All that a plan depends on besides the attempt.

    Attributes:
        user: User and group id that containers run as.
        notify: Socket that supervisors poke, if somebody listens there.
        relays: Names of the sockets of services that containers can reach.
    """

    settings: DockerSettings
    engine: EngineFacts
    image: ImageFacts
    user: tuple[int, int]
    notify: Path | None = None
    relays: frozenset[str] = frozenset()
    installed: Installed | None = None

    @property
    def inside(self) -> bool:
        """Whether the supervisor runs inside the container: it needs Python."""
        return self.image.python is not None


@dataclass(frozen=True)
class HostRequest:
    """What is asked of the engine for one host.

    Attributes:
        name: The container's name: the fence against a second start.
        create: Body of the create call.
        network: Arguments of the network's create call; None = no network at all.
        plan: The supervisor's plan.
        inside: Whether the supervisor runs inside the container.
    """

    name: str
    create: dict[str, Any]
    network: dict[str, Any] | None
    plan: HostPlan
    inside: bool

    def printable(self) -> dict[str, Any]:
        """Return the request as plain data."""
        return {
            "name": self.name,
            "create": self.create,
            "network": self.network,
            "plan": dict(self.plan),
            "supervisor": "inside" if self.inside else "outside",
        }


def container_user(profile: str, uid: int, gid: int, *, rootless: bool) -> tuple[int, int]:
    """Return user and group id that containers run as.

    Args:
        profile: ``hardened`` or ``compatible``.
        uid: The service's user.
        gid: The service's group.
        rootless: Whether root of a container is the service's own user anyway.
    """
    if profile == "compatible" or rootless:
        return 0, 0
    return (65532, 65532) if uid == 0 else (uid, gid)


# -- names -----------------------------------------------------------------------------------


def attempt_name(settings: DockerSettings, job: str, attempt: int) -> str:
    """Return the name that an attempt's network has and its containers' names begin with."""
    return f"orchestrator-{settings.home_id}-{job}-a{attempt}"


def container_name(settings: DockerSettings, context: AttemptContext, host: str) -> str:
    """Return the one name that this host of this attempt can have."""
    name = attempt_name(settings, context.spec.training_job_name, context.attempt)
    return f"{name}-{host}"


def shared_network_name(settings: DockerSettings) -> str:
    """Return the name of the network of all single-host jobs of a home."""
    return f"orchestrator-{settings.home_id}"


def labels(
    settings: DockerSettings, context: AttemptContext, host: str, image: ImageFacts
) -> dict[str, str]:
    """Return what a container is found by."""
    return {
        LABEL_HOME: str(settings.home),
        LABEL_JOB: context.spec.training_job_name,
        LABEL_IDENTITY: context.identity,
        LABEL_ATTEMPT: str(context.attempt),
        LABEL_HOST: host,
        LABEL_IMAGE: image.reference,
    }
