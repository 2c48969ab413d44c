"""What the facts of a machine mean, and the command that changes what is missing: pure."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any

from orchestrator.catalogue.images import DEFAULT_PYTHON, SHIPPED, ImageRule
from orchestrator.report.words import size
from orchestrator.settings import without_password

if TYPE_CHECKING:
    from orchestrator.cli.probing import Facts

LEAST_FREE_BYTES = 64 << 20
LOW_FREE_BYTES = 2 << 30


class Level(StrEnum):
    """How good something is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        detail: How it is, and what is lost.
        remedy: Commands that change it.
    """

    name: str
    level: Level
    detail: str
    remedy: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "level": self.level.value,
            "detail": self.detail,
            "remedy": list(self.remedy),
        }


def diagnose(facts: Facts) -> list[Check]:
    """Return all checks of a machine; only those of the process back end can fail."""
    return [
        _python(facts),
        _home(facts),
        _disk(facts),
        _interpreter(facts),
        _sandbox(facts),
        _cgroup(facts),
        _docker(facts),
        _gpus(facts),
        *_images(facts),
        _service(facts),
    ]


def _python(facts: Facts) -> Check:
    if facts.has_venv:
        return Check("python", Level.OK, f"{facts.python}, can make environments")
    return Check(
        "python",
        Level.WARN,
        f"{facts.python} cannot make environments: jobs with requirements fail",
        _apt(facts, "python3-venv"),
    )


def _home(facts: Facts) -> Check:
    if facts.home_error is None:
        return Check("home", Level.OK, facts.home)
    return Check("home", Level.FAIL, facts.home_error, ("export ORCHESTRATOR_HOME=DIRECTORY",))


def _disk(facts: Facts) -> Check:
    free = f"{size(facts.free_bytes)} free"
    if facts.free_bytes < LEAST_FREE_BYTES:
        return Check("disk", Level.FAIL, f"{free}: jobs are refused", _collect(facts))
    if facts.free_bytes < LOW_FREE_BYTES:
        return Check("disk", Level.WARN, f"{free}: models and logs may not fit", _collect(facts))
    return Check("disk", Level.OK, free)


def _collect(facts: Facts) -> tuple[str, ...]:
    return (f"orchestrator gc --home {facts.home} --older-than 30d",)


def _interpreter(facts: Facts) -> Check:
    found = facts.interpreter
    if "error" in found:
        return Check(
            "job python",
            Level.FAIL,
            f"{found['path']} does not run: {found['error']}",
            ("export ORCHESTRATOR_PYTHON=/usr/bin/python3",),
        )
    has = ", ".join(found["found"]) or "no PyTorch, TensorFlow or scikit-learn"
    return Check("job python", Level.OK, f"{found['path']} {found['version']} with {has}")


# -- the fence of process jobs ---------------------------------------------------------------


def _sandbox(facts: Facts) -> Check:
    if facts.isolation in {"bubblewrap", "namespaces"}:
        detail = f"{facts.isolation}: jobs have their own /opt/ml and cannot change your files"
        return Check("sandbox", Level.OK, detail)
    if facts.isolation is None:
        return Check("sandbox", Level.WARN, "not known, as the home cannot be opened")
    lost = "none: /opt/ml is not served (SM_* variables are), jobs can change your files"
    if facts.system != "Linux":
        detail = f"{lost}; {facts.system} has no namespaces"
        return Check("sandbox", Level.WARN, detail, ("orchestrator run … --backend docker",))
    return Check("sandbox", Level.WARN, lost, tuple(_sandbox_remedy(facts)))


def _sandbox_remedy(facts: Facts) -> Iterator[str]:
    if facts.bubblewrap is None:
        yield from _apt(facts, "bubblewrap")
    if facts.is_root:
        return
    if facts.sysctls.get("apparmor") == 1:
        yield _sysctl("kernel.apparmor_restrict_unprivileged_userns=0")
    if facts.sysctls.get("clone") == 0:
        yield _sysctl("kernel.unprivileged_userns_clone=1")
    if facts.sysctls.get("maximum") == 0:
        yield _sysctl("user.max_user_namespaces=15000")


def _sysctl(setting: str) -> str:
    return (
        f"echo {setting} | sudo tee -a /etc/sysctl.d/60-orchestrator.conf && sudo sysctl --system"
    )


def _cgroup(facts: Facts) -> Check:
    if facts.cgroup is not None:
        return Check(
            "limits", Level.OK, f"control groups {facts.cgroup} hold memory and CPU limits"
        )
    detail = "no control group can be made: memory is watched every moment, CPU is only counted"
    return Check("limits", Level.OK if facts.system == "Linux" else Level.WARN, detail)


# -- docker, GPUs, service -------------------------------------------------------------------


def _docker(facts: Facts) -> Check:
    if "error" not in facts.docker:
        mode = "rootless, " if facts.docker["rootless"] else ""
        detail = (
            f"engine answers: {mode}{facts.docker['architecture']}, {facts.docker['cpus']} CPUs"
        )
        return Check("docker", Level.OK, detail)
    detail = f"{facts.docker['error']}; the process back end needs none"
    if importlib.util.find_spec("docker") is None:
        return Check("docker", Level.WARN, detail, ("pip install 'orchestrator[docker]'",))
    if facts.docker_cli is None:
        return Check("docker", Level.WARN, detail, _apt(facts, "docker.io"))
    return Check("docker", Level.WARN, detail, tuple(_start_docker(facts)))


def _start_docker(facts: Facts) -> Iterator[str]:
    if facts.system == "Darwin":
        yield "open -a Docker"
        return
    start = "systemctl start docker" if facts.has_systemd else "dockerd > /tmp/dockerd.log 2>&1 &"
    if facts.is_root:
        yield start
        return
    yield f"sudo {start}" if facts.has_systemd else f"sudo sh -c '{start}'"
    yield "sudo usermod -aG docker $USER  # then log in again"


def _gpus(facts: Facts) -> Check:
    if facts.gpus:
        listed = ", ".join(map(str, facts.gpus))
        return Check("gpus", Level.OK, f"{len(facts.gpus)} ({listed}); jobs get what they ask for")
    if facts.nvidia_smi is not None:
        detail = "nvidia-smi is here, but there is no /dev/nvidia0: the driver is not loaded"
        return Check("gpus", Level.WARN, detail, (f"{_sudo(facts)}nvidia-modprobe -c 0 -u",))
    return Check("gpus", Level.OK, "none; jobs train on the CPU")


def _images(facts: Facts) -> Iterator[Check]:
    """Yield what stands for images that requests made for AWS name: a row for each place."""
    if facts.images_error is not None:
        remedy = ("orchestrator doctor  # again, once the file is corrected",)
        yield Check("images", Level.WARN, facts.images_error, remedy)
    for place, rules in groupby(facts.images, _place):
        names = ", ".join(_short(rule.pattern) for rule in rules)
        yield Check("images", Level.OK, f"{names} -> {place}")


def _place(rule: ImageRule) -> str:
    """Return where the images of a rule run, in words."""
    python = "job python" if rule.process == DEFAULT_PYTHON else rule.process
    return " or ".join(
        text
        for text, given in (
            (f"{rule.docker} (docker)", rule.docker),
            (f"{python} (process)", python),
        )
        if given is not None
    )


def _short(pattern: str) -> str:
    """Return a shipped pattern's own name of the image; any other pattern as it is."""
    is_shipped = any(rule.pattern == pattern for rule in SHIPPED)
    return re.sub(r"\[.*|\*$", "", pattern.rpartition("/")[2]) if is_shipped else pattern


def _service(facts: Facts) -> Check:
    if facts.url is not None:
        return Check(
            "service", Level.OK, f"{without_password(facts.url)} is asked (ORCHESTRATOR_URL)"
        )
    if facts.service is not None:
        return Check("service", Level.OK, facts.service)
    return Check("service", Level.OK, "none runs, none is needed; `orchestrator serve` starts one")


def _apt(facts: Facts, package: str) -> tuple[str, ...]:
    if facts.system == "Darwin":
        return (f"brew install {package}",)
    return (f"{_sudo(facts)}apt-get install -y {package}",)


def _sudo(facts: Facts) -> str:
    return "" if facts.is_root else "sudo "
