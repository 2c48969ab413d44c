"""Looks at this machine; what it finds is judged in ``diagnosis``."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.backends.gpus import present_gpus
from orchestrator.catalogue import images
from orchestrator.catalogue.images import ImageRule
from orchestrator.cli.environment import running_service
from orchestrator.embedded import LocalTransport
from orchestrator.errors import BackendError, InvalidSpec, OrchestratorError
from orchestrator.home import home_directory
from orchestrator.sdk.transport import URL_VARIABLE
from orchestrator.settings import Settings

ENGINE_SECONDS = 5.0
INTERPRETER_SECONDS = 20.0
FRAMEWORKS = ("torch", "tensorflow", "keras", "sklearn")
_ASK_INTERPRETER = """
import json, sys
from importlib.util import find_spec
found = [name for name in sys.argv[1:] if find_spec(name)]
print(json.dumps({"version": sys.version.split()[0], "found": found}))
"""
_SYSCTLS = {
    "apparmor": "kernel/apparmor_restrict_unprivileged_userns",
    "clone": "kernel/unprivileged_userns_clone",
    "maximum": "user/max_user_namespaces",
}


@dataclass(frozen=True)
class Facts:
    """What is so on this machine.

    Attributes:
        system: ``Linux``, ``Darwin``, …
        is_root: Whether this process is root.
        has_systemd: Whether services are started by systemd.
        python: Version of this interpreter.
        has_venv: Whether it can make environments for requirements.
        home: The home directory.
        home_error: Why the home cannot be opened; None when it can.
        free_bytes: Free space of its disk.
        service: Address of a running service.
        url: Of the service that this shell asks (ORCHESTRATOR_URL).
        isolation: What fences process jobs: ``bubblewrap``, ``namespaces``, ``none``; None = unknown.
        bubblewrap: Path of bwrap.
        sysctls: What the kernel says of user namespaces.
        cgroup: ``v2``, ``v1`` or none that can be written.
        interpreter: Of jobs that name none: path, version, frameworks, or an error.
        docker_cli: Path of the docker command.
        docker: What the engine says, or an error.
        gpus: Indices of GPUs by device node.
        nvidia_smi: Path of nvidia-smi.
        images: Rules of the image map, in order.
        images_error: Why ``images.toml`` cannot be used; None when it can, or is not there.
    """

    system: str
    is_root: bool
    has_systemd: bool
    python: str
    has_venv: bool
    home: str
    home_error: str | None
    free_bytes: int
    service: str | None
    url: str | None
    isolation: str | None
    bubblewrap: str | None
    sysctls: dict[str, int]
    cgroup: str | None
    interpreter: dict[str, Any]
    docker_cli: str | None
    docker: dict[str, Any]
    gpus: tuple[int, ...]
    nvidia_smi: str | None
    images: tuple[ImageRule, ...]
    images_error: str | None


def probe(home: Path | None) -> Facts:
    """Look at this machine and the home."""
    place = home.expanduser().absolute() if home else home_directory()
    info, error = _service_info(place)
    process = info.get("backends", {}).get("process", {})
    image_rules, images_error = _image_map(place)
    return Facts(
        system=platform.system(),
        is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
        has_systemd=Path("/run/systemd/system").is_dir(),
        python=platform.python_version(),
        has_venv=all(map(importlib.util.find_spec, ("venv", "ensurepip"))),
        home=str(place),
        home_error=error,
        free_bytes=shutil.disk_usage(_existing(place)).free,
        service=running_service(place),
        url=os.environ.get(URL_VARIABLE),
        isolation=process.get("isolation"),
        bubblewrap=shutil.which("bwrap"),
        sysctls=read_sysctls(),
        cgroup=writable_cgroup(),
        interpreter=ask_interpreter(Settings(home=place).job_python),
        docker_cli=shutil.which("docker"),
        docker=ask_engine(),
        gpus=present_gpus(),
        nvidia_smi=shutil.which("nvidia-smi"),
        images=image_rules,
        images_error=images_error,
    )


def _image_map(home: Path) -> tuple[tuple[ImageRule, ...], str | None]:
    try:
        return images.load(home), None
    except InvalidSpec as error:
        return (), error.message
    except OSError as error:
        return (), f"{home / images.FILE_NAME}: {error.strerror or error}"


def _service_info(home: Path) -> tuple[dict[str, Any], str | None]:
    transport = LocalTransport(home)
    try:
        return transport.info(), None
    except OrchestratorError as error:
        return {}, error.message
    except OSError as error:
        return {}, f"{home}: {error.strerror or error}"
    finally:
        transport.close()


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def read_sysctls(root: Path = Path("/proc/sys")) -> dict[str, int]:
    """Return the kernel's settings of user namespaces, as far as it has them."""
    found = {}
    for name, file in _SYSCTLS.items():
        try:
            found[name] = int((root / file).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return found


def writable_cgroup(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> str | None:
    """Return which version of control groups this process may make groups in."""
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" and (root / "cgroup.controllers").exists():
            return "v2" if os.access(root / path.lstrip("/"), os.W_OK) else None
        if "memory" in controllers.split(","):
            place = root / "memory" / path.lstrip("/")
            return (
                "v1" if os.access(place if place.exists() else root / "memory", os.W_OK) else None
            )
    return None


def ask_interpreter(python: str) -> dict[str, Any]:
    """Return path and version of an interpreter and the frameworks it has; or an error."""
    try:
        done = subprocess.run(
            [python, "-c", _ASK_INTERPRETER, *FRAMEWORKS],
            capture_output=True,
            timeout=INTERPRETER_SECONDS,
            check=True,
            cwd="/" if sys.platform != "win32" else None,
        )
        return {"path": python, **json.loads(done.stdout)}
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {"path": python, "error": str(error)}


def ask_engine() -> dict[str, Any]:
    """Return what the Docker engine says of itself, or why it does not answer."""
    from orchestrator.backends.docker_engine import Engine

    engine = Engine(None, ENGINE_SECONDS)
    try:
        facts = engine.facts()
    except BackendError as error:
        return {"error": error.message, "code": error.code}
    finally:
        engine.close()
    return {
        "architecture": facts.architecture,
        "rootless": facts.rootless,
        "cgroup_version": facts.cgroup_version,
        "cpus": facts.cpus,
    }
