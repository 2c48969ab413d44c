"""The local way in: SDK and CLI use a home directory without any service URL.

If a driver (or ``serve``) is alive, its socket answers: nothing heavy is loaded here. If not,
reading opens the home in this process, and a submit first starts a small detached driver, so
that a job never depends on the process that submitted it.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import socket
import subprocess  # argv lists only
import sys
import threading
import time
import weakref
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from orchestrator.errors import OrchestratorError, Unavailable, error_from_code, no_artifact
from orchestrator.home import DRIVER_SOCKET, METRICS_FILE, prepare_home, socket_path
from orchestrator.sdk import ignored
from orchestrator.sdk.transport import check_artifact_kind, check_export_format
from orchestrator.sdk.tunings import LocalTunings

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.service.assemble import Service

DRIVER_LOG = "driver.log"
START_LOCK = "start.lock"
START_SECONDS = 30.0
OTHER_DRIVER_SECONDS = 5.0
START_POLL_SECONDS = 0.01
RECONNECT_SECONDS = 10.0

# What can be answered without anybody driving. Everything else needs a driver.
READS = frozenset(
    {
        "info",
        "describe",
        "list_jobs",
        "tags",
        "counts",
        "log_streams",
        "read_log",
        "last_metrics",
        "metric_curve",
        "findings",
        "list_tensors",
        "read_tensors",
        "delete",
        "set_tags",
        "describe_tuning_job",
        "list_tuning_jobs",
        "list_tuned_jobs",
        "tuning_importance",
        "tuning_report",
        "delete_tuning_job",
    }
)


class _DriverGone(Unavailable):
    """The driver ended before it answered."""


class LocalTransport:
    """A transport to a home directory on this machine; see ``sdk.transport.Transport``.

    Args:
        home: The home directory.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._local = threading.local()
        self._service: Service | None = None
        self._methods: dict[str, Callable[..., Any]] = {}
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._closings = 0

    # -- calls -----------------------------------------------------------------------------

    def call(self, method: str, **params: Any) -> Any:
        """Call a use case, wherever it can be answered.

        A driver that dies (or ends itself) meanwhile is replaced and asked again: every call may
        be made twice, submits because of their idempotency key.

        Raises:
            Unavailable: No driver can be started.
        """
        deadline = time.monotonic() + RECONNECT_SECONDS
        closings = self._closings
        while True:
            stream = self._stream()
            if stream is None and method in READS:
                return self._direct(method, **params)
            if stream is None:
                start_driver(self.home)
                continue
            try:
                return self._ask(stream, method, params)
            except _DriverGone:
                if time.monotonic() > deadline or self._closings != closings:
                    raise
                time.sleep(START_POLL_SECONDS)  # a dying driver's socket takes connections

    def _direct(self, method: str, **params: Any) -> Any:
        """Answer from the home itself, in this process (loads the store)."""
        with self._lock:
            if self._service is None:
                from orchestrator.service.assemble import open_service  # noqa: PLC0415
                from orchestrator.service.methods import methods  # noqa: PLC0415
                from orchestrator.settings import Settings  # noqa: PLC0415

                self._service = open_service(Settings(home=self.home))
                self._methods = methods(self._service)
        return self._methods[method](**params)

    def _stream(self) -> Any:
        """Return this thread's connection to the driver, or None when there is none."""
        stream = getattr(self._local, "stream", None)
        if stream is None:
            connection = connect_driver(self.home)
            if connection is not None:
                stream = self._local.stream = connection.makefile("rwb")
                connection.close()  # it is the stream's alone now, and ends with its thread
                with self._lock:
                    self._connections.add(connection)
        return stream

    def _ask(self, stream: Any, method: str, params: dict[str, Any]) -> Any:
        try:
            request = json.dumps({"method": method, "params": params}, default=_moment)
            stream.write(request.encode() + b"\n")
            stream.flush()
            line = stream.readline()
        except OSError as error:
            line = b""
            cause: Exception | None = error
        except BaseException:
            self._local.stream = None  # an interrupt: the late answer must not be the next call's
            raise
        else:
            cause = None
        if not line.endswith(b"\n"):  # also a part of an answer: it was killed meanwhile
            self._local.stream = None
            raise _DriverGone("the driver went away; the call can be made again") from cause
        answer = json.loads(line)
        if "error" in answer:
            said = answer["error"]
            raise error_from_code(said["code"], said["message"], said.get("details"))
        return answer["result"]

    # -- the interface ---------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Return what the service is and can do."""
        return self.call("info")  # type: ignore[no-any-return]

    def ignored_settings(self) -> list[str]:
        """Return, in words, the settings of this process's environment that its driver lacks.

        A driver keeps the settings that it was started with.
        """
        given = ignored.settings_of(os.environ)
        if not given or self._stream() is None:
            return []
        return ignored.without_effect(given, self.info())

    @property
    def tunings(self) -> LocalTunings:
        """The calls of tuning jobs."""
        return LocalTunings(self.call)

    def put_source(self, archive: Path) -> str:
        """Put a packed source into the home's blob store; return its digest."""
        from orchestrator.blobs.local import LocalBlobStore  # noqa: PLC0415

        prepare_home(self.home)
        return LocalBlobStore(self.home / "blobs").put_file(archive).digest

    def submit(
        self, spec: dict[str, Any], *, secrets: dict[str, str], idempotency_key: str
    ) -> dict[str, Any]:
        """Submit a job; starts a driver if there is none."""
        return self.call(  # type: ignore[no-any-return]
            "submit", spec=spec, secrets=secrets, idempotency_key=idempotency_key
        )

    def describe(self, name: str) -> dict[str, Any]:
        """Return a job's record."""
        return self.call("describe", name=name)  # type: ignore[no-any-return]

    def list_jobs(self, **query: Any) -> dict[str, Any]:
        """Return one page of jobs."""
        return self.call("list_jobs", **query)  # type: ignore[no-any-return]

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
        """Return a job's record at its next change."""
        return self.call(  # type: ignore[no-any-return]
            "wait", name=name, after=after, timeout_seconds=timeout_seconds
        )

    def stop(self, name: str, *, grace_seconds: float | None = None) -> dict[str, Any]:
        """Ask a job to stop."""
        return self.call("stop", name=name, grace_seconds=grace_seconds)  # type: ignore[no-any-return]

    def delete(self, name: str) -> None:
        """Forget an ended job."""
        self.call("delete", name=name)

    def tags(self, name: str) -> list[dict[str, str]]:
        """Return a job's tags."""
        return self.call("tags", name=name)  # type: ignore[no-any-return]

    def set_tags(
        self, name: str, *, put: list[dict[str, str]], remove: list[str]
    ) -> list[dict[str, str]]:
        """Change a job's tags."""
        return self.call("set_tags", name=name, put=put, remove=remove)  # type: ignore[no-any-return]

    def log_streams(self, name: str) -> list[dict[str, Any]]:
        """Return a job's log streams."""
        return self.call("log_streams", name=name)  # type: ignore[no-any-return]

    def read_log(self, name: str, **request: Any) -> dict[str, Any]:
        """Return bytes of one stream."""
        chunk: dict[str, Any] = self.call("read_log", name=name, **request)
        return {**chunk, "data": base64.b64decode(chunk["data"])}

    def last_metrics(self, name: str) -> list[dict[str, Any]]:
        """Return the last point of each metric."""
        return self.call("last_metrics", name=name)  # type: ignore[no-any-return]

    def metric_curve(self, name: str, metric: str, *, max_points: int = 2000) -> dict[str, Any]:
        """Return one curve."""
        return self.call(  # type: ignore[no-any-return]
            "metric_curve", name=name, metric=metric, max_points=max_points
        )

    def findings(self, name: str) -> dict[str, Any]:
        """Return what a job's debugger found."""
        return self.call("findings", name=name)  # type: ignore[no-any-return]

    def list_tensors(self, name: str) -> list[dict[str, Any]]:
        """Return the files with what was recorded of a job."""
        return self.call("list_tensors", name=name)  # type: ignore[no-any-return]

    def read_tensors(self, name: str, file: str, **request: Any) -> dict[str, Any]:
        """Return bytes of one of these files."""
        chunk: dict[str, Any] = self.call("read_tensors", name=name, file=file, **request)
        return {**chunk, "data": base64.b64decode(chunk["data"])}

    def export_metrics(self, name: str, file_format: str, destination: Path) -> Path:
        """Write all points of all metrics to a file, or into a directory."""
        from orchestrator.metrics.export import export_points  # noqa: PLC0415
        from orchestrator.metrics.store import MetricStore  # noqa: PLC0415

        check_export_format(file_format)
        job = self.describe(name)["spec"]["training_job_name"]
        destination.parent.mkdir(parents=True, exist_ok=True)
        with closing(MetricStore(self.home / METRICS_FILE)) as points:
            export_points(points.iterate(job), destination, file_format)
        return destination

    def download(self, name: str, kind: str, destination: Path) -> Path:
        """Copy an artifact into a directory."""
        check_artifact_kind(kind)
        job = self.describe(name)
        artifact = job["artifacts"].get(kind)
        if artifact is None:
            raise no_artifact(name, kind, job["artifacts"], job["status"])
        return fetch_artifact(artifact["uri"], destination, self.home)

    def close(self) -> None:
        """Close the connections and the home, if it was opened here."""
        with self._lock:
            self._closings += 1
            for connection in self._connections:
                with suppress(OSError):  # it has ended already
                    connection.shutdown(socket.SHUT_RDWR)
            self._connections.clear()
            if self._service is not None:
                self._service.close()
                self._service = None
        self._local = threading.local()


def _moment(value: object) -> str:
    """Return a time as JSON has it; nothing else has a second form."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def fetch_artifact(uri: str, destination: Path, home: Path) -> Path:
    """Copy what is at an address into a directory; return the copy's path.

    Args:
        uri: Of a file or a folder.
        destination: Made if missing.
        home: Whose settings say where ``s3://`` is.
    """
    destination.mkdir(parents=True, exist_ok=True)
    target = destination / uri.rstrip("/").rpartition("/")[2]
    source = Path(unquote(urlparse(uri).path)) if uri.startswith("file://") else Path(uri)
    if uri.startswith("s3://"):
        from orchestrator.blobs.buckets import BucketStore  # noqa: PLC0415  # loads sqlite3
        from orchestrator.blobs.places import open_blobs  # noqa: PLC0415
        from orchestrator.settings import Settings  # noqa: PLC0415

        store = open_blobs(home, Settings(home=home).s3_endpoint, BucketStore(home))
        if store.stat(uri) is not None:
            store.fetch_to(uri, target)
        else:
            store.download(uri, target)
    elif source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
    return target


def connect_driver(home: Path) -> socket.socket | None:
    """Return a connection to the home's driver, or None when none answers."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(socket_path(home, DRIVER_SOCKET)))
    except OSError:
        connection.close()
        return None
    return connection


def start_driver(home: Path) -> None:
    """Start a detached driver for a home and wait until one answers.

    Of several callers, in any process, one starts it and the others wait.

    Raises:
        Unavailable: It does not come up; the message has the end of its log.
        StoreDamaged, StoreError, LimitExceeded: The home cannot be used now.
    """
    prepare_home(home)
    deadline = time.monotonic() + START_SECONDS
    try:
        turn = os.open(home / START_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _takes_turn(turn) and time.monotonic() < deadline:
                if _answers(home):
                    return
                time.sleep(START_POLL_SECONDS)
            if not _answers(home):
                _start_driver(home, deadline)
        finally:
            os.close(turn)
    except OSError as error:
        raise Unavailable(
            f"a driver of {home} must be startable: {error.strerror}; check the free disk space "
            "(df, df -i) and the limits of open files and processes (ulimit -n, -u)"
        ) from error


def _takes_turn(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_driver(home: Path, deadline: float) -> None:
    while True:
        told = _spawn_driver(home)
        if told.get("ready") or _answers(home):
            return
        if "error" in told:
            raise error_from_code(told["error"]["code"], told["error"]["message"])
        if "said" in told:
            raise Unavailable(f"the driver of {home} did not start: {told['said']}")
        # Another process drives, but does not answer: it is just beginning or just ending.
        if _answers_soon(home):
            return
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the process that drives {home} must answer, it does not; end it (its process id "
                "is in driver.lock), or continue it if it was stopped"
            )


def _spawn_driver(home: Path) -> dict[str, Any]:
    """Start a driver; return what it tells, or what it left in its log when it tells nothing."""
    log = home / DRIVER_LOG
    offset = log.stat().st_size if log.exists() else 0
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as told, log.open("ab") as output:
        try:
            subprocess.run(
                [sys.executable, "-m", "orchestrator.embedded", str(home), str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                pass_fds=(writer,),
                check=True,
            )
        finally:
            os.close(writer)
        poll = select.poll()
        poll.register(told, select.POLLIN)
        line = told.readline() if poll.poll(START_SECONDS * 1000) else b""
    if line:
        return json.loads(line)  # type: ignore[no-any-return]
    said = log.read_bytes()[offset:][-2000:].decode("utf-8", "replace").strip()
    return {"said": said or "it ended at once"}


def _answers_soon(home: Path) -> bool:
    deadline = time.monotonic() + OTHER_DRIVER_SECONDS
    while time.monotonic() < deadline:
        if _answers(home):
            return True
        time.sleep(START_POLL_SECONDS)
    return False


def _answers(home: Path) -> bool:
    connection = connect_driver(home)
    if connection is None:
        return False
    connection.close()
    return True


class _Starter:
    """Whoever started this driver; told once how that went, if it still is there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def tell(self, **facts: Any) -> None:
        """Say how it went; only the first call counts."""
        if self._descriptor < 0:
            return
        with suppress(OSError):  # it went away
            os.write(self._descriptor, json.dumps(facts).encode() + b"\n")
        os.close(self._descriptor)
        self._descriptor = -1


def main(argv: list[str]) -> int:
    """Drive a home until nothing is left to do: ``python -m orchestrator.embedded HOME FD``.

    Leaves its parent at once, so that it is no child of whoever submits jobs. ``FD`` is told
    one line of JSON: ``ready`` when the socket answers, ``other`` when another process drives
    already, or an ``error``.
    """
    if os.fork():
        return 0
    import logging  # noqa: PLC0415  # only the driver process logs

    from orchestrator.service.assemble import open_service  # noqa: PLC0415
    from orchestrator.service.background import run_driver  # noqa: PLC0415
    from orchestrator.service.rpc import refused  # noqa: PLC0415
    from orchestrator.settings import Settings  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    home, starter = Path(argv[0]), _Starter(int(argv[1]))
    try:
        service = open_service(Settings(home=home))
        code = run_driver(
            service, socket_path(home, DRIVER_SOCKET), on_ready=lambda: starter.tell(ready=True)
        )
    except (OrchestratorError, OSError) as caught:
        error = caught if isinstance(caught, OrchestratorError) else refused(caught)
        starter.tell(error={"code": error.code, "message": error.message})
        sys.stderr.write(f"{error.message}\n")
        return 1
    starter.tell(other=True)
    return code


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
