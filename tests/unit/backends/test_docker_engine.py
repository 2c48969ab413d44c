"""The engine's client against a socket that answers, refuses, hangs or is not there."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qsl

import pytest

from orchestrator.backends.docker import DockerBackend
from orchestrator.backends.docker_engine import Engine, Refused
from orchestrator.backends.docker_events import EventWatch
from orchestrator.backends.docker_probe import ImageProbe
from orchestrator.backends.docker_values import DockerSettings
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.errors import CapacityUnavailable, EngineUnreachable, ImageError, Unavailable
from orchestrator.scheduler.effects import Effects
from orchestrator.scheduler.outcome import may_retry
from orchestrator.scheduler.reconcile import StartFault
from orchestrator.scheduler.workspace import Workspace
from orchestrator.spec.job import RetryStrategy, TrainingJobSpec
from orchestrator.spec.record import HostRecord
from orchestrator.spec.state import EndReason
from orchestrator.store.memory import MemoryStore
from tests.unit.scheduler.judges import NoJudge
from tests.unit.scheduler.simulation import NoMetrics

VERSION = {"ApiVersion": "1.41"}
INFO = {
    "Architecture": "aarch64",
    "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"],
    "CgroupVersion": "2",
    "NCPU": 3,
}


class ManualClock:
    """A clock that only tests move."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


class FakeDaemon(ThreadingMixIn, UnixStreamServer):
    """Answers as its table says; what it lacks it refuses as unknown."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.answers: dict[str, tuple[int, Any]] = {
            "GET /version": (200, VERSION),
            "GET /info": (200, INFO),
            "GET /_ping": (200, "OK"),
        }
        self.asked: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.hang = threading.Event()

    def get_request(self) -> Any:
        connection, _ = super().get_request()
        return connection, ("local", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""


class Lines(list[dict[str, Any]]):
    """An answer of several lines of JSON, as pulls and events are told."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: FakeDaemon

    def log_message(self, *words: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        path, _, query = self.path.replace("/v1.41", "").partition("?")
        key = f"{self.command} {path}"
        self.server.queries.append(dict(parse_qsl(query)))
        self.server.asked.append(key)
        if self.server.hang.is_set():
            threading.Event().wait(5)
        status, content = self.server.answers.get(key, (404, {"message": "no such thing"}))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if isinstance(content, Lines):
            self.send_header("Transfer-Encoding", "chunked")
            lines = [json.dumps(line).encode() + b"\r\n" for line in content]
            body = b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in [*lines, b""])
        else:
            body = json.dumps(content).encode()
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError):
            self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon on a socket."""
    with FakeDaemon(tmp_path / "s") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(daemon: FakeDaemon, tmp_path: Path, clock: ManualClock) -> Iterator[Engine]:
    """A client of the daemon."""
    client = Engine(f"unix://{tmp_path}/s", 0.3, clock)
    yield client
    client.close()


def test_the_engine_is_described_once(engine: Engine, daemon: FakeDaemon):
    facts = engine.facts()
    assert engine.facts() is facts
    assert (facts.architecture, facts.rootless, facts.cgroup_version) == ("arm64", True, 2)
    assert daemon.asked.count("GET /info") == 1


def test_an_engine_that_went_away_is_noticed_though_its_description_is_kept(
    engine: Engine, daemon: FakeDaemon
):
    engine.facts()
    engine.check_answers()
    daemon.hang.set()
    with pytest.raises(EngineUnreachable):
        engine.check_answers()


def test_nobody_there_is_said_and_not_asked_again_at_once(tmp_path: Path, clock: ManualClock):
    engine = Engine(f"unix://{tmp_path}/nobody", 0.3, clock)
    with pytest.raises(EngineUnreachable, match="docker version"):
        engine.facts()
    with pytest.raises(EngineUnreachable, match="docker version") as told_again:
        engine.facts()
    assert told_again.value.__cause__ is None
    clock.seconds += 1
    with pytest.raises(EngineUnreachable, match="docker version"):
        engine.facts()


def test_an_engine_that_hangs_costs_one_time_limit(
    engine: Engine, daemon: FakeDaemon, clock: ManualClock
):
    engine.facts()
    daemon.hang.set()
    with pytest.raises(EngineUnreachable):
        engine.container("x")
    asked = len(daemon.asked)
    for _ in range(100):
        with pytest.raises(EngineUnreachable):
            engine.container("x")
    assert len(daemon.asked) == asked
    daemon.hang.clear()
    clock.seconds += 10
    assert engine.container("x") is None


def test_pauses_grow_and_end_with_the_first_answer(
    engine: Engine, daemon: FakeDaemon, clock: ManualClock
):
    def silent_for() -> float:
        began = clock.seconds
        while True:
            try:
                engine.container("x")
            except EngineUnreachable as error:
                if error.__cause__ is not None:  # it was asked again
                    return clock.seconds - began
                clock.seconds += 0.25
            else:
                return clock.seconds - began

    daemon.hang.set()
    pauses = [silent_for() for _ in range(4)]
    assert pauses == [0, 0.5, 1, 2]
    daemon.hang.clear()
    clock.seconds += 10
    assert engine.container("x") is None
    daemon.hang.set()
    assert silent_for() == 0
    assert silent_for() == 0.5


@pytest.mark.parametrize(
    ("key", "status", "message", "call", "error"),
    [
        (
            "POST /containers/create",
            404,
            "No such image: x",
            lambda e: e.create("c", {}),
            ImageError,
        ),
        ("POST /containers/create", 400, "bad", lambda e: e.create("c", {}), Refused),
        (
            "POST /containers/c/start",
            500,
            'could not select device driver "" with capabilities: [[gpu]]',
            lambda e: e.start("c"),
            CapacityUnavailable,
        ),
        ("POST /containers/c/start", 500, "runc", lambda e: e.start("c"), Refused),
        (
            "POST /networks/create",
            500,
            "could not find an available, non-overlapping IPv4 address pool",
            lambda e: e.create_network({"name": "n"}),
            Unavailable,
        ),
        ("DELETE /containers/c", 500, "busy", lambda e: e.remove("c"), Refused),
    ],
)
def test_refusals_become_the_right_errors(
    engine: Engine,
    daemon: FakeDaemon,
    key: str,
    status: int,
    message: str,
    call: Callable[[Engine], object],
    error: type[Exception],
):
    daemon.answers[key] = (status, {"message": message})
    with pytest.raises(error, match=message.split('"')[0].split(":")[0]):
        call(engine)


PULL = "POST /images/create"
PULLED = Lines([{"status": "Pulling from team/trainer"}, {"status": "Digest: sha256:1"}])
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("reference", "name", "tag"),
    [
        ("trainer", "trainer", "latest"),
        ("team/trainer:2", "team/trainer", "2"),
        ("host:5000/team/trainer", "host:5000/team/trainer", "latest"),
        ("host:5000/team/trainer:2", "host:5000/team/trainer", "2"),
        (f"host:5000/team/trainer@{DIGEST}", "host:5000/team/trainer", DIGEST),
    ],
)
def test_an_image_is_pulled_by_name_and_tag(
    engine: Engine, daemon: FakeDaemon, reference: str, name: str, tag: str
):
    daemon.answers[PULL] = (200, PULLED)
    engine.pull(reference)
    asked = daemon.queries[daemon.asked.index(PULL)]
    assert (asked["fromImage"], asked["tag"]) == (name, tag)


REFUSALS = {
    "no such repository": (404, {"message": "pull access denied for x, may require login"}),
    "no registry": (500, {"message": "dial tcp: lookup nowhere: no such host"}),
    "broken off": (200, Lines([{"status": "Pulling"}, {"error": "unexpected EOF of a layer"}])),
    "disk full": (200, Lines([{"error": "write /var/lib/docker: no space left on device"}])),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_pull_that_fails_says_why_and_which_image(
    engine: Engine, daemon: FakeDaemon, refusal: tuple[int, Any]
):
    daemon.answers[PULL] = refusal
    told = refusal[1][-1]["error"] if isinstance(refusal[1], Lines) else refusal[1]["message"]
    with pytest.raises(ImageError) as error:
        engine.pull("team/trainer:2")
    assert error.value.message.startswith("image 'team/trainer:2' could not be pulled: ")
    assert told in error.value.message
    assert daemon.asked.count(PULL) == 1


@pytest.mark.parametrize("pull", [False, True])
def test_an_image_is_pulled_only_when_it_is_missing_and_that_is_wished(
    engine: Engine, daemon: FakeDaemon, tmp_path: Path, pull: bool
):
    settings = DockerSettings(home=tmp_path, runtime=tmp_path, pull=pull)
    probe = ImageProbe(engine, settings, (1000, 1000))
    daemon.answers[PULL] = (200, PULLED)
    probe.make_sure("trainer")
    assert daemon.asked.count(PULL) == int(pull)
    daemon.answers["GET /images/trainer/json"] = (200, {"Id": "sha256:1"})
    probe.make_sure("trainer")
    assert daemon.asked.count(PULL) == int(pull)


def test_a_job_whose_image_cannot_be_pulled_ends_with_the_reason_and_is_not_tried_again(
    daemon: FakeDaemon, tmp_path: Path, clock: ManualClock
):
    """The whole way: the back end's error becomes the job's end reason, which is final."""
    daemon.answers[PULL] = (404, {"message": "pull access denied for nobody/nothing"})
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    settings = DockerSettings(
        home=tmp_path, runtime=runtime, pull=True, base_url=f"unix://{tmp_path}/s"
    )
    backend = DockerBackend(settings, lambda *_: None, clock=clock)
    effects = Effects(
        {"docker": backend},
        Workspace(tmp_path),
        LocalBlobStore(tmp_path / "blobs"),
        NoMetrics(),
        NoJudge(),
        lambda _: None,
    )
    store = MemoryStore()
    spec = TrainingJobSpec.parse(
        {
            "training_job_name": "job",
            "backend": "docker",
            "algorithm_specification": {"training_image": "nobody/nothing"},
        }
    )
    job = store.create_job(spec, arn="arn", now=clock.now())
    host = HostRecord(host="algo-1", rank=0, instance_group="g", instance_type="local")
    job = job.model_copy(update={"attempt": 1, "hosts": (host,)})
    fault = effects.start(job)
    backend.close()
    assert isinstance(fault, StartFault)
    assert fault.reason is EndReason.IMAGE_ERROR
    assert "pull access denied for nobody/nothing" in fault.message
    retries = RetryStrategy(maximum_retry_attempts=30, retry_user_errors=True)
    assert not may_retry(EndReason.IMAGE_ERROR, 1, retries)
    assert daemon.asked.count(PULL) == 1


def test_what_is_there_or_gone_already_is_no_error(engine: Engine, daemon: FakeDaemon):
    daemon.answers["POST /containers/create"] = (409, {"message": "Conflict"})
    daemon.answers["POST /networks/create"] = (409, {"message": "exists"})
    daemon.answers["POST /containers/c/kill"] = (409, {"message": "not running"})
    daemon.answers["DELETE /networks/n"] = (403, {"message": "has active endpoints"})
    assert engine.create("c", {}) is False
    engine.create_network({"name": "n"})
    assert engine.signal("c", "SIGTERM") is False
    assert engine.remove_network("n") is False
    engine.remove("gone")
    assert engine.remove_network("gone") is True
    assert engine.container("gone") is None
    assert engine.image("gone") is None


def test_a_watch_of_events_ends_when_it_is_closed(engine: Engine, daemon: FakeDaemon):
    woken = threading.Event()
    watch = EventWatch(engine, "/home", woken.set)
    watch.start()
    watch.start()
    assert woken.wait(10)  # the stream ended, so something may have been missed
    watch.close()
    watch.close()
    assert not [t for t in threading.enumerate() if t.name == "docker-events"]


def test_a_watch_of_an_engine_that_is_away_goes_on_trying(tmp_path: Path):
    woken = threading.Semaphore(0)
    watch = EventWatch(Engine(f"unix://{tmp_path}/nobody", 0.3), "/home", woken.release)
    watch.start()
    for _ in range(2):
        assert woken.acquire(timeout=10)
    watch.close()


def test_the_sdk_is_not_loaded_with_the_module():
    import subprocess
    import sys

    program = "import sys, orchestrator.backends.docker; sys.exit('docker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_sockets_are_closed_when_nobody_is_there(tmp_path: Path):
    path = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    with pytest.raises(EngineUnreachable):  # a warning about an open socket would be an error
        Engine(f"unix://{path}", 0.3).facts()
