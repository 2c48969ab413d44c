"""Thin, quick-failing calls of the container engine.

Every call has a time limit. An engine that does not answer is not asked again for some seconds,
so that one hanging engine cannot stop the driver's rounds. The SDK is loaded at the first call.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.backends.docker_values import EngineFacts
from orchestrator.clock import Clock, SystemClock
from orchestrator.errors import (
    BackendError,
    CapacityUnavailable,
    EngineUnreachable,
    ImageError,
    Unavailable,
)

T = TypeVar("T")

PAUSES_SECONDS = (0.5, 1, 2, 5)
UNIX = "unix://"
DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class Refused(BackendError):
    """The engine answered, and said no.

    Attributes:
        status: Its HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ContainerState:
    """What the engine says of one container.

    Attributes:
        status: ``created``, ``running``, ``paused``, ``exited``, ``dead`` or ``removing``.
        exit_code: Of its first process; meaningless while it runs.
        out_of_memory: Whether a process of it was killed at the memory limit.
        error: Why it could not be started.
    """

    name: str
    status: str
    exit_code: int
    out_of_memory: bool
    error: str
    labels: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether all its processes are gone."""
        return self.status in {"exited", "dead"}

    @property
    def running(self) -> bool:
        """Whether it has processes."""
        return self.status in {"running", "paused", "restarting"}


class Engine:
    """One container engine.

    Args:
        base_url: Its address; None = ``DOCKER_HOST``, else the default socket.
        timeout_seconds: How long one call may take.
        clock: Measures the pauses after failures.
    """

    def __init__(
        self, base_url: str | None, timeout_seconds: float, clock: Clock | None = None
    ) -> None:
        self._base_url = base_url
        self._timeout = timeout_seconds
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._client: Any = None
        self._facts: EngineFacts | None = None
        self._failures = 0
        self._silent_until = float("-inf")
        self._last_words = ""

    # -- the connection --------------------------------------------------------------------

    def address(self) -> dict[str, Any]:
        """Return the arguments that a client finds this engine by."""
        docker = _sdk()
        found: dict[str, Any] = docker.utils.kwargs_from_env()
        if self._base_url is not None:
            found["base_url"] = self._base_url
        return found

    def connect(self) -> Any:
        """Return a new client of the SDK, for a thread of its own.

        Raises:
            EngineUnreachable: The engine does not answer.
        """
        docker = _sdk()
        self._knock()
        try:
            return docker.APIClient(version="auto", timeout=self._timeout, **self.address())
        except docker.errors.DockerException as error:
            raise _unreachable(error) from error

    def _knock(self) -> None:
        """Try the engine's socket: the SDK leaves it open when nobody is there.

        Raises:
            EngineUnreachable: Nobody is there.
        """
        url = str(self.address().get("base_url") or DEFAULT_SOCKET)
        if not url.startswith(UNIX):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(self._timeout)
            try:
                probe.connect(f"/{url.removeprefix(UNIX).lstrip('/')}")
            except OSError as error:
                raise _unreachable(error) from error

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self.connect()
            return self._client

    def _call(self, what: str, call: Callable[[Any], T]) -> T:
        """Make one call.

        Raises:
            EngineUnreachable: No answer, or none lately.
            Refused: The answer was no.
        """
        if self._clock.monotonic() < self._silent_until:
            raise EngineUnreachable(self._last_words)
        docker = _sdk()
        try:
            self._knock()
            answer = call(self._connected())
        except docker.errors.APIError as error:
            self._failures = 0
            raise Refused(
                f"the Docker engine could not {what}: {_words(error)}", _status(error)
            ) from error
        except EngineUnreachable as error:
            self._fell_silent(error)
            raise
        except (docker.errors.DockerException, OSError) as error:  # requests' errors are OSErrors
            unreachable = _unreachable(error)
            self._fell_silent(unreachable)
            raise unreachable from error
        self._failures = 0
        return answer

    def _fell_silent(self, error: EngineUnreachable) -> None:
        self._last_words = error.message
        pause = PAUSES_SECONDS[min(self._failures, len(PAUSES_SECONDS) - 1)]
        self._failures += 1
        self._silent_until = self._clock.monotonic() + pause

    def check_answers(self) -> None:
        """Ask whether the engine is there now.

        Raises:
            EngineUnreachable: It is not, or was not a moment ago.
        """
        self._call("answer", lambda client: client.ping())

    def facts(self) -> EngineFacts:
        """Return what the engine is like; asked once."""
        if self._facts is None:
            info = self._call("describe itself", lambda client: client.info())
            security = " ".join(info.get("SecurityOptions") or ())
            machine = info.get("Architecture", "")
            self._facts = EngineFacts(
                architecture=_MACHINES.get(machine, machine),
                rootless="name=rootless" in security,
                remaps_users="name=userns" in security,
                cgroup_version=int(info.get("CgroupVersion") or 1),
                cpus=int(info.get("NCPU") or 1),
            )
        return self._facts

    # -- images ----------------------------------------------------------------------------

    def image(self, reference: str) -> dict[str, Any] | None:
        """Return what the engine says of an image; None when it has none of this name."""
        try:
            found: dict[str, Any] = self._call(
                f"look up image {reference!r}", lambda client: client.inspect_image(reference)
            )
        except Refused as error:
            if error.status in {400, 404}:  # 400: no legal reference
                return None
            raise
        return found

    def pull(self, reference: str) -> None:
        """Get an image from its registry.

        Raises:
            ImageError: There is none, or it cannot be had.
        """
        name, _, tag = reference.partition("@")
        if not tag and ":" in name.rpartition("/")[2]:
            name, _, tag = reference.rpartition(":")

        def pull(client: Any) -> str:
            lines = client.pull(name, tag=tag or "latest", stream=True, decode=True)
            return next((str(line["error"]) for line in lines if "error" in line), "")

        try:
            problem = self._call(f"pull {reference!r}", pull)
        except Refused as error:
            problem = error.message
        if problem:
            raise ImageError(f"image {reference!r} could not be pulled: {problem}")

    # -- containers ------------------------------------------------------------------------

    def create(self, name: str, body: Mapping[str, Any]) -> bool:
        """Create a container; False when one of this name is there already.

        Raises:
            ImageError: Its image is gone.
        """
        try:
            self._call(
                f"create container {name}",
                lambda client: client.create_container_from_config(dict(body), name),
            )
        except Refused as error:
            if error.status == 409:
                return False
            if error.status == 404 and "image" in error.message.lower():
                raise ImageError(f"{error.message}; it was removed meanwhile") from error
            raise
        return True

    def start(self, name: str) -> None:
        """Start a container; one that runs already is left alone.

        Raises:
            CapacityUnavailable: A device it needs is not there.
        """
        try:
            self._call(f"start container {name}", lambda client: client.start(name))
        except Refused as error:
            if "could not select device driver" in error.message:
                raise CapacityUnavailable(
                    f"GPUs cannot be given to containers: {error.message}; install the NVIDIA "
                    "container toolkit, or use backend='process'"
                ) from error
            raise

    def container(self, name: str) -> ContainerState | None:
        """Return what the engine says of a container; None when there is none."""
        try:
            found = self._call(f"inspect {name}", lambda client: client.inspect_container(name))
        except Refused as error:
            if error.status == 404:
                return None
            raise
        state = found["State"]
        return ContainerState(
            name=found["Name"].lstrip("/"),
            status=state["Status"],
            exit_code=state["ExitCode"],
            out_of_memory=state["OOMKilled"],
            error=state["Error"],
            labels=found["Config"]["Labels"] or {},
        )

    def signal(self, name: str, signal: str) -> bool:
        """Send a signal to a container's first process; False when it does not run."""
        try:
            self._call(f"signal {name}", lambda client: client.kill(name, signal))
        except Refused as error:
            if error.status in {404, 409}:
                return False
            raise
        return True

    def remove(self, name: str) -> None:
        """Kill and remove a container and its anonymous volumes; none is no error."""
        try:
            self._call(
                f"remove {name}", lambda client: client.remove_container(name, v=True, force=True)
            )
        except Refused as error:
            if error.status not in {404, 409}:  # 409: is being removed
                raise

    def containers(self, labels: Iterable[str]) -> list[ContainerState]:
        """Return the containers with all of these labels (``name`` or ``name=value``)."""
        found = self._call(
            "list containers",
            lambda client: client.containers(all=True, filters={"label": list(labels)}),
        )
        return [
            ContainerState(
                name=item["Names"][0].lstrip("/") if item["Names"] else item["Id"],
                status=item["State"],
                exit_code=0,
                out_of_memory=False,
                error="",
                labels=item["Labels"] or {},
            )
            for item in found
        ]

    def output(self, name: str, lines: int = 20) -> str:
        """Return the last lines that the engine itself has kept of a container's output."""
        try:
            data: bytes = self._call(
                f"read the output of {name}", lambda client: client.logs(name, tail=lines)
            )
        except Refused:
            return ""
        return data.decode("utf-8", "replace").strip()

    def wait(self, name: str) -> int:
        """Wait for the end of a container, at most the time limit; return its exit code."""
        answer = self._call(
            f"wait for {name}", lambda client: client.wait(name, timeout=self._timeout)
        )
        return int(answer["StatusCode"])

    def has_file(self, name: str, path: str) -> bool:
        """Return whether a container's file system has a path."""

        def look(client: Any) -> bool:
            url = client._url("/containers/{0}/archive", name)
            answer = client.head(url, params={"path": path}, timeout=self._timeout)
            return bool(answer.status_code == 200)

        return self._call(f"look into {name}", look)

    # -- networks --------------------------------------------------------------------------

    def create_network(self, request: Mapping[str, Any]) -> None:
        """Create a network, unless one of this name is there.

        Raises:
            Unavailable: The engine has no addresses left for networks.
        """
        try:
            self._call(
                f"create network {request['name']}",
                lambda client: client.create_network(**request, check_duplicate=True),
            )
        except Refused as error:
            if "address pool" in error.message:
                raise Unavailable(f"{error.message}; other jobs must end first") from error
            if error.status != 409:
                raise

    def remove_network(self, name: str) -> bool:
        """Remove a network that no container uses; False when one does. None is no error."""
        try:
            self._call(f"remove network {name}", lambda client: client.remove_network(name))
        except Refused as error:
            return error.status == 404
        return True

    def networks(self, labels: Iterable[str]) -> list[tuple[str, Mapping[str, str]]]:
        """Return name and labels of the networks with all of these labels."""
        found = self._call(
            "list networks", lambda client: client.networks(filters={"label": list(labels)})
        )
        return [(item["Name"], item["Labels"] or {}) for item in found]


def _sdk() -> Any:
    try:
        import docker  # noqa: PLC0415  # loading it takes as long as a short job
    except ImportError as error:
        raise BackendError(
            "backend='docker' needs the Docker SDK; install it with "
            "`pip install 'orchestrator[docker]'`"
        ) from error
    return docker


def _status(error: Any) -> int:
    return int(error.status_code or 500)


def _words(error: Any) -> str:
    return str(error.explanation or error)


def _unreachable(error: Exception) -> EngineUnreachable:
    return EngineUnreachable(
        f"the Docker engine does not answer ({error}); check that it runs and that you may use "
        "it (`docker version`)"
    )
