"""Programs of jobs reach the service where it is, on a loopback address, also out of containers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import boto3
import pytest

from orchestrator.cli import aws_environment
from orchestrator.home import relay_socket
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from orchestrator.testing.plugin import end_jobs
from tests.setup.images import BASE
from tests.wire.aws.running import IMAGE, ended, training_job

Backend = Literal["process", "docker"]
BACKENDS = ["process", pytest.param("docker", marks=pytest.mark.docker)]
PATIENCE_SECONDS = 60
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
    deadline = time.monotonic() + PATIENCE_SECONDS
    while text not in log_of(server):
        assert time.monotonic() < deadline, log_of(server)
        time.sleep(0.02)


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


def test_the_socket_for_containers_goes_with_the_service(serve: Callable[..., Server]) -> None:
    server = serve("process")
    path = relay_socket(server.service.home, int(server.url.rpartition(":")[2]))
    assert path.is_socket()
    server.close()
    assert not path.exists()


def test_what_a_killed_service_left_there_is_no_hindrance(serve: Callable[..., Server]) -> None:
    server = serve("process")
    port = int(server.url.rpartition(":")[2])
    server.close()
    path = relay_socket(server.service.home, port)
    path.write_text("", encoding="utf-8")
    serve("process", port)
    assert path.is_socket()


def test_a_service_without_the_socket_serves_all_the_same(
    serve: Callable[..., Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "home" / "relay").write_text("no directory", encoding="utf-8")
    server = serve("process")
    assert "containers do not reach this service" in caplog.text
    assert server.url.startswith("http://127.0.0.1:")
