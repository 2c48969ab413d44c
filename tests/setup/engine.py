"""A Docker engine for the tests: the one that answers, else one of our own, started by hand and stopped by its process id.

    python -m tests.setup.engine start|stop|status

Our own engine keeps its data in the cache folder, listens where Docker clients look by default, and is a process of its own session:
it outlives `make test` so that the next run starts at once. `make stop-engine` ends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.setup import apt
from tests.setup.cache import SetupError, cache_folder, locked, say

DEFAULT_BRIDGE = Path("/sys/class/net/docker0")
DEFAULT_SOCKET = Path("/var/run/docker.sock")
PASSED_ON = {"PATH", "HOME", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"}
START_SECONDS = 60
STOP_SECONDS = 60


@dataclass(frozen=True)
class OwnEngine:
    """Files of the engine that these tests start."""

    folder: Path

    @classmethod
    def here(cls) -> OwnEngine:
        """The engine of this machine's cache folder."""
        return cls(cache_folder() / "docker")

    @property
    def pid_file(self) -> Path:
        """Written by dockerd itself."""
        return self.folder / "dockerd.pid"

    @property
    def log(self) -> Path:
        """Everything dockerd and its containerd print."""
        return self.folder / "dockerd.log"

    def command(self) -> list[str]:
        """The dockerd call."""
        return [
            apt.find_program("dockerd") or "dockerd",
            f"--host=unix://{DEFAULT_SOCKET}",
            f"--data-root={self.folder / 'data'}",
            f"--exec-root={self.folder / 'exec'}",
            f"--pidfile={self.pid_file}",
        ]

    def pid(self) -> int | None:
        """Process id of our running engine; a file left by a killed one counts as none."""
        try:
            pid = int(self.pid_file.read_text(encoding="ascii"))
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if f"--pidfile={self.pid_file}".encode() in words else None


def answers() -> bool:
    """Whether the engine that clients would use (`DOCKER_HOST`, context or default socket) answers."""
    docker = apt.find_program("docker")
    if docker is None:
        return False
    command = [docker, "version", "--format", "{{.Server.Version}}"]
    try:
        result = subprocess.run(command, capture_output=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the engine answers; an engine that ends or stays silent is an error."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if answers():
            return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    ended = process.poll()
    process.terminate()
    state = "did not answer" if ended is None else f"ended with exit code {ended}"
    lines = log.read_text(errors="replace").splitlines()
    reasons = [line for line in lines if line.startswith("failed to start")] or lines[-3:]
    raise SetupError(f"dockerd {state} within {START_SECONDS} s; see {log}\n" + "\n".join(reasons))


def start() -> bool:
    """Make sure that an engine answers.

    Returns:
        Whether it is our own.

    Raises:
        SetupError: None answers and none can be started here.
    """
    with locked("engine"):
        own = OwnEngine.here()
        if answers():
            if own.pid() is None:
                return False
            if DEFAULT_BRIDGE.exists():
                return True
            say("  our dockerd has lost its bridge docker0; starting it anew")
            end(own)
        if os.environ.get("DOCKER_HOST"):
            raise SetupError(f"no Docker engine answers at {os.environ['DOCKER_HOST']}")
        if os.geteuid() != 0 or sys.platform != "linux":
            raise SetupError("no Docker engine answers, and only root on Linux can start one")
        apt.ensure(["docker.io"])
        launch(own)
        return True


def launch(own: OwnEngine) -> None:
    """Start our engine and wait for it."""
    own.folder.mkdir(parents=True, exist_ok=True)
    if own.pid() is None:
        own.pid_file.unlink(missing_ok=True)
    say(f"  starting dockerd (data and log in {own.folder})")
    with own.log.open("wb") as log:
        process = subprocess.Popen(
            own.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={name: value for name, value in os.environ.items() if name.upper() in PASSED_ON},
        )
    wait_until_ready(process, own.log)


def end(own: OwnEngine) -> bool:
    """End our engine and wait until it is gone; returns whether there was one."""
    pid = own.pid()
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while own.pid() == pid and time.monotonic() < deadline:
        time.sleep(0.1)
    if own.pid() == pid:
        raise SetupError(f"dockerd {pid} did not stop within {STOP_SECONDS} s; see {own.log}")
    return True


def stop() -> bool:
    """End our own engine, if it runs, and wait until it is gone.

    Returns:
        Whether there was one. Somebody else's engine is never touched.
    """
    with locked("engine"):
        return end(OwnEngine.here())


def main(words: list[str]) -> None:
    """Do the one thing asked for on the command line."""
    match words:
        case ["start"]:
            say("own Docker engine" if start() else "the machine's Docker engine")
        case ["stop"]:
            say("stopped our Docker engine" if stop() else "no Docker engine of ours runs")
        case ["status"]:
            own = OwnEngine.here().pid()
            say(f"answers: {answers()}, own engine: {own or 'none'}")
        case _:
            sys.exit("usage: python -m tests.setup.engine start|stop|status")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SetupError as error:
        sys.exit(f"error: {error}")
