"""The way to a service by URL. Loads httpx with the first call."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets as random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from orchestrator.errors import (
    InvalidSpec,
    InvalidState,
    NotFound,
    OrchestratorError,
    StoreDamaged,
    Unavailable,
    error_from_code,
)
from orchestrator.home import read_token
from orchestrator.sdk import bodies
from orchestrator.sdk.fetching import PartialFile
from orchestrator.sdk.paths import job_path, log_path, tensors_path
from orchestrator.sdk.transport import check_artifact_kind, check_export_format
from orchestrator.sdk.tunings import HttpTunings

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

TOKEN_VARIABLE = "ORCHESTRATOR_TOKEN"  # noqa: S105  # a name
PREFIX = "/api/v1"
CONNECT_SECONDS = 5.0
RETRY_SECONDS = 15.0
FIRST_RETRY_SECONDS = 1.0
"""As long as no call has succeeded, an address where nobody is is said to be so early."""
BLOCK_BYTES = 1 << 20


class HttpTransport:
    """A transport to a service; see ``sdk.transport.Transport``.

    Calls that meet a broken connection or a service that does not answer now are made again for
    some seconds. All of them can be: a submission carries its idempotency key.

    Args:
        url: Of the service: ``http://127.0.0.1:8760``.
        token: Bearer token; by default ``$ORCHESTRATOR_TOKEN``, and for a service on this
            machine the one in the home directory.
        home: Home directory; by default none is looked at.
        retry_seconds: How long a call is tried again.

    Raises:
        InvalidSpec: The URL or the token cannot be one.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        home: Path | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.url, self._is_local = _checked(url)
        self._token = _token(token, home if self._is_local else None)
        self._retry_seconds = retry_seconds
        self._has_answered = False
        self._made: httpx.Client | None = None
        self._lock = threading.Lock()

    # -- calls -----------------------------------------------------------------------------

    @property
    def _client(self) -> httpx.Client:
        with self._lock:
            if self._made is None:
                import httpx  # noqa: PLC0415  # 0.1 s

                headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
                self._made = httpx.Client(
                    base_url=self.url + PREFIX,
                    headers=headers,
                    timeout=httpx.Timeout(bodies.ANSWER_SECONDS, connect=CONNECT_SECONDS),
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
                    # No proxy lies between this machine and itself.
                    trust_env=not self._is_local,
                )
            return self._made

    def _call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Ask once, and again while that is of use; return a good answer."""
        return self._persist(lambda: self._ask(method, path, **request))

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        with self._translated():
            answer = self._client.request(method, path, **request)
        self._check(answer)
        return answer

    def _check(self, answer: httpx.Response) -> None:
        self._has_answered = True
        if not answer.is_success:
            raise _error_of(answer)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx  # noqa: PLC0415  # loaded by now

        try:
            yield
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
            raise _Broken(
                f"a service must answer at {self.url}, it does not ({said}); start one with "
                "`orchestrator serve`, or check ORCHESTRATOR_URL"
            ) from error

    def _persist(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except OrchestratorError as error:
            if not _may_pass(error):
                raise
        import tenacity  # noqa: PLC0415  # only when something went wrong

        patience = self._retry_seconds if self._has_answered else FIRST_RETRY_SECONDS
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
            stop=tenacity.stop_after_delay(min(patience, self._retry_seconds)),
            reraise=True,
        )
        return again(ask)

    # -- the interface ---------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Return what the service is and can do."""
        return _json(self._call("GET", "/info"))

    def ignored_settings(self) -> list[str]:
        """Return nothing: a service at an address has its own settings, nobody expects others."""
        return []

    @property
    def tunings(self) -> HttpTunings:
        """The calls of tuning jobs."""
        return HttpTunings(self._call, self._delete)

    def put_source(self, archive: Path) -> str:
        """Upload a packed source, unless the service has it; return its digest."""
        with archive.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        path = f"/sources/{digest}"
        with suppress(NotFound):
            self._call("HEAD", path)
            return digest
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(archive.stat().st_size),
        }
        self._persist(lambda: self._ask("PUT", path, content=_blocks(archive), headers=headers))
        return digest

    def submit(
        self, spec: dict[str, Any], *, secrets: dict[str, str], idempotency_key: str
    ) -> dict[str, Any]:
        """Submit a job; return its record. A repeated call returns the same job."""
        return _json(
            self._call(
                "POST",
                "/training-jobs",
                **bodies.submission({"spec": spec, "secrets": secrets}, idempotency_key),
            )
        )

    def describe(self, name: str) -> dict[str, Any]:
        """Return a job's record."""
        return _json(self._call("GET", job_path(name)))

    def list_jobs(self, **query: Any) -> dict[str, Any]:
        """Return one page of jobs."""
        return _json(self._call("GET", "/training-jobs", params=bodies.given(query)))

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> dict[str, Any]:
        """Return a job's record once its revision is above ``after``, or when time is over."""
        return _json(self._call("GET", job_path(name), **bodies.waiting(after, timeout_seconds)))

    def stop(self, name: str, *, grace_seconds: float | None = None) -> dict[str, Any]:
        """Ask a job to stop; return its record."""
        asked = 0

        def ask() -> httpx.Response:
            nonlocal asked
            asked += 1
            try:
                return self._ask(
                    "POST", f"{job_path(name)}/stop", json={"grace_seconds": grace_seconds}
                )
            except InvalidState:
                if asked == 1:
                    raise
                return self._ask("GET", job_path(name))  # the call before was heard: it has ended

        return _json(self._persist(ask))

    def delete(self, name: str) -> None:
        """Forget an ended job and its files."""
        self._delete(job_path(name))

    def _delete(self, path: str) -> None:
        asked = 0

        def ask() -> None:
            nonlocal asked
            asked += 1
            try:
                self._ask("DELETE", path)
            except NotFound:
                if asked == 1:
                    raise  # else the call before was heard

        self._persist(ask)

    def tags(self, name: str) -> list[dict[str, str]]:
        """Return a job's tags."""
        return _tags(self._call("GET", f"{job_path(name)}/tags"))

    def set_tags(
        self, name: str, *, put: list[dict[str, str]], remove: list[str]
    ) -> list[dict[str, str]]:
        """Change a job's tags in one step and return them all."""
        change = {"tags": put, "remove": remove}
        return _tags(self._call("PUT", f"{job_path(name)}/tags", json=change))

    def log_streams(self, name: str) -> list[dict[str, Any]]:
        """Return a job's log streams: host, attempt, size_bytes, finished."""
        streams: list[dict[str, Any]] = _json(self._call("GET", f"{job_path(name)}/logs"))[
            "streams"
        ]
        return streams

    def read_log(
        self,
        name: str,
        *,
        host: str,
        attempt: int | None = None,
        offset: int = 0,
        limit_bytes: int = 1 << 20,
        wait_seconds: float = 0,
    ) -> dict[str, Any]:
        """Return bytes of one stream: data, next_offset, finished."""
        wait = min(max(wait_seconds, 0.0), bodies.LONGEST_WAIT_SECONDS)
        query = {
            "attempt": attempt,
            "offset": offset,
            "limit_bytes": limit_bytes,
            "wait_seconds": wait,
        }
        answer = self._call(
            "GET",
            log_path(name, host),
            params=bodies.given(query),
            timeout=wait + bodies.ANSWER_SECONDS,
        )
        return {
            "host": host,
            "attempt": int(answer.headers["Orchestrator-Attempt"]),
            "offset": offset,
            "data": answer.content,
            "next_offset": int(answer.headers["Orchestrator-Next-Offset"]),
            "finished": answer.headers["Orchestrator-Finished"] == "true",
        }

    def last_metrics(self, name: str) -> list[dict[str, Any]]:
        """Return the last point of each metric so far."""
        metrics = _json(self._call("GET", f"{job_path(name)}/metrics"))["metrics"]
        return [{**metric, "value": float(metric["value"])} for metric in metrics]

    def metric_curve(self, name: str, metric: str, *, max_points: int = 2000) -> dict[str, Any]:
        """Return one curve: steps, times (epoch seconds), values, total_points."""
        query = {"metric": metric, "max_points": max_points}
        curve = _json(self._call("GET", f"{job_path(name)}/metrics/curve", params=query))
        # JSON has no NaN and no infinities: they come as text.
        return {**curve, "values": [float(value) for value in curve["values"]]}

    def findings(self, name: str) -> dict[str, Any]:
        """Return what a job's debugger found."""
        return _json(self._call("GET", f"{job_path(name)}/findings"))

    def list_tensors(self, name: str) -> list[dict[str, Any]]:
        """Return the files with what was recorded of a job: name, size_bytes."""
        files: list[dict[str, Any]] = _json(self._call("GET", f"{job_path(name)}/tensors"))[
            "files"
        ]
        return files

    def read_tensors(
        self, name: str, file: str, *, offset: int = 0, limit_bytes: int = 1 << 20
    ) -> dict[str, Any]:
        """Return bytes of one of these: data, size_bytes, next_offset, finished."""
        query = {"offset": offset, "limit_bytes": limit_bytes}
        answer = self._call("GET", tensors_path(name, file), params=query)
        return {
            "data": answer.content,
            "size_bytes": int(answer.headers["Orchestrator-Size"]),
            "next_offset": int(answer.headers["Orchestrator-Next-Offset"]),
            "finished": answer.headers["Orchestrator-Finished"] == "true",
        }

    def export_metrics(self, name: str, file_format: str, destination: Path) -> Path:
        """Write all points of all metrics to a file, or into a directory."""
        check_export_format(file_format)
        path = f"{job_path(name)}/metrics/export"
        destination.parent.mkdir(parents=True, exist_ok=True)
        spool = destination.parent / f".export-{random.token_hex(8)}"
        spool.mkdir()
        try:
            got = self._download(path, spool, format=file_format)
            if got.is_dir():
                shutil.copytree(got, destination, dirs_exist_ok=True)
            else:
                got.replace(destination)
        finally:
            shutil.rmtree(spool, ignore_errors=True)
        return destination

    def download(self, name: str, kind: str, destination: Path) -> Path:
        """Put an artifact (``model`` or ``output``) into a directory; return its path."""
        check_artifact_kind(kind)
        path = f"{job_path(name)}/artifacts/{kind}"
        destination.mkdir(parents=True, exist_ok=True)
        return self._download(path, destination)

    def _download(self, path: str, destination: Path, **query: str) -> Path:
        partial = PartialFile(destination)

        def fetch() -> Path:
            stream = self._client.stream("GET", path, params=query, headers=partial.headers())
            with self._translated(), stream as answer:
                if not answer.is_success:
                    answer.read()
                self._check(answer)
                return partial.take(answer)

        try:
            return self._persist(fetch)
        finally:
            partial.remove()

    def close(self) -> None:
        """Release connections. Idempotent."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None


class _Broken(Unavailable):
    """The connection broke, or none came to be: the service may or may not have heard."""


def _may_pass(error: BaseException) -> bool:
    """Return whether the same call may succeed a moment later."""
    if isinstance(error, StoreDamaged):
        return False
    return isinstance(error, OrchestratorError) and error.http_status == 503


def _checked(url: str) -> tuple[str, bool]:
    """Return a service's URL in its plain form, and whether it is on this machine."""
    parts = urlsplit(url.strip())
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise InvalidSpec(
            f"the service's URL must look like http://127.0.0.1:8760, got {url!r}; see "
            "ORCHESTRATOR_URL"
        )
    shown = f"[{host}]" if ":" in host else host
    suffix = f":{port}" if port else ""
    plain = f"{parts.scheme}://{shown}{suffix}{parts.path.rstrip('/').removesuffix(PREFIX)}"
    return plain, _is_local(host)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(given: str | None, home: Path | None) -> str | None:
    token = given or os.environ.get(TOKEN_VARIABLE)
    if not token and home is not None:
        token = read_token(home)
    if token and not (token.isascii() and token.isprintable()):
        raise InvalidSpec("a token must be printable ASCII text; see ORCHESTRATOR_TOKEN")
    return token


def _error_of(answer: httpx.Response) -> OrchestratorError:
    try:
        problem = answer.json()
        error = error_from_code(problem["code"], problem["message"], problem.get("details"))
    except (ValueError, KeyError, TypeError):
        error = _foreign_error(answer)
    return error


def _foreign_error(answer: httpx.Response) -> OrchestratorError:
    """Return the error of an answer without our body: a HEAD's, or one of a proxy's."""
    place = f"{answer.request.method} {answer.request.url}"
    if answer.status_code == 404:
        return NotFound(f"nothing is at {place}")
    if answer.status_code in {408, 425, 429, 502, 503, 504}:
        return _Broken(f"{place} answered {answer.status_code}; try again")
    return OrchestratorError(
        f"a service of ours must answer at {place}, got status {answer.status_code} "
        f"{answer.text[:200]!r}; check ORCHESTRATOR_URL"
    )


def _json(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()
    return found


def _tags(answer: httpx.Response) -> list[dict[str, str]]:
    tags: list[dict[str, str]] = _json(answer)["tags"]
    return tags


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            yield block
