"""A live service on a free loopback port, in a fresh home, and a client with its token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.sdk.http import HttpTransport
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from tests.wire.places import code, data, own_images, place, programs

__all__ = ["code", "data", "own_images", "place", "programs"]  # fixtures for the folders below

Submit = Callable[..., dict[str, Any]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(Settings(home=tmp_path / "home"), ServeOptions(port=0)) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with client_of(server) as connected:
        yield connected


@pytest.fixture(scope="session")
def shared_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one service for all tests that leave nothing in it."""
    home = tmp_path_factory.mktemp("shared") / "home"
    settings = Settings(home=home)
    with Server(settings, ServeOptions(port=0)) as running, client_of(running) as connected:
        yield connected


@pytest.fixture
def transport(server: Server) -> Iterator[HttpTransport]:
    transport = HttpTransport(server.url, home=server.service.home)
    yield transport
    transport.close()


@pytest.fixture
def submit(client: httpx.Client) -> Submit:
    """Submit a shell script as a job; the answer's body."""

    def submit(script: str, name: str = "job-1", **spec: Any) -> dict[str, Any]:
        answer = client.post("training-jobs", json={"spec": shell(script, name, **spec)})
        assert answer.status_code == 201, answer.text
        job: dict[str, Any] = answer.json()
        return job

    return submit


def client_of(server: Server, **headers: str) -> httpx.Client:
    return httpx.Client(
        base_url=f"{server.url}/api/v1/",
        headers={"Authorization": f"Bearer {server.token}", **headers},
        timeout=60,
        trust_env=False,
    )


def shell(script: str, name: str = "job-1", **spec: Any) -> dict[str, Any]:
    """The specification of a job that runs a shell script."""
    algorithm = {"container_entrypoint": ["/bin/sh", "-c", script]}
    algorithm |= spec.pop("algorithm_specification", {})
    return {
        "training_job_name": name,
        "algorithm_specification": algorithm,
        "stop_grace_seconds": 0,
        **spec,
    }


def tuning(script: str, name: str = "search-1", **spec: Any) -> dict[str, Any]:
    """The specification of a tuning job of a shell script that reports ``loss=...``."""
    metrics = {"metric_definitions": [{"name": "loss", "regex": "loss=([-0-9.e]+)"}]}
    rate = {"type": "Continuous", "name": "rate", "min_value": 0, "max_value": 1}
    return {
        "tuning_job_name": name,
        "objectives": [{"metric_name": "loss"}],
        "limits": {"max_number_of_training_jobs": 2, "max_parallel_training_jobs": 2},
        "strategy": "Random",
        "random_seed": 1,
        "definitions": [
            {
                "job": shell(script, "template", algorithm_specification=metrics),
                "parameters": [rate],
            }
        ],
        **spec,
    }


def tuning_ended(client: httpx.Client, name: str = "search-1") -> dict[str, Any]:
    """Wait for the end of a tuning job by long polls."""
    revision = -1
    while True:
        answer = client.get(f"tuning-jobs/{name}", params={"after_revision": revision})
        job: dict[str, Any] = answer.raise_for_status().json()
        if job["record"]["ended_at"]:
            return job
        revision = job["record"]["revision"]


def ended(client: httpx.Client, name: str = "job-1") -> dict[str, Any]:
    """Wait for the end of a job by long polls."""
    revision = -1
    while True:
        answer = client.get(f"training-jobs/{name}", params={"after_revision": revision})
        job: dict[str, Any] = answer.raise_for_status().json()
        if job["status"] in {"Completed", "Failed", "Stopped"}:
            return job
        revision = job["revision"]


def until(client: httpx.Client, name: str, secondary_status: str) -> dict[str, Any]:
    """Wait until a job has a secondary status."""
    revision = -1
    while True:
        answer = client.get(f"training-jobs/{name}", params={"after_revision": revision})
        job: dict[str, Any] = answer.raise_for_status().json()
        if job["secondary_status"] == secondary_status:
            return job
        assert job["ended_at"] is None, job
        revision = job["revision"]


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Return a condition's value once it is true; for what gives no event."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.02)
    return value


def at_once(work: Callable[[int], None], threads: int) -> None:
    """Run work in threads that begin together."""
    barrier = threading.Barrier(threads)

    def run(number: int) -> None:
        barrier.wait()
        work(number)

    started = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


class Events:
    """Reads server-sent events of an answer, one by one."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        self._lines = answer.iter_lines()

    def __iter__(self) -> Iterator[dict[str, str]]:
        event: dict[str, str] = {}
        for line in self._lines:
            if line:
                field, _, value = line.partition(": ")
                event[field or "comment"] = value
            elif event:
                yield event
                event = {}
