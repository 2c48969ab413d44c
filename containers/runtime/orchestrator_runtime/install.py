"""Installs a job's requirements once per environment; run as a program, in the job's sandbox.

The environment directory holds ``lock`` (held while anything is installed, also by pip itself),
``venv`` and, once all is done, ``complete.json``. Without that file whatever is in ``venv`` is
the rest of an interrupted install and is made anew. The virtual environment sees the packages
of the interpreter that runs this file after its own, so that an installed framework is used
where it is and is not downloaded again.

Without a requirements file the environment is left empty and writable: a program that calls pip
itself, as the SageMaker SDK's own drivers do, installs into it and not into the interpreter.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # nothing beside this file may shadow the standard library
    sys.path[:] = [path for path in sys.path if path != __file__.rpartition("/")[0]]

import fcntl
import importlib.util
import json
import os
import re
import shutil
import site
import subprocess
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOCK_FILE = "lock"
VENV_DIRECTORY = "venv"
DEBUGGER_FILE = "hook/site/orchestrator_debugger.pth"  # for programs run with -E or -I
COMPLETE_FILE = "complete.json"
PARENT_FILE = "_orchestrator_parent.pth"
FORMAT = 1
USAGE = "usage: install.py ENVIRONMENT_DIRECTORY [REQUIREMENTS_FILE]\n"

EXIT_FAILED = 1
EXIT_USAGE = 64
EXIT_NO_INPUT = 66
EXIT_UNAVAILABLE = 69

DROPPED = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "VIRTUAL_ENV")
PIP_SETTINGS = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_USER": "0",
    "PYTHONUNBUFFERED": "1",
}

# Like `-m pip`, but nothing in the working directory may shadow pip or what it imports.
RUN_PIP = (
    "import sys; del sys.path[0]; import runpy; "
    "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
UNREACHABLE = (
    r"Failed to establish a new connection|Temporary failure in name resolution|"
    r"Network is unreachable|ConnectTimeoutError|ProxyError|Connection refused"
)
# What pip prints -> what to tell people; the first match wins, {} is what the group found.
CAUSES = {
    r"No space left on device": "no space is left on the disk; free some space",
    r"Disk quota exceeded": "the disk quota is used up; free some space",
    r"Invalid requirement: ['\"]?([^'\"\n]+)": "{!r} is no requirement; correct that line",
    r"Could not open requirements file: (.+)": "a file it names is missing: {}",
    r"CERTIFICATE_VERIFY_FAILED": "the certificate of the package index is not trusted; set "
    "PIP_CERT to the CA bundle",
    UNREACHABLE: "the package index could not be reached; check the network (a job with network "
    "isolation has none) or bake the requirements into an image with `orchestrator build`",
    r"conflicting dependencies|ResolutionImpossible": "they contradict each other (see the lines "
    "above); loosen one of them",
    r"requires a different Python: (.+)": "the interpreter does not fit: {}",
    r"Failed (?:building wheel for|to build) (.+)": "{} had to be built from source and that "
    "failed; choose a version with a wheel",
    r"subprocess-exited-with-error": "a package had to be built from source and that failed; "
    "choose a version with a wheel",
    r"No matching distribution found for (.+)": "no version of {!r} fits this interpreter; check "
    "the name and the version",
    r"^ERROR: (.+)": "{}",
}


class InstallError(Exception):
    """The requirements cannot be installed; the message says why.

    Args:
        message: One line for people.
        code: Exit code of this program.
    """

    def __init__(self, message: str, code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: Sequence[str]) -> int:
    """Make sure that an environment has all requirements.

    Args:
        arguments: Directory of the environment; requirements file, if there is one. Relative
            paths in that file count from the working directory.

    Returns:
        0, or the exit code of the failure, whose last printed line says why.
    """
    if len(arguments) == 1:
        return _make_own(arguments[0])
    if len(arguments) != 2:
        sys.stderr.write(USAGE)
        return EXIT_USAGE
    directory, requirements = arguments
    try:
        _check_file(requirements)
        lock = _lock(directory)
        try:
            _ensure(directory, requirements, lock)
        finally:
            os.close(lock)
    except InstallError as error:
        _say(f"requirements could not be installed: {error}")
        return error.code
    except OSError as error:
        _say(f"requirements could not be installed: {error}")
        return EXIT_FAILED
    return 0


def _make_own(directory: str) -> int:
    """Make an environment for the program's own calls of pip; without one it still runs."""
    venv = os.path.join(directory, VENV_DIRECTORY)
    try:
        _make_venv(venv)
        _copy_scripts(os.path.dirname(sys.executable), os.path.join(venv, "bin"))
    except (InstallError, OSError) as error:
        _say(f"the program cannot install packages: {error}")
    return 0


def _copy_scripts(parent: str, scripts: str) -> None:
    """Copy an interpreter's scripts, such as pip and torchrun, so that they run in the environment."""
    for name in os.listdir(parent):
        path, copy = os.path.join(parent, name), os.path.join(scripts, name)
        if os.path.lexists(copy) or not os.path.isfile(path):
            continue
        with open(path, "rb") as stream:
            first = stream.readline(256).decode("utf-8", "replace").split()
            if len(first) != 1 or not first[0].startswith(f"#!{parent}/python"):
                continue
            rest = stream.read()
        with open(copy, "wb") as stream:
            stream.write(f"#!{os.path.join(scripts, 'python')}\n".encode() + rest)
        os.chmod(copy, 0o755)  # noqa: S103 -- a program, in the job's own directory


def _check_file(requirements: str) -> None:
    if not os.path.isfile(requirements):
        raise InstallError(f"there is no file {requirements!r}", EXIT_NO_INPUT)


def is_complete(directory: str) -> bool:
    """Say whether an environment was installed to its end."""
    try:
        with open(os.path.join(directory, COMPLETE_FILE), encoding="utf-8") as stream:
            return bool(json.load(stream).get("format") == FORMAT)
    except (OSError, ValueError, AttributeError):
        return False


def _lock(directory: str) -> int:
    """Make the directory and take its lock, waiting for whoever has it."""
    path = os.path.join(directory, LOCK_FILE)
    while True:
        os.makedirs(directory, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another job that installs the same requirements")
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.stat(path), os.fstat(handle)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # the directory was removed while we waited


def _ensure(directory: str, requirements: str, lock: int) -> None:
    if is_complete(directory):
        os.utime(os.path.join(directory, COMPLETE_FILE))  # last use, for the collection
        _say("the requirements are installed already")
        return
    venv = os.path.join(directory, VENV_DIRECTORY)
    if os.path.lexists(venv):
        _say("an earlier install was interrupted; starting again")
        remove_venv(venv)
    _say(f"installing {os.path.basename(requirements)} for Python {sys.version.split()[0]}")
    _make_venv(venv)
    _run_pip(venv, requirements, lock)
    packages = sorted(_installed(venv))
    _make_read_only(venv)
    os.sync()  # the files must be there if the note that they are is
    _write_note(directory, {"format": FORMAT, "python": sys.version.split()[0],
                            "packages": packages})  # fmt: skip
    _say(f"installed {len(packages)} packages")


def _make_venv(venv: str) -> None:
    """Make a virtual environment that sees this interpreter's packages after its own."""
    try:
        import venv as venv_module  # noqa: PLC0415 - Debian ships Python without parts of it
    except ImportError:
        raise InstallError(
            f"{sys.executable} has no module `venv`; install it (Debian: apt-get install "
            "python3-venv)",
            EXIT_UNAVAILABLE,
        ) from None
    has_pip = importlib.util.find_spec("pip") is not None
    if not has_pip and importlib.util.find_spec("ensurepip") is None:
        raise InstallError(
            f"{sys.executable} has no pip; install it (Debian: apt-get install python3-pip) or "
            "use an image that has the requirements",
            EXIT_UNAVAILABLE,
        )
    try:
        venv_module.EnvBuilder(symlinks=True, with_pip=not has_pip).create(venv)
    except subprocess.CalledProcessError as error:
        output = (error.output or b"").decode("utf-8", "replace").strip()
        raise InstallError(
            f"{sys.executable} has no pip and ensurepip failed: {output}", EXIT_UNAVAILABLE
        ) from None
    lines = [f"import site; site.addsitedir({path!r})\n" for path in parent_packages()]
    with open(os.path.join(_site_packages(venv), PARENT_FILE), "w", encoding="utf-8") as stream:
        stream.writelines(lines)
    debugger = os.path.join(os.path.dirname(__file__), DEBUGGER_FILE)
    if os.path.isfile(debugger):  # whoever runs this file alone goes without
        shutil.copy(debugger, _site_packages(venv))


def parent_packages() -> list[str]:
    """Return the directories of this interpreter's own packages, first found first."""
    found = list(site.getsitepackages())
    if site.ENABLE_USER_SITE:
        found.insert(0, site.getusersitepackages())
    return [path for path in found if os.path.isdir(path)]


def _site_packages(venv: str) -> str:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return os.path.join(venv, "lib", version, "site-packages")


def _run_pip(venv: str, requirements: str, lock: int) -> None:
    """Run pip with its output in ours. It inherits the lock, which lasts as long as it does."""
    environment = {name: value for name, value in os.environ.items() if name not in DROPPED}
    environment.update(PIP_SETTINGS)
    python = os.path.join(venv, "bin", "python")
    argv = [python, "-c", RUN_PIP, "install", "-r", requirements]
    os.set_inheritable(lock, True)
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=(lock,),
    )
    tail: deque[str] = deque(maxlen=200)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            tail.append(line.decode("utf-8", "replace").rstrip())
    code = process.wait()
    if code < 0:
        raise InstallError(f"pip was ended by signal {-code}", 128 - code)
    if code:
        raise InstallError(cause_of(tail) or f"pip ended with exit code {code}")
    editable = next(_editable(venv), None)
    if editable is not None:
        raise InstallError(
            f"{editable} is an editable requirement, which would point into this job's own "
            "directory; leave `-e` out"
        )


def cause_of(lines: Sequence[str]) -> str | None:
    """Return what pip's output says about its failure, in one line; None if it says nothing."""
    text = "\n".join(lines)
    for pattern, message in CAUSES.items():
        found = re.search(pattern, text, re.MULTILINE)
        if found is not None:
            return message.format(*found.groups())
    return None


def _installed(venv: str) -> Iterator[str]:
    """Yield ``name-version`` of each package of the environment itself."""
    for entry in os.listdir(_site_packages(venv)):
        if entry.endswith(".dist-info"):
            yield entry[: -len(".dist-info")]


def _editable(venv: str) -> Iterator[str]:
    for name in _installed(venv):
        path = os.path.join(_site_packages(venv), f"{name}.dist-info", "direct_url.json")
        try:
            with open(path, encoding="utf-8") as stream:
                if json.load(stream).get("dir_info", {}).get("editable"):
                    yield name
        except OSError:
            continue


def _write_note(directory: str, note: dict[str, object]) -> None:
    path = os.path.join(directory, COMPLETE_FILE)
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        json.dump(note, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(f"{path}.new", path)
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_read_only(root: str) -> None:
    """Take away the right to write, so that no job changes the environment by chance."""
    for base, _, names in os.walk(root):
        for name in names:
            path = os.path.join(base, name)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & 0o555)
        os.chmod(base, os.stat(base).st_mode & 0o555)


def remove_venv(venv: str) -> None:
    """Remove a virtual environment, read-only or half made. Idempotent."""
    for base, _, _ in os.walk(venv):
        os.chmod(base, 0o700)
    shutil.rmtree(venv, ignore_errors=False)


def _say(text: str) -> None:
    sys.stdout.write(f"[orchestrator] {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
