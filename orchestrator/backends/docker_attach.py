"""The program of a supervisor that stays outside: runs one container of an image without Python.

    docker_attach.py HOST_DIRECTORY

Reads ``<host>.container.json`` beside the host directory, creates, attaches to and starts the
container, passes its output on, turns SIGTERM into the engine's, and ends with the container's
exit code. ``<host>.end.json`` says what only the engine knows. Kept apart from the package: it is a process of its own that
outlives the service and loads nothing but the SDK.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

REQUEST_SUFFIX = ".container.json"
END_SUFFIX = ".end.json"
STOP_FILE = "stop.json"
EXIT_REFUSED = 125
EXIT_STOPPED = 143
RETRY_SECONDS = 1.0
MARGIN_SECONDS = 0.5
"""How long before the end of the grace, when the supervisor kills us, the container is killed."""

# Of the supervisor's own world, not of the container's.
_OURS = {"ORCHESTRATOR_RECORDS", "LC_CTYPE"}


class Attachment:
    """One container, from its creation to its end.

    Args:
        directory: The host directory.
        request: What the back end wants.
    """

    def __init__(self, directory: Path, request: Mapping[str, Any]) -> None:
        self._directory = directory
        self._request = request
        self._name: str = self._request["name"]
        self._variables = container_variables(os.environ, self._request["runtime"])
        self._docker: Any = None
        self._running = False
        self._stop = threading.Event()
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGALRM, self._on_deadline)

    def run(self) -> int:
        """Run the container; return its exit code."""
        os.environ.update(self._request["engine"])
        sys.path += [path for path in self._request["path"] if path not in sys.path]
        self._docker = importlib.import_module("docker")
        try:
            client = self._connect()
            self._create(client)
            output = client.attach(self._name, stdout=True, stderr=True, stream=True)
            if self._stop.is_set():
                return EXIT_STOPPED
            client.start(self._name)
        except self._docker.errors.DockerException as error:
            return self._refused(error)
        self._running = True
        if self._stop.is_set():  # asked between the two lines above
            self._on_stop()
        for chunk in output:
            _write_all(chunk)
        return self._end()

    def _connect(self) -> Any:
        address = self._docker.utils.kwargs_from_env()
        return self._docker.APIClient(version="auto", timeout=60, **address)

    def _create(self, client: Any) -> None:
        body = dict(self._request["create"])
        body["Env"] = [*body["Env"], *(f"{k}={v}" for k, v in self._variables.items())]
        client.create_container_from_config(body, self._name)

    def _refused(self, error: Exception) -> int:
        reason = str(getattr(error, "explanation", None) or error)
        _write_all(f"the Docker engine refused the container: {reason}\n".encode())
        self._note({"error": reason})
        return EXIT_REFUSED

    # -- stops -----------------------------------------------------------------------------

    def _on_stop(self, *_: object) -> None:
        self._stop.set()
        if self._running:
            self._signal("SIGTERM")
            signal.setitimer(signal.ITIMER_REAL, max(self._seconds_left(), 0.01))

    def _on_deadline(self, *_: object) -> None:
        self._signal("SIGKILL")

    def _signal(self, name: str) -> None:
        with suppress(self._docker.errors.DockerException, OSError):
            client = self._connect()
            client.kill(self._name, name)
            client.close()

    def _seconds_left(self) -> float:
        try:
            request = json.loads((self._directory / STOP_FILE).read_bytes())
            ends_at = float(request["requested_at"]) + float(request["grace_seconds"])
            left = ends_at - time.time_ns() / 1e9
        except (OSError, ValueError, KeyError, TypeError):
            left = float(self._request["grace_seconds"])
        return left - min(MARGIN_SECONDS, left / 2)

    # -- the end ---------------------------------------------------------------------------

    def _end(self) -> int:
        """Wait for the end, also through restarts of the engine; say what the engine knows."""
        while True:
            try:
                client = self._connect()
                code = int(client.wait(self._name, timeout=None)["StatusCode"])
                state = client.inspect_container(self._name)["State"]
            except self._docker.errors.NotFound:
                self._note({"gone": True})
                return EXIT_REFUSED
            except (self._docker.errors.DockerException, OSError):
                time.sleep(RETRY_SECONDS)
            else:
                killed = code == 128 + signal.SIGKILL and self._killed_outside(client)
                self._note(
                    {"exit_code": code, "out_of_memory": state["OOMKilled"], "killed": killed}
                )
                client.close()
                return code

    def _killed_outside(self, client: Any) -> bool:
        """Return whether somebody else had the engine kill the container."""
        if self._stop.is_set():
            return False
        now = int(time.time_ns() / 1e9) + 1
        filters = {"container": self._name, "event": "kill"}
        events = client.events(since=0, until=now, filters=filters, decode=True)
        return any(event["Actor"]["Attributes"].get("signal") == "9" for event in events)

    def _note(self, end: Mapping[str, Any]) -> None:
        path = _beside(self._directory, END_SUFFIX)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(end), encoding="utf-8")
        draft.replace(path)


def container_variables(ours: Mapping[str, str], runtime: str) -> dict[str, str]:
    """Return the container's variables out of those that the supervisor gave us.

    Args:
        ours: This process's environment.
        runtime: The runtime's directory, which containers without Python have no use for.
    """
    variables = {name: value for name, value in ours.items() if name not in _OURS}
    path = [
        part for part in variables.pop("PYTHONPATH", "").split(":") if part and part != runtime
    ]
    return {**variables, "PYTHONPATH": ":".join(path)} if path else variables


def _beside(directory: Path, suffix: str) -> Path:
    return directory.with_name(directory.name + suffix)


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def main() -> NoReturn:
    """Run the container that the host directory on the command line asks for."""
    directory = Path(sys.argv[1])
    request = json.loads(_beside(directory, REQUEST_SUFFIX).read_bytes())
    sys.exit(Attachment(directory, request).run())


if __name__ == "__main__":
    main()
