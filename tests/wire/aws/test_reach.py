"""Programs of jobs reach the service where it is, on a loopback address, also out of containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import boto3
import httpx
import pytest

from orchestrator.api.listen import RelaySocket
from orchestrator.cli import aws_environment
from orchestrator.home import relay_directory, relay_name
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from orchestrator.testing.plugin import end_jobs
from tests.e2e.conftest import eventually
from tests.setup.images import BASE
from tests.wire.aws.running import IMAGE, ended, training_job

Backend = Literal["process", "docker"]
BACKENDS = ["process", pytest.param("docker", marks=pytest.mark.docker)]
READ = (
    "import os, urllib.request as r\nread = lambda: r.urlopen(os.environ['URL']).read().decode()\n"
)
UNTIL_AWAY_AND_BACK = """
import time
print('before', read(), flush=True)
def tried():
    try: return read()
    except OSError: return None
while tried(): time.sleep(.01)
print('away', flush=True)
while not tried(): time.sleep(.01)
print('after', read(), flush=True)
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a service on the one home of a test; what runs at the end is ended."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    rule = f'[[image]]\npattern = "{IMAGE}"\ndocker = "{BASE}:latest"\nprocess = "default"\n'
    (home / "images.toml").write_text(rule, encoding="utf-8")
    started: list[Server] = []

    def start(backend: Backend, port: int = 0) -> Server:
        server = Server(Settings(home=home, aws_backend=backend), ServeOptions(port=port))
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.close()
    end_jobs(home)


def clients(server: Server, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """S3 and SageMaker."""
    for name, value in aws_environment.variables(server.service.home, server.url).items():
        monkeypatch.setenv(name, value)
    session = boto3.session.Session()
    return session.client("s3"), session.client("sagemaker")


def started(s3: Any, sagemaker: Any, program: str, **more: Any) -> None:
    """Start a job that may read an object by an address that is signed beforehand."""
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=b"content")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})
    environment = {"URL": url, "PROGRAM": READ + program}
    text = "import os; exec(os.environ['PROGRAM'])"
    request = training_job("job", "bucket", text, Environment=environment, **more)
    sagemaker.create_training_job(**request)


def log_of(server: Server) -> str:
    """What the job has printed so far; also while nothing is served."""
    path = server.service.home / "jobs" / "job" / "attempts" / "1" / "algo-1" / "log"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def says(server: Server, text: str) -> None:
    """Wait until the job prints a text."""
    eventually(lambda: text in log_of(server))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_program_reads_its_bucket_at_the_services_own_address(
    serve: Callable[..., Server], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(backend)
    s3, sagemaker = clients(server, monkeypatch)
    started(s3, sagemaker, "print('read', read())")
    assert ended(sagemaker, "job")["TrainingJobStatus"] == "Completed", log_of(server)
    assert "read content" in log_of(server)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_running_program_reaches_the_service_that_was_started_again(
    serve: Callable[..., Server], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = serve(backend)
    s3, sagemaker = clients(first, monkeypatch)
    started(s3, sagemaker, UNTIL_AWAY_AND_BACK)
    says(first, "before content")
    port = int(first.url.rpartition(":")[2])
    first.close()
    says(first, "away")
    serve(backend, port)
    assert ended(sagemaker, "job")["TrainingJobStatus"] == "Completed", log_of(first)
    assert "after content" in log_of(first)


@pytest.mark.docker
def test_a_program_without_a_network_does_not_reach_it(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("docker")
    s3, sagemaker = clients(server, monkeypatch)
    program = "try: read()\nexcept OSError as error: print('refused', error)"
    started(s3, sagemaker, program, EnableNetworkIsolation=True)
    assert ended(sagemaker, "job")["TrainingJobStatus"] == "Completed"
    assert "refused" in log_of(server)


def socket_of(server: Server) -> Path:
    """Where containers reach a service."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return relay_directory(server.service.home) / relay_name(host, int(port))


def test_the_socket_for_containers_goes_with_the_service(serve: Callable[..., Server]) -> None:
    server = serve("process")
    path = socket_of(server)
    assert path.is_socket()
    server.close()
    assert not path.exists()


def test_a_service_leaves_the_socket_of_the_next_one(tmp_path: Path) -> None:
    """One that is ending may still have requests to answer when the next one has the port."""
    path = tmp_path / "relay" / "127.0.0.1-1"
    first, second = RelaySocket.at(path), RelaySocket.at(path)
    assert first is not None
    assert second is not None
    first.close()
    assert path.is_socket()
    second.close()
    assert not path.exists()


def test_the_sockets_of_killed_services_are_removed_and_no_others(tmp_path: Path) -> None:
    first = RelaySocket.at(tmp_path / "relay" / "127.0.0.1-1")
    killed = RelaySocket.at(tmp_path / "relay" / "127.0.0.1-2")
    assert first is not None
    assert killed is not None
    killed.listening.close()
    third = RelaySocket.at(tmp_path / "relay" / "127.0.0.1-3")
    assert third is not None
    left = sorted(path.name for path in (tmp_path / "relay").iterdir())
    first.close()
    third.close()
    assert left == ["127.0.0.1-1", "127.0.0.1-3"]


def test_the_path_of_a_home_may_be_longer_than_a_socket_s(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100) / ("y" * 100) / "relay" / "127.0.0.1-1"
    made = RelaySocket.at(path)
    assert made is not None
    assert path.is_socket()
    made.close()


@pytest.mark.parametrize(
    ("host", "verifies", "expected"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("0.0.0.0", True, True)],
)
def test_containers_reach_a_loopback_address_whose_callers_are_verified(
    tmp_path: Path, host: str, verifies: bool, expected: bool
) -> None:
    settings = Settings(home=tmp_path / "home", aws_verify_signatures=verifies)
    with Server(settings, ServeOptions(host=host, port=0, allow_remote=True)) as server:
        assert socket_of(server).exists() == expected


def test_a_service_without_the_socket_serves_all_the_same(
    serve: Callable[..., Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    relay_directory(tmp_path / "home").write_text("no directory", encoding="utf-8")
    server = serve("process")
    assert "containers do not reach this service" in caplog.text
    assert httpx.get(f"{server.url}/health/live", trust_env=False).status_code == 200
