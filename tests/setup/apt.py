"""Debian packages that the tests need, installed where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.setup.cache import SetupError, locked, say

# Where the programs of a package lie when PATH does not name them.
PROGRAMS = {
    "docker.io": ("docker", "dockerd"),
    "debootstrap": ("debootstrap",),
    "bubblewrap": ("bwrap",),
    "postgresql": ("initdb",),
    "chromium": ("chromium",),
}


def find_program(name: str) -> str | None:
    """Path of a program, looked for also where Debian hides it from PATH."""
    hidden = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    places = [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"]
    places += [str(path) for path in reversed(hidden)]
    return shutil.which(name, path=os.pathsep.join(places))


def missing(packages: list[str]) -> list[str]:
    """The packages of which a program cannot be found."""
    return [
        package
        for package in packages
        if not all(find_program(program) for program in PROGRAMS[package])
    ]


def ensure(packages: list[str]) -> None:
    """Install what is missing.

    Raises:
        SetupError: Something is missing and this user or system cannot install it.
    """
    wanted = missing(packages)
    if not wanted:
        return
    line = f"apt-get install -y --no-install-recommends {' '.join(wanted)}"
    if not shutil.which("apt-get"):
        raise SetupError(f"{', '.join(wanted)} must be installed, and there is no apt-get here")
    if os.geteuid() != 0:
        raise SetupError(f"{', '.join(wanted)} must be installed; run as root: {line}")
    with locked("apt"):
        install(missing(packages), line)


def install(packages: list[str], line: str) -> None:
    """Run apt-get, with a fresh package list when the first try fails."""
    if not packages:
        return
    say(f"  {line}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    wait = ["-o", "DPkg::Lock::Timeout=600"]
    command = ["apt-get", *wait, "install", "-y", "--no-install-recommends", *packages]
    steps = [command, ["apt-get", *wait, "update"], command]
    result = subprocess.CompletedProcess[str](command, 1, "", "")
    for step in steps:
        result = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if step is command and result.returncode == 0:
            return
    tail = "\n".join((result.stdout + result.stderr).splitlines()[-5:])
    raise SetupError(f"{line} failed:\n{tail}")
