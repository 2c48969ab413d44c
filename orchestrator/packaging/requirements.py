"""Plans the installation of a job's requirements: once per requirements and interpreter.

Nothing is installed here. The plan is the literal command that the job runs, in its sandbox,
before the user's program (``orchestrator_runtime/install.py``), so that its output is in the
job's log and its failures are the job's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator_runtime import contract

from orchestrator.blobs.files import remove_tree
from orchestrator.errors import InvalidSpec

if sys.platform != "win32":
    import fcntl

COMPLETE_FILE = "complete.json"
LOCK_FILE = "lock"
PROBE_SECONDS = 60

_PROBE = """
import json, os, site, sys, sysconfig
directories = list(site.getsitepackages())
if site.ENABLE_USER_SITE:
    directories.insert(0, site.getusersitepackages())
ends = (".dist-info", ".egg-info", ".egg-link", ".pth")
packages = sorted(
    name for each in directories if os.path.isdir(each)
    for name in os.listdir(each) if name.endswith(ends)
)
print(json.dumps({
    "executable": sys.executable,
    "version": sys.version.split()[0],
    "abi": str(sysconfig.get_config_var("SOABI")),
    "prefix": sys.prefix,
    "packages": packages,
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What decides whether an environment made for an interpreter still fits it."""

    executable: str
    version: str
    """Such as ``3.11.7``."""
    abi: str
    prefix: str
    packages: tuple[str, ...]
    """Names of the installed distributions' metadata: an environment builds upon them."""

    @property
    def identity(self) -> str:
        """A digest of all that."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """How a job gets its requirements."""

    key: str
    """Its name among those that are kept; empty for one that ends with its job."""
    directory: str
    """The environment's directory, as the job sees it."""
    argv: tuple[str, ...]
    """The first step of the job; does nothing if all is installed."""
    environment: Mapping[str, str]
    """What the step needs beside the program's own environment."""
    python: str
    """The interpreter for the program, as the job sees it."""

    @property
    def is_kept(self) -> bool:
        """Whether it outlives the job, for others with the same requirements."""
        return bool(self.key)

    def step(self) -> contract.InstallPlan:
        """Return the step in the words of the runtime."""
        return {"argv": list(self.argv), "environment": dict(self.environment)}

    def program_environment(self, path: str) -> dict[str, str]:
        """Return what makes the environment the program's default.

        Args:
            path: PATH of the program without the environment.
        """
        venv = f"{self.directory}/venv"
        return {"VIRTUAL_ENV": venv, "PATH": f"{venv}/bin:{path}" if path else f"{venv}/bin"}


def probe_interpreter(executable: str) -> Interpreter:
    """Ask an interpreter what it is; takes about 30 ms.

    Raises:
        InvalidSpec: It does not run.
    """
    try:
        done = subprocess.run(
            [executable, "-c", _PROBE],
            capture_output=True,
            check=True,
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InvalidSpec(
            f"the interpreter of a job must run, {executable!r} does not ({error}); "
            "choose another one"
        ) from None
    return Interpreter(**{**found, "packages": tuple(found["packages"])})


def environment_key(
    requirements: str, interpreter: str, platform: str = sys.platform, *, source: str = ""
) -> str:
    """Return the name of the environment for these requirements. Pure.

    Args:
        requirements: Text of the requirements file.
        interpreter: ``Interpreter.identity``, or the digest of an image.
        platform: Operating system and machine that it runs on.
        source: Content digest of the source, if the requirements name files of it
            (``names_local_files``).
    """
    text = json.dumps([1, normalised(requirements), interpreter, platform, source])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def normalised(requirements: str) -> str:
    """Return the text of a requirements file without what pip does not see."""
    return "\n".join(line for line in _lines(requirements) if line)


def check_requirements(requirements: str, name: str = "requirements.txt") -> None:
    """Refuse what can be seen to fail before anything starts.

    Raises:
        InvalidSpec: A line is an editable requirement.
    """
    for line in _lines(requirements):
        if re.match(r"(-e|--editable)\b", line):
            raise InvalidSpec(
                f"{name} must not have editable requirements, it has {line!r}: the environment "
                "outlives the job's directory; leave `-e` out"
            )


def names_local_files(requirements: str) -> bool:
    """Say whether a requirements file refers to other files, which its text then depends on."""
    local = re.compile(
        r"(-r|-c|-f|--requirement|--constraint|--find-links)\b|[./]|.*(@\s*)?file:|.*\.(whl|zip|tar\.gz)\b"
    )
    return any(local.match(line) for line in _lines(requirements))


def _lines(requirements: str) -> list[str]:
    """Return the logical lines, without comments."""
    joined = f"{requirements}\n".replace("\r\n", "\n").replace("\\\n", " ")
    return [re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.split("\n")]


def install_plan(
    *,
    key: str,
    directory: str,
    requirements_path: str,
    python: str,
    runtime: str = contract.RUNTIME,
    pip_environment: Mapping[str, str] | None = None,
) -> InstallPlan:
    """Return the step that installs, and the interpreter that then has all. Pure.

    Args:
        key: ``environment_key``.
        directory: Where the environment is kept, as the job sees it: the same at each use.
            The step needs it writable; afterwards it may be read-only.
        requirements_path: The requirements file as the job sees it.
        python: The interpreter to build upon, as the job sees it.
        runtime: Where the job sees the runtime.
        pip_environment: Settings of pip, see ``pip_settings.pip_environment``.
    """
    argv = (python, f"{runtime}/orchestrator_runtime/install.py", directory, requirements_path)
    environment = {**(pip_environment or {}), "PYTHONPATH": ""}
    return InstallPlan(key, directory, argv, environment, f"{directory}/venv/bin/python")


def own_plan(*, directory: str, python: str, runtime: str = contract.RUNTIME) -> InstallPlan:
    """Return the step that makes an empty environment, for programs that call pip themselves. Pure.

    Args:
        directory: Where it is made, as the job sees it; nobody else's.
        python: The interpreter to build upon, as the job sees it.
        runtime: Where the job sees the runtime.
    """
    argv = (python, f"{runtime}/orchestrator_runtime/install.py", directory)
    return InstallPlan("", directory, argv, {"PYTHONPATH": ""}, f"{directory}/venv/bin/python")


def is_installed(directory: Path) -> bool:
    """Say whether an environment is complete, so that its step may be left out."""
    try:
        note = json.loads((directory / COMPLETE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(note, dict) and note.get("format") == 1


def mark_used(directory: Path) -> None:
    """Note that a complete environment is used now, where its step is left out."""
    (directory / COMPLETE_FILE).touch()


def remove_unused(root: Path, *, older_than: float, keep: frozenset[str] = frozenset()) -> int:
    """Remove environments that were not used for long, and rests of interrupted installs.

    Args:
        root: Directory of all environments.
        older_than: Epoch seconds of the last use.
        keep: Keys of environments that running jobs use.

    Returns:
        Number of environments removed.
    """
    removed = 0
    for directory in root.iterdir() if root.is_dir() else ():
        note, lock = directory / COMPLETE_FILE, directory / LOCK_FILE
        used = next((p.stat().st_mtime for p in (note, lock, directory) if p.exists()), 0.0)
        if directory.name in keep or used >= older_than:
            continue
        if _remove_locked(directory, lock):
            removed += 1
    return removed


def _remove_locked(directory: Path, lock: Path) -> bool:
    """Remove an environment unless something is being installed there."""
    if sys.platform == "win32":
        return False
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        (directory / COMPLETE_FILE).unlink(missing_ok=True)  # first: it vouches for the rest
        remove_tree(directory)
        return True
    finally:
        os.close(handle)
