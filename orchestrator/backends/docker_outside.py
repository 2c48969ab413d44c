"""Supervisors beside the service, for images without Python.

The supervisor's program is ``docker_attach``, which runs the container, so that limits, log,
exit record and packing are the same as everywhere. What such a job lacks: a stop reaches only
the container's first process, there is no way to report metrics but the log, and secrets are
in the container's environment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator_runtime import contract

from orchestrator.backends import claims, staging
from orchestrator.backends.docker_values import DockerSettings, HostRequest
from orchestrator.backends.spawn import has_ended, spawn_detached

REQUEST_SUFFIX = ".container.json"
END_SUFFIX = ".end.json"
ERRORS_FILE = "supervisor.err"
NOTICE = (
    "image {image} has no Python 3.9 or newer that a job may run: a stop reaches only its first "
    "process, and metrics can only be read from the log"
)
UNMONITORED = (
    "image {image} has no Python 3.9 or newer that a job may run, and the debugger's hook lives in "
    "programs of Python; use an image with Python"
)
_ENGINE_VARIABLES = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


def tell_unmonitored(directory: Path, image: str) -> None:
    """Leave word that the debugger a job asks for sees nothing, as a supervisor within would."""
    said = {"kind": "debugger", "state": "unmonitored", "reason": UNMONITORED.format(image=image)}
    line = json.dumps(said) + "\n"
    (directory / contract.DEBUG_RECORDS_FILE).write_text(line, encoding="utf-8")


class OutsideSupervisors:
    """Starts supervisors and knows those that this process has started."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._spawned: dict[Path, int] = {}
        self._ended: set[Path] = set()
        self._lock = threading.Lock()

    def spawn(self, directory: Path, request: HostRequest) -> None:
        """Start the supervisor of a host, unless this process already has."""
        staging.write_json(_beside(directory, REQUEST_SUFFIX), self._file(request), mode=0o600)
        python, runtime = self._settings.python, str(self._settings.runtime / "__main__.py")
        argv = [python, "-I", "-S", runtime, "supervise", str(directory)]
        path = {"PATH": os.environ.get("PATH", os.defpath)}
        with self._lock:
            if directory not in self._spawned or self._has_ended(directory):
                self._ended.discard(directory)
                self._spawned[directory] = spawn_detached(argv, directory / ERRORS_FILE, path)

    def _has_ended(self, directory: Path) -> bool:
        """Return whether our supervisor of a host is gone; it can be reaped only once."""
        if directory not in self._ended and has_ended(self._spawned[directory]):
            self._ended.add(directory)
        return directory in self._ended

    def _file(self, request: HostRequest) -> dict[str, Any]:
        engine = {name: os.environ[name] for name in _ENGINE_VARIABLES if name in os.environ}
        if self._settings.base_url is not None:
            engine["DOCKER_HOST"] = self._settings.base_url
        return {
            "name": request.name,
            "create": request.create,
            "engine": engine,
            "runtime": str(self._settings.runtime),
            "path": [path for path in sys.path if Path(path).is_absolute()],
            "grace_seconds": request.plan["limits"]["grace_seconds"],
        }

    def starting(self, directory: Path) -> bool | None:
        """Return whether a supervisor that has not claimed its host yet lives; None = not ours."""
        with self._lock:
            return None if directory not in self._spawned else not self._has_ended(directory)

    def reap(self) -> None:
        """Let no supervisor that has ended stay as a zombie."""
        with self._lock:
            for directory in list(self._spawned):
                # One that never claimed its host is kept: it is looked for once more.
                if self._has_ended(directory) and claims.is_claimed(directory):
                    del self._spawned[directory]
                    self._ended.discard(directory)


def is_outside(directory: Path) -> bool:
    """Return whether the supervisor of a host was started beside the service.

    The mark lies beside the host directory, where no container can forge it.
    """
    return _beside(directory, REQUEST_SUFFIX).exists()


def read_end(directory: Path) -> dict[str, Any] | None:
    """Return what only the engine knew of a container's end; None while it is not known."""
    found = staging.read_json(_beside(directory, END_SUFFIX))
    return found if isinstance(found, dict) else None


def _beside(directory: Path, suffix: str) -> Path:
    return directory.with_name(directory.name + suffix)


def ask_to_stop(directory: Path) -> None:
    """Wake the supervisor of a host that was asked to stop."""
    _kill(directory, signal.SIGTERM)


def end(directory: Path) -> None:
    """Kill the supervisor of a host, if it lives, and what it has left."""
    _kill(directory, signal.SIGKILL)
    claims.kill_strays(directory)


def _kill(directory: Path, number: signal.Signals) -> None:
    pid = claims.living_supervisor(directory)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def errors(directory: Path) -> str:
    """Return the last words of a supervisor that could not start."""
    try:
        return (directory / ERRORS_FILE).read_text("utf-8", "replace")[-2000:].strip()
    except OSError:
        return ""
