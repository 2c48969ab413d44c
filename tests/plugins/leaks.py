"""Nothing may be left behind: the session fails with a list of what its tests did not clean up.

Looked for, as far as it belongs to this session's temporary folder: processes, mounts, Docker containers and networks, and files in what the
tests and their children take for the system's temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.needs import no_docker
from tests.setup import apt

HOME_LABEL = "orchestrator.home"
PATIENCE_SECONDS = float(os.environ.get("ORCHESTRATOR_TEST_PATIENCE_SECONDS", "10"))
TEMPORARY = "system-tmp"
THEIRS = ("torchinductor_",)  # PyTorch's cache, made when a test imports it outside a job


def belongs(pid: str, folder: str) -> bool:
    """Whether a process was started with, works in, or is told of a path under the folder."""
    process = Path("/proc") / pid
    try:
        words = (process / "cmdline").read_bytes()
        settings = (process / "environ").read_bytes()
        place = (process / "cwd").readlink()
    except OSError:  # gone meanwhile, a zombie, or somebody else's
        return False
    home = f"ORCHESTRATOR_HOME={folder}/".encode()
    return (
        f"{folder}/".encode() in words or home in settings or f"{place}/".startswith(f"{folder}/")
    )


def ancestors() -> set[str]:
    """Process ids of this process and those that started it."""
    found = set()
    pid = os.getpid()
    while pid > 0:
        found.add(str(pid))
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return found


def left_processes(folder: str) -> list[str]:
    """Processes of this session, with their command lines."""
    proc = Path("/proc")
    if not proc.is_dir():
        return []
    own = ancestors()
    pids = [path.name for path in proc.iterdir() if path.name.isdigit() and path.name not in own]
    return [f"process {pid}: {command_line(pid)}" for pid in pids if belongs(pid, folder)]


def command_line(pid: str) -> str:
    """A process's command line in readable form."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "(gone)"
    return words.replace(b"\0", b" ").decode(errors="replace")[:300]


def left_mounts(folder: str) -> list[str]:
    """Mounts under the folder, in this process's namespace."""
    table = Path("/proc/self/mountinfo")
    if not table.exists():
        return []
    points = [line.split()[4] for line in table.read_text(encoding="utf-8").splitlines()]
    return [f"mount {point}" for point in points if f"{point}/".startswith(f"{folder}/")]


def left_in_docker(folder: str) -> list[str]:
    """Containers and networks labelled with a home under the folder."""
    if no_docker() is not None:
        return []
    docker = apt.find_program("docker") or "docker"
    found = []
    for noun, everything in (("container", ["--all"]), ("network", [])):
        template = f'{{{{.ID}}}} {{{{.Label "{HOME_LABEL}"}}}}'
        command = [docker, noun, "ls", *everything, "--filter", f"label={HOME_LABEL}"]
        result = subprocess.run(
            [*command, "--format", template], capture_output=True, text=True, check=False
        )
        for line in result.stdout.splitlines():
            name, _, home = line.partition(" ")
            if f"{home}/".startswith(f"{folder}/"):
                found.append(f"{noun} {name} of {home}")
    return found


def left_files(folder: str) -> list[str]:
    """Entries of the folder that TMPDIR names during the session."""
    place = Path(folder, TEMPORARY)
    found = sorted(place.iterdir()) if place.is_dir() else []
    return [
        f"temporary file {path.name}"
        for path in found
        if not path.name.startswith(THEIRS) and not is_empty_place_of_sockets(path)
    ]


def is_empty_place_of_sockets(path: Path) -> bool:
    """Whether it is the directory for sockets of homes with long paths, which stays when they are gone."""
    return path.name == f"orchestrator-{os.getuid()}" and not any(path.iterdir())


LOOKS = (left_processes, left_mounts, left_in_docker, left_files)


@pytest.fixture(autouse=True, scope="session")
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the session a temporary folder of its own, so that what is left in it is ours."""
    folder = tmp_path_factory.getbasetemp() / TEMPORARY
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


class LeakGuard:
    """Looks when the session is over, until all is clean or patience ends."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Look after every fixture has cleaned up."""
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
        if factory._basetemp is None or session.config.option.collectonly:
            return
        folder = str(factory.getbasetemp())
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.found = [line for look in LOOKS for line in look(folder)]
            if not self.found or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what was left."""
        if self.found:
            terminalreporter.section("left behind, which is a failure", red=True)
            for line in self.found:
                terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    """Watch from the start."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(LeakGuard(), "leak-guard")
