"""Wheels for an image, taken with this machine's own pip settings, so that a build needs neither network nor certificate."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.setup.cache import SetupError, cache_folder, say

ADDRESSES = ("index-url", "extra-index-url", "find-links")
PLAIN_SETTINGS = ("trusted-host", "proxy", "default-timeout")
NEWEST_MANYLINUX = 28  # glibc 2.28: every base image here is newer


def pip_settings() -> dict[str, str]:
    """This machine's pip settings by plain name, environment variables included."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    settings = {}
    for line in result.stdout.splitlines():
        name, _, value = line.partition("=")
        scope, _, key = name.rpartition(".")
        if scope in {":env:", "global", "install"} and key not in settings:
            settings[key] = value.strip("'\"")
    return settings


def remote(addresses: str) -> str:
    """The addresses that mean the same inside a container."""
    return " ".join(
        word for word in addresses.split() if urlsplit(word).scheme in {"http", "https"}
    )


def container_pip_conf(settings: dict[str, str]) -> str:
    """The part of the settings that also works inside a container."""
    places = {key: remote(settings.get(key, "")) for key in ADDRESSES}
    plain = {key.removeprefix("default-"): settings.get(key, "") for key in PLAIN_SETTINGS}
    lines = [f"{key} = {value}" for key, value in {**places, **plain}.items() if value]
    return "\n".join(["[global]", *lines, ""])


def platforms(machine: str) -> list[str]:
    """pip's platform arguments for a Linux of this machine type."""
    names = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_MANYLINUX, 4, -1)]
    names += [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    return [word for name in [*names, f"linux_{machine}"] for word in ("--platform", name)]


def wheelhouse(
    requirements: tuple[str, ...], constraints: Path, python: str, machine: str, *extra: str
) -> Path:
    """Folder with every wheel that the requirements need.

    Args:
        requirements: What to install, with exact versions: they decide when a folder made earlier is used again.
        constraints: Constraints file for what they need in turn.
        python: Version of the image's Python, as `3.11`.
        machine: Machine type of the image, as `x86_64`.
        *extra: More arguments for pip, a further index for instance.

    Raises:
        SetupError: pip cannot find them.
    """
    recipe = f"{requirements} {python} {machine}"
    folder = cache_folder() / "wheels" / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    say(f"  collecting wheels: {' '.join(requirements)}")
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    command += [*platforms(machine), "--dest", str(part), "-c", str(constraints)]
    command += [*extra, *requirements]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SetupError(f"pip download failed: {result.stderr.strip()[-2000:]}")
    part.replace(folder)
    return folder
